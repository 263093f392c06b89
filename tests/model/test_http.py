"""Faults on loopback: what each becomes. None is ever a response with an invented text."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from assay.config import ModelConfig
from assay.errors import ModelError, UsageError
from assay.model import connect
from assay.model.retry import Retry
from assay.types import Message, Request, Response
from tests.endpoint import Call, Endpoint, answering, chat_body, http, responses_body, say

REQUEST = Request(input=[Message(role="user", content="6*7?")])


def ask(url: str, *, dialect: str = "chat", attempts: int = 1, timeout_s: float = 5.0, **config: object) -> Response:
    async def main() -> Response:
        server = ModelConfig(dialect=dialect, id="m", base_url=url, timeout_s=timeout_s, **config)  # type: ignore
        model = Retry(connect(server), attempts, wait_s=0.01)
        try:
            return await asyncio.wait_for(model.respond(REQUEST), 30)
        finally:
            await model.aclose()

    return asyncio.run(main())


async def hang(call: Call, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def drip(call: Call, writer: asyncio.StreamWriter) -> None:
    for byte in http(chat_body("42")):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.2)


async def reset(call: Call, writer: asyncio.StreamWriter) -> None:
    writer.write(http(chat_body("42"))[:-20])
    await writer.drain()
    writer.transport.abort()


def raw(answer: bytes) -> Callable[[Call, asyncio.StreamWriter], Awaitable[None]]:
    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    return behave


FAULTS = {
    "hangs": (hang, "timeout", True, "within 0.5 s"),
    "a byte now and then": (drip, "timeout", True, "within 0.5 s"),
    "reset in the middle of the body": (reset, "connection_lost", True, "."),
    "200 with garbage": (raw(http(b"\x00\xffgarbage")), "bad_response", True, "it begins"),
    "200 with an empty body": (raw(http(b"")), "bad_response", True, "."),
    "200 with an HTML page": (raw(http(b"<html>Welcome</html>", kind="text/html")), "bad_response", True, "<html>"),
    "200 of another shape": (raw(http(b'{"choices": 3}')), "bad_response", True, "choices"),
    "no choices": (raw(http(b'{"choices": []}')), "bad_response", True, "no choices"),
    "content null": (raw(http(chat_body(None))), "bad_response", True, "nothing at all"),
    "no HTTP": (raw(b"SSH-2.0-OpenSSH\r\n\r\n"), "connection_lost", True, "."),
    "400": (raw(http(b'{"error": {"message": "no such knob"}}', 400)), "http_400", False, "no such knob"),
    "401": (raw(http(b'{"error": {"message": "bad key"}}', 401)), "http_401", False, "bad key"),
    "404": (raw(http(b'{"detail": "Not Found"}', 404)), "http_404", False, "Not Found"),
    "429": (raw(http(b"slow down", 429)), "http_429", True, "slow down"),
    "500": (raw(http(b"oops", 500, "text/plain")), "http_500", True, "oops"),
    "too large": (raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n"), "too_large", False, "at most"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("dialect", ["chat", "responses"])
def test_a_fault_is_an_error_that_says_what_happened(fault: str, dialect: str):
    behave, kind, retryable, words = FAULTS[fault]
    if dialect == "responses" and fault in ("no choices", "content null", "200 of another shape"):
        behave, words = raw(http(b'{"output": 3}')), "output"
    with Endpoint(behave) as endpoint, pytest.raises(ModelError, match=words) as caught:
        ask(endpoint.url, dialect=dialect, timeout_s=0.5)
    assert (caught.value.kind, caught.value.retryable) == (kind, retryable)


def test_a_refused_connection_is_told_as_such():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        with pytest.raises(ModelError, match="is the server running") as caught:
            ask(f"http://127.0.0.1:{held.getsockname()[1]}/v1")
    assert caught.value.kind == "connect"


def test_a_storm_that_heals_is_ridden_out():
    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(http(b"no", 500) if len(endpoint.calls) < 4 else http(chat_body("42")))

    with Endpoint(behave) as endpoint:
        assert ask(endpoint.url, attempts=5).text == "42"
        assert len(endpoint.calls) == 4


@pytest.mark.parametrize(("status", "tries"), [(500, 3), (429, 3), (400, 1), (401, 1)])
def test_tries_are_bounded_and_pointless_ones_not_made(status: int, tries: int):
    with Endpoint(raw(http(b"no", status))) as endpoint:
        with pytest.raises(ModelError):
            ask(endpoint.url, attempts=3)
        assert len(endpoint.calls) == tries


def test_retry_after_is_honoured():
    times: list[float] = []

    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        times.append(asyncio.get_running_loop().time())
        writer.write(http(b"", 429, retry_after="1") if len(times) == 1 else http(chat_body("42")))

    with Endpoint(behave) as endpoint:
        assert ask(endpoint.url, attempts=2).text == "42"
    assert 0.9 < times[1] - times[0] < 5


def test_an_overflowing_context_is_an_incomplete_response():
    words = b'{"error": {"message": "This model\'s maximum context length is 8192 tokens", "code": null}}'
    with Endpoint(raw(http(words, 400))) as endpoint:
        response = ask(endpoint.url)
    assert (response.status, response.output) == ("incomplete", [])
    assert "8192" in (response.incomplete_reason or "")


def test_the_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CANARY_KEY", "sk-canary")

    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(http(f"{call.headers['authorization']} is wrong".encode(), 401))

    with Endpoint(behave) as endpoint, pytest.raises(ModelError) as caught:
        ask(endpoint.url, api_key_env="CANARY_KEY")
    assert endpoint.calls[0].headers["authorization"] == "Bearer sk-canary"
    assert "canary" not in str(caught.value)


def test_a_key_that_is_not_set_is_told_by_its_name():
    with pytest.raises(UsageError, match="NO_SUCH_KEY is not set"):
        ask("http://127.0.0.1:1/v1", api_key_env="NO_SUCH_KEY")


@pytest.mark.parametrize("url", ["localhost:8000/v1", ""])
def test_a_base_url_that_is_none_is_refused(url: str):
    with pytest.raises(UsageError, match="http"):
        ask(url)


def test_fifty_megabytes_come_through():
    with Endpoint(answering("x" * 50_000_000)) as endpoint:
        assert len(ask(endpoint.url, timeout_s=30).text) == 50_000_000


def test_a_failed_response_object_is_an_error():
    body = responses_body(status="failed", error={"code": "server_error", "message": "the model broke"})
    with Endpoint(raw(http(body))) as endpoint, pytest.raises(ModelError, match="the model broke"):
        ask(endpoint.url, dialect="responses")


def test_an_unknown_item_is_named_rather_than_dropped():
    body = responses_body({"type": "hologram_call", "id": "h"}, say("42"))
    with Endpoint(raw(http(body))) as endpoint, pytest.raises(ModelError, match="hologram_call"):
        ask(endpoint.url, dialect="responses")

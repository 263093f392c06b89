"""Faults on loopback: what each becomes. None is ever a response with an invented text."""

import asyncio
import base64
import json
import random
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from assay.config import ModelConfig
from assay.errors import ModelError, UsageError
from assay.model import ContextOverflow, connect
from assay.model.builtin.function import FunctionModel
from assay.model.http import LARGEST_BODY, server_words
from assay.model.wrappers.record import Recorder
from assay.model.wrappers.retry import LONGEST_WAIT_S, Retry
from assay.types import Message, Request, Response, Sampling, Turn
from tests.endpoint import Call, Endpoint, answer_body, answering, chat_body, endless, http, responses_body, say

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


TWICE = b"HTTP/1.1 200 OK\r\ncontent-length: 7, 7\r\n\r\ngarbage"
FAULTS = {
    "hangs": (hang, "timeout", True, "within 0.5 s"),
    "a byte now and then": (drip, "timeout", True, "within 0.5 s"),
    "reset in the middle of the body": (reset, "connection_lost", True, "."),
    "200 with garbage": (raw(http(b"\x00\xffgarbage")), "bad_response", True, "it begins"),
    "200 with an empty body": (raw(http(b"")), "bad_response", True, "."),
    "200 with an HTML page": (raw(http(b"<html>Welcome</html>", kind="text/html")), "bad_response", True, "<html>"),
    "200 of another shape": (raw(http(b'{"choices": 3}')), "bad_response", True, "choices"),
    "200 nested too deep": (raw(http(b'{"deep": ' + b"[" * 100_000)), "bad_response", True, "recursion"),
    "a length told twice": (raw(TWICE), "bad_response", True, "it begins: 'garbage'"),
    "an error with an odd code": (raw(http('{"error": {"code": "²"}}'.encode())), "response_failed", True, "²"),
    "no choices": (raw(http(b'{"choices": []}')), "bad_response", True, "no choices"),
    "nothing said and no end": (raw(http(chat_body(None, None))), "bad_response", True, "no answer and no end"),
    "aborted": (raw(http(chat_body(None, "abort"))), "bad_response", True, "no answer and no end"),
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
    if dialect == "responses" and fault in ("no choices", "nothing said and no end", "aborted", "200 of another shape"):
        behave, words = raw(http(b'{"output": 3}')), "output"
    with Endpoint(behave) as endpoint, pytest.raises(ModelError, match=words) as caught:
        ask(endpoint.url, dialect=dialect, timeout_s=0.5)
    assert (caught.value.kind, caught.value.retryable) == (kind, retryable)


BROKE_OFF = {"message": "the provider broke off", "code": 502}
SAID = {"message": {"role": "assistant", "content": "4"}, "delta": {"content": "4"}, "text": "4", "index": 0}


@pytest.mark.parametrize("dialect", ["chat", "completions"])
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("beside", ["the choices", "the message"])
def test_an_error_beside_an_answer_leaves_no_answer(dialect: str, streamed: bool, beside: str):
    choice = {**SAID, "finish_reason": "stop"}
    body = {"choices": [choice], "error": BROKE_OFF}
    if beside == "the message":
        body = {"choices": [choice | {"error": BROKE_OFF}]}
    kind = "Text/Event-Stream; charset=utf-8" if streamed else "application/json"
    told = json.dumps(body).encode()
    told = b"data: " + told + b"\n\n" if streamed else told
    with Endpoint(raw(http(told, kind=kind))) as endpoint, pytest.raises(ModelError, match="broke off") as caught:
        ask(endpoint.url, dialect=dialect, sampling=Sampling(max_output_tokens=9))
    assert (caught.value.kind, caught.value.retryable) == ("response_failed", True)


def test_a_stream_is_one_however_its_kind_is_written():
    with Endpoint(raw(http(SPOKEN, kind="Text/Event-Stream; charset=utf-8"))) as endpoint:
        assert ask(endpoint.url).text == "it is sk-canary/123"


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


@pytest.mark.parametrize(("status", "tries"), [(500, 3), (429, 1), (503, 1), (400, 1), (401, 1)])
def test_tries_are_bounded_and_pointless_ones_not_made(status: int, tries: int):
    with Endpoint(raw(http(b"no", status))) as endpoint:
        with pytest.raises(ModelError):
            ask(endpoint.url, attempts=3)
        assert len(endpoint.calls) == tries


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("7", 7, 7),
        ("0.5", 0.5, 0.5),
        ("-3", 0, 0),
        ("in an hour, GMT", 3590, 3600),
        ("in an hour, without a zone", 3590, 3600),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
    ],
)
def test_retry_after_holds_seconds_or_a_date(header: str, low: float, high: float):
    at = datetime.now(UTC) + timedelta(hours=1)
    dates = {
        "in an hour, GMT": format_datetime(at, usegmt=True),
        "in an hour, without a zone": format_datetime(at.replace(tzinfo=None)),
    }
    answer = http(b"", 429, retry_after=dates.get(header, header))
    with Endpoint(raw(answer)) as endpoint, pytest.raises(ModelError) as caught:
        ask(endpoint.url)
    assert caught.value.retry_after_s is not None
    assert low <= caught.value.retry_after_s <= high


@pytest.mark.parametrize("header", ["soon", "nan", "inf", "1e999", "Wed, 21 Oct 99999999999 07:28:00 GMT"])
def test_a_retry_after_that_says_nothing_is_passed_over(header: str):
    answer = http(b"", 429, retry_after="@").replace(b"@", header.encode())
    with Endpoint(raw(answer)) as endpoint, pytest.raises(ModelError) as caught:
        ask(endpoint.url)
    assert (caught.value.kind, caught.value.retry_after_s) == ("http_429", None)


def test_those_who_are_told_to_wait_do_not_come_back_at_once():
    error = ModelError("http_500", "slow down", retryable=True, retry_after_s=0.0)
    before = random.getstate()
    first, second = (backoffs(error) for _ in range(2))
    assert first != second
    assert all(0 <= wait_s <= 0.01 for wait_s in first + second)
    assert random.getstate() == before
    assert max(backoffs(ModelError("http_500", "", retryable=True, retry_after_s=9e9))) < LONGEST_WAIT_S + 0.1


def backoffs(error: ModelError) -> list[float]:
    retry = Retry(FunctionModel(lambda request: ""), 2, wait_s=0.01)
    return [retry._backoff(error).total_seconds() for _ in range(5)]  # type: ignore[reportPrivateUsage, union-attr]


def test_retries_are_silent(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture):
    with Endpoint(raw(http(b"no", 500))) as endpoint, pytest.raises(ModelError):
        ask(endpoint.url, attempts=3)
    assert len(endpoint.calls) == 3
    assert (caplog.records, capfd.readouterr()) == ([], ("", ""))


OVERFLOWS = {
    "vLLM": b'{"error": {"message": "This model\'s maximum context length is 8192 tokens", "code": 400}}',
    "vLLM, the limit": b'{"error": {"message": "\'max_tokens\' or \'max_completion_tokens\' is too large: 40000. This '
    b"model's maximum context length is 32768 tokens and your request has 12 input tokens\"}}",
    "vLLM, the prompt": b'{"error": {"message": "The prompt (length 9) is longer than the maximum model length"}}',
    "SGLang": b'{"object": "error", "message": "The input (61709 tokens) is longer than the model\'s context length '
    b'(40960 tokens).", "type": "BadRequestError", "param": null, "code": 400}',
    "llama.cpp": b'{"error": {"code": 400, "message": "the request exceeds the available context size, try '
    b'increasing it", "type": "exceed_context_size_error", "n_prompt_tokens": 1407, "n_ctx": 256}}',
    "llama.cpp, the type": b'{"error": {"code": 400, "message": "too long", "type": "exceed_context_size_error"}}',
    "OpenAI": b'{"error": {"message": "Your input exceeds the limit.", "code": "context_length_exceeded"}}',
}


@pytest.mark.parametrize("server", OVERFLOWS)
@pytest.mark.parametrize("dialect", ["chat", "responses"])
def test_an_overflowing_context_is_told_in_the_servers_words(server: str, dialect: str):
    words = OVERFLOWS[server]
    with Endpoint(raw(http(words, 400))) as endpoint, pytest.raises(ContextOverflow) as caught:
        ask(endpoint.url, dialect=dialect, attempts=3)
    assert len(endpoint.calls) == 1
    assert (caught.value.kind, caught.value.retryable) == ("context_overflow", False)
    assert server_words(words) in str(caught.value)


def test_a_failed_response_object_may_be_an_overflow():
    error = {"code": "context_length_exceeded", "message": "Your input exceeds the context window."}
    body = responses_body(status="failed", error=error)
    with Endpoint(raw(http(body))) as endpoint, pytest.raises(ContextOverflow, match="exceeds the context window"):
        ask(endpoint.url, dialect="responses")


def test_a_request_beyond_the_context_is_an_incomplete_response():
    def answer(request: Request) -> str:
        if len(request.input) != 1:
            raise ContextOverflow("maximum context length")
        return "42"

    async def main() -> list[Turn]:
        recorder = Recorder(FunctionModel(answer), sampling=Sampling(), seed=0, task="t", repeat=0)
        await recorder.respond(Request(input=REQUEST.input * 2))
        first = await recorder.respond(REQUEST)
        await recorder.respond(Request(input=[*REQUEST.input, *first.output, *REQUEST.input]))
        return recorder.turns

    first, _, last = asyncio.run(main())
    assert first.response == last.response == Response([], status="incomplete", incomplete_reason="max_output_tokens")
    assert last.input == REQUEST.input


@pytest.mark.parametrize(("dialect", "cap"), [("chat", "max_tokens"), ("responses", "max_output_tokens")])
def test_a_cap_that_does_not_fit_beside_the_prompt_is_left_to_the_context(dialect: str, cap: str):
    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        words = b'{"error": {"message": "max_tokens is too large; the maximum context length is 8"}}'
        body = chat_body("42", "length") if dialect == "chat" else responses_body(say("42"), status="incomplete")
        writer.write(http(words, 400) if cap in call.json else http(body))

    with Endpoint(behave) as endpoint:
        answer = ask(endpoint.url, dialect=dialect, sampling=Sampling(max_output_tokens=40_000))
        assert [cap in call.json for call in endpoint.calls] == [True, False]
    assert (answer.text, answer.status) == ("42", "incomplete")


@pytest.mark.parametrize("dialect", ["completions", "messages"])
def test_a_cap_that_an_api_needs_is_halved_until_it_fits(dialect: str):
    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        words = b'{"error": {"message": "prompt is too long: input and max_tokens exceed context limit"}}'
        writer.write(http(answer_body(call.path)) if call.json["max_tokens"] <= 8000 else http(words, 400))

    with Endpoint(behave) as endpoint:
        answer = ask(endpoint.url, dialect=dialect, sampling=Sampling(max_output_tokens=20_000))
        assert [call.json["max_tokens"] for call in endpoint.calls] == [20_000, 10_000, 5_000]
    assert answer.text == "42"


@pytest.mark.parametrize("dialect", ["chat", "responses", "completions", "messages"])
def test_a_prompt_that_no_cap_helps_is_an_overflow(dialect: str):
    words = b'{"error": {"message": "prompt is too long: the maximum context length is 8"}}'
    with Endpoint(raw(http(words, 400))) as endpoint, pytest.raises(ContextOverflow):
        ask(endpoint.url, dialect=dialect, sampling=Sampling(max_output_tokens=100))


def test_the_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CANARY_KEY", "sk-canary")

    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(http(f"{call.headers['authorization']} is wrong".encode(), 401))

    with Endpoint(behave) as endpoint, pytest.raises(ModelError) as caught:
        ask(endpoint.url, api_key_env="CANARY_KEY")
    assert endpoint.calls[0].headers["authorization"] == "Bearer sk-canary"
    assert "canary" not in str(caught.value)


def test_secret_headers_are_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CANARY_KEY", "sk-canary")

    for status in (401, 200):

        async def behave(call: Call, writer: asyncio.StreamWriter, status: int = status) -> None:
            writer.write(http(f"{call.headers['api-key']} was sent".encode(), status))

        with Endpoint(behave) as endpoint, pytest.raises(ModelError, match=r"\[key\] was sent") as caught:
            ask(endpoint.url, headers={"x-org": "o"}, headers_env={"api-key": "CANARY_KEY"})
        headers = endpoint.calls[0].headers
        assert (headers["api-key"], headers["x-org"]) == ("sk-canary", "o")
        assert "canary" not in str(caught.value)
    with pytest.raises(UsageError, match="NO_SUCH_KEY is not set"):
        ask("http://127.0.0.1:1/v1", headers_env={"api-key": "NO_SUCH_KEY"})


def chunk(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


SPOKEN = chunk("it is sk-ca") + chunk("nary/123", "stop") + b"data: [DONE]\n\n"
WITHIN = json.dumps({"sent": {"authorization": "sk-canary/123"}}).replace("canary/", r"c\u0061nary\/")
REPEATED = {
    "without its scheme": http(b"sk-canary/123 is wrong", 401),
    "escaped": http(rb'{"error": {"message": "sk-canary\/123 is wrong"}}', 401),
    "escaped, in an answer": http(rb'{"choices": "sk-canary\/123 is wrong"}'),
    "escaped as a code point": http(rb'{"error": {"message": "sk-c\u0061nary\u002F123 is wrong"}}', 401),
    "escaped as a code point, in an answer": http(rb'{"choices": "sk-canary\u002f123 is wrong"}'),
    "escaped as in a URL": http(b"sk-canary%2F123 is wrong", 401),
    "in upper case": http(b"SK-CANARY/123 is wrong", 401),
    "in upper case, in an answer": http(b'{"choices": "SK-CANARY/123 is wrong"}'),
    "reversed": http(b"321/yranac-ks is wrong", 401),
    "in hex": http(b"sk-canary/123".hex().encode() + b" is wrong", 401),
    "in base64": http(base64.b64encode(b"sk-canary/123") + b" is wrong", 401),
    "in base64, with its scheme": http(base64.b64encode(b"Bearer sk-canary/123") + b" is wrong", 401),
    "in base64, with a user": http(base64.b64encode(b"user:sk-canary/123") + b" is wrong", 401),
    "in JSON within JSON": http(json.dumps({"error": {"message": WITHIN}}).encode(), 401),
    "in JSON within JSON, in an answer": http(answer_body("/chat/completions", f"sent {WITHIN}")),
    "in JSON within JSON within JSON, in an answer": http(answer_body("/chat/completions", json.dumps(WITHIN))),
    "in JSON within JSON, with a slash alone": http(answer_body("/chat/completions", r'{"a": "sk-canary\/123"}')),
    "in two events": http(SPOKEN, kind="text/event-stream"),
}


@pytest.mark.parametrize("how", REPEATED)
def test_a_secret_is_not_shown_however_it_is_repeated(how: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CANARY_KEY", "Bearer sk-canary/123")
    with Endpoint(raw(REPEATED[how])) as endpoint:
        try:
            told = ask(endpoint.url, headers_env={"authorization": "CANARY_KEY"}).text
        except ModelError as error:
            told = str(error)
    assert endpoint.calls[0].headers["authorization"] == "Bearer sk-canary/123"
    assert "[key]" in told, told
    for spelling in (b"canary", b"canary"[::-1], b"canary".hex().encode(), base64.b64encode(b"anary/12")[:-2]):
        assert spelling.decode().lower() not in told.lower(), told


@pytest.mark.parametrize(
    ("extra_body", "where"),
    [
        ({"api_key": "canary-123"}, "extra_body.api_key"),
        ({"provider": {"headers": {"Authorization": "canary-123"}}}, "extra_body.provider.headers.Authorization"),
        ({"user": "sk-canary-123"}, "extra_body.user"),
        ({"tags": ["hf_canary1234"]}, "extra_body.tags"),
    ],
)
def test_a_secret_in_the_body_is_refused(extra_body: dict[str, Any], where: str):
    with pytest.raises(UsageError, match=f"{where} of model .* looks like a secret") as caught:
        ask("http://127.0.0.1:1/v1", extra_body=extra_body)
    assert "canary" not in str(caught.value)


def test_a_secret_in_plain_headers_is_redacted():
    with Endpoint(raw(http(b"canary-1234567 is wrong", 401))) as endpoint, pytest.raises(ModelError) as caught:
        ask(endpoint.url, headers={"x-api-key": "canary-1234567"})
    assert "[key] is wrong" in str(caught.value)


def test_a_key_that_no_header_takes_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CANARY_KEY", "sk-canary\n")
    with pytest.raises(UsageError, match="CANARY_KEY holds a line break") as caught:
        ask("http://127.0.0.1:1/v1", api_key_env="CANARY_KEY")
    assert "canary" not in str(caught.value)


def test_a_key_that_is_not_set_is_told_by_its_name():
    with pytest.raises(UsageError, match="NO_SUCH_KEY is not set"):
        ask("http://127.0.0.1:1/v1", api_key_env="NO_SUCH_KEY")


@pytest.mark.parametrize("url", ["localhost:8000/v1", "", "http:///v1", "http://a b/v1", "http://a/v1 "])
def test_a_base_url_that_is_none_is_refused(url: str):
    with pytest.raises(UsageError, match="http"):
        ask(url)


@pytest.mark.heavy
def test_fifty_megabytes_come_through():
    with Endpoint(answering("x" * 50_000_000)) as endpoint:
        assert len(ask(endpoint.url, timeout_s=30).text) == 50_000_000


@pytest.mark.parametrize(("size", "kind"), [(1_000_000, None), (LARGEST_BODY + 1, "too_large")])
def test_an_answer_that_tells_no_length_is_bounded_too(size: int, kind: str | None):
    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(endless(chat_body("x" * size)))
        await writer.drain()
        writer.close()

    with Endpoint(behave) as endpoint:
        if kind is None:
            assert len(ask(endpoint.url, timeout_s=30).text) == size
        else:
            with pytest.raises(ModelError, match="at most") as caught:
                ask(endpoint.url, timeout_s=30)
            assert (caught.value.kind, caught.value.retryable) == (kind, False)


def test_a_failed_response_object_is_an_error():
    body = responses_body(status="failed", error={"code": "server_error", "message": "the model broke"})
    with Endpoint(raw(http(body))) as endpoint, pytest.raises(ModelError, match="the model broke"):
        ask(endpoint.url, dialect="responses")


def test_an_unknown_item_is_named_rather_than_dropped():
    body = responses_body({"type": "hologram_call", "id": "h"}, say("42"))
    with Endpoint(raw(http(body))) as endpoint, pytest.raises(ModelError, match="hologram_call"):
        ask(endpoint.url, dialect="responses")


def test_what_is_tried_again_is_counted_while_it_is():
    async def main(url: str) -> list[int]:
        server = ModelConfig(dialect="chat", id="m", base_url=url)
        model = Retry(connect(server), 3, wait_s=0.2)
        asked = asyncio.create_task(model.respond(REQUEST))
        while len(endpoint.calls) < 2:
            assert not asked.done()
            await asyncio.sleep(0.01)
        counts = [model.retrying]
        with pytest.raises(ModelError):
            await asked
        await model.aclose()
        return [*counts, model.retrying]

    with Endpoint(raw(http(b"no", 500))) as endpoint:
        assert asyncio.run(main(endpoint.url)) == [1, 0]

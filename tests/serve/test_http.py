"""Who may call a server, and how long a request may take to come: held against what browsers and slow callers send."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pyreqwest.client import ClientBuilder

from assay.benchmark.catalog import load
from assay.serve import http
from assay.serve.environment import ServedEnvironment
from assay.types import Message, Request, Response, Text
from tests.nemo_gym import hosting
from tests.serve.served import serving

BODY = b'{"input": "x"}'


@contextmanager
def environment() -> Iterator[str]:
    with hosting(ServedEnvironment(load("office")).app()) as url:
        yield url


def exchange(url: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
    """The status and the body of an answer to a request with these headers and no others."""
    host, port = url.removeprefix("http://").split(":")
    head = {"host": f"127.0.0.1:{port}", "content-length": str(len(body)), "connection": "close"} | headers
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items() if value)]
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return int(answer.split()[1]), answer


FOREIGN = {
    "another site's page": ({"origin": "https://evil.example"}, 403, b"--api-key-env"),
    "a page of a file": ({"origin": "null"}, 403, b"--api-key-env"),
    "a page that found this machine by another name": ({"host": "evil.example:8000"}, 403, b"--api-key-env"),
    "a name that only looks like this machine's": ({"host": "localhost.evil.example"}, 403, b"--api-key-env"),
    "a host that is none": ({"host": "[::1"}, 403, b"--api-key-env"),
    "no host": ({"host": ""}, 403, b"--api-key-env"),
    "a form": ({"content-type": "application/x-www-form-urlencoded"}, 415, b"expected application/json"),
    "plain text": ({"content-type": "text/plain;charset=UTF-8"}, 415, b"expected application/json"),
    "no type": ({"content-type": ""}, 415, b"expected application/json"),
}
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_a_page_can_send_reaches_no_model_and_no_environment(name: str):
    headers, status, words = FOREIGN[name]
    asked: list[Request] = []

    def answer(request: Request) -> str:
        asked.append(request)
        return "42"

    with serving(answer) as model, environment() as gym:
        for url, path in ((model, "/v1/responses"), (model, "/v1/messages"), (gym, "/seed_session")):
            got, content = exchange(url, path, JSON | headers, BODY)
            assert (got, words in content) == (status, True), content
    assert not asked


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "localhost:1"},
        {"host": "[::1]:8000"},
        {"host": "127.0.0.2"},
        {"origin": "http://localhost:3000"},
        {"content-type": "application/json; charset=utf-8"},
        {"content-type": "application/vnd.api+json"},
    ],
)
def test_this_machine_itself_may_call(headers: dict[str, str]):
    with serving(lambda request: "42") as url:
        assert exchange(url, "/v1/responses", JSON | headers, BODY)[0] == 200


def test_with_a_key_any_name_will_do_and_either_header_carries_it():
    with serving(lambda request: "42", key="sk-secret") as url:
        for key in ({"authorization": "Bearer sk-secret"}, {"x-api-key": "sk-secret"}):
            assert exchange(url, "/v1/responses", {**JSON, **key, "host": "models.example"}, BODY)[0] == 200
        for key in ({}, {"authorization": "Bearer sk-secre"}, {"x-api-key": "é"}):
            assert exchange(url, "/v1/responses", JSON | key, BODY)[0] == 401


HEAD = b"POST /v1/responses HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
WHOLE = HEAD + b"content-length: 14\r\n\r\n" + BODY
DRIPS = {
    "nothing": (b"", b""),
    "headers": (HEAD, b"x: y\r\n"),
    "a body": (HEAD + b"content-length: 1000000\r\n\r\n", b" "),
    "a chunked body": (HEAD + b"transfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "empty lines after an answer": (WHOLE, b"\r\n"),
    "headers after an answer": (WHOLE + HEAD, b"x: y\r\n"),
}


@pytest.mark.parametrize("name", DRIPS)
def test_a_request_that_drips_is_dropped(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http, "REQUEST_S", 0.3)
    first, drip = DRIPS[name]
    with serving(lambda request: "42") as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=0.05) as connection:
            connection.sendall(first)
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                try:
                    connection.sendall(drip)
                    if not connection.recv(65536):
                        break
                except TimeoutError:
                    continue
                except OSError:
                    break
            else:
                pytest.fail("the connection is still open")


def test_an_answer_that_takes_long_is_no_slow_request(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http, "REQUEST_S", 0.2)

    class Slow:
        async def respond(self, request: Request) -> Response:
            await asyncio.sleep(0.8)
            return Response([Message("assistant", [Text("42")])])

    async def twice(url: str) -> list[int]:
        async with ClientBuilder().build() as client:
            return [
                (await client.post(f"{url}/v1/responses").body_json({"input": "x"}).build().send()).status for _ in "ab"
            ]

    with serving(Slow()) as url:
        assert asyncio.run(twice(url)) == [200, 200]

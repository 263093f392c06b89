"""Calls of a resources server of NeMo Gym. A cookie names the session."""

import binascii
from base64 import urlsafe_b64decode
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import msgspec
from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import ConnectError, PyreqwestError, RequestTimeoutError
from pyreqwest.response import Response

from assay.errors import RemoteError
from assay.model.http import LARGEST_BODY, cause, server_words

PASSING = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
"""Refusals below 500 that may pass."""


class Caller:
    """The calls of one session. The first one begins it, and the server's cookie says whose the others are."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.cookies: dict[str, str] = {}
        self._identity: dict[str, str] | None = None

    async def post(self, path: str, body: Any) -> tuple[int, bytes]:
        """Status and body of an answer, whatever its status. Raises RemoteError and TimeoutError."""
        status, content, cookies = await self.server.post(path, body, self.cookies)
        named = {name: identity for name, value in cookies.items() if (identity := _session_id(value)) is not None}
        if self._identity is None:
            self._identity = named
        if any(identity != self._identity.get(name) for name, identity in named.items()):
            raise RemoteError(
                f"{self.server.url}/{path} began another session, so the state of this one is lost; "
                "was the server restarted, or does a proxy distribute calls over several servers?"
            )
        self.cookies |= cookies
        return status, content

    def refusal(self, path: str, status: int, content: bytes) -> RemoteError:
        """The error that a refusal is."""
        said = f"{self.server.url}/{path} answered {status}: {server_words(content)}"
        return RemoteError(said, retryable=status >= 500 or status in PASSING)


def _session_id(cookie: str) -> str | None:
    """Returns the session id in a cookie of Starlette, which NeMo Gym uses: JSON before the signature."""
    try:
        named = msgspec.json.decode(urlsafe_b64decode(cookie.partition(".")[0] + "=="), type=dict[str, Any])
    except (binascii.Error, msgspec.DecodeError, ValueError):
        return None
    session = named.get("session_id")
    return session if isinstance(session, str) else None


class Server:
    """One resources server: posts to it, with the cookies that the caller holds."""

    def __init__(self, url: str, timeout_s: float, key: str | None) -> None:
        self.url = url
        self.timeout_s = timeout_s
        self._key = key.encode() if key else None
        headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
        self._client = (
            ClientBuilder()
            .default_headers(headers)
            .timeout(timedelta(seconds=timeout_s))
            .connect_timeout(timedelta(seconds=min(30.0, timeout_s)))
            .max_connections(None)
            # uvicorn, which NeMo Gym's servers are, closes idle connections after 5 s: never send into that moment.
            .pool_idle_timeout(timedelta(seconds=4))
            .follow_redirects(False)
            .build()
        )

    async def routes(self) -> list[str]:
        """The routes that the server says it has, as FastAPI's apps do; none where it does not say."""
        asked = self._client.get(f"{self.url}/openapi.json").streamed_read_buffer_limit(0)
        try:
            async with asked.build_streamed() as answer:
                said = msgspec.json.decode(await _content(self.url, answer), type=dict[str, Any])
        except (PyreqwestError, msgspec.DecodeError, UnicodeDecodeError):
            return []
        return list(said.get("paths") or ())

    async def post(self, path: str, body: Any, cookies: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and fresh cookies of an answer, whatever its status. Raises RemoteError and TimeoutError."""
        url = f"{self.url}/{path}"
        request = self._client.post(url).body_bytes(msgspec.json.encode(body)).streamed_read_buffer_limit(0)
        if cookies:
            request = request.header("cookie", "; ".join(f"{name}={value}" for name, value in cookies.items()))
        try:
            async with request.build_streamed() as answer:
                content = await _content(url, answer)
        except RequestTimeoutError:
            raise TimeoutError(f"no complete answer from {url} (timeout_s {self.timeout_s:g})") from None
        except ConnectError as error:
            raise RemoteError(f"{url}: no connection ({cause(error)}); is the server running?") from None
        except PyreqwestError as error:
            raise RemoteError(f"{url}: {cause(error)}") from None
        return answer.status, content.replace(self._key, b"[key]") if self._key else content, _cookies(answer)


async def _content(url: str, answer: Response) -> bytes:
    content = bytearray()
    while chunk := await answer.body_reader.read_chunk():
        content += chunk
        if len(content) > LARGEST_BODY:
            raise RemoteError(f"{url} answered with more than {LARGEST_BODY} bytes")
    return bytes(content)


def _cookies(answer: Response) -> dict[str, str]:
    pairs = [line.partition(";")[0].partition("=") for line in answer.get_header_all("set-cookie")]
    return {name.strip(): value.strip() for name, _, value in pairs}

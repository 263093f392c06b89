"""The HTTP client: everything that is particular to pyreqwest is in this file."""

from datetime import timedelta
from http import HTTPStatus
from typing import TypeVar

import msgspec
from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import ConnectError, PyreqwestError, RequestTimeoutError

from assay.config import ModelConfig
from assay.errors import ModelError, UsageError
from assay.model import api_key

LARGEST_BODY = 64 * 2**20
"""Bytes. A longer answer is no model's, and thousands of them in flight would fill the memory."""
T = TypeVar("T")
_MAY_PASS = {408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529}
_OVERFLOW = ("context_length_exceeded", "maximum context length", "context length is only", "prompt is too long")


class ContextOverflow(ModelError):
    """The request and its output don't fit into the model's context: an incomplete response, not a failure."""


class Endpoint:
    """One base URL, with its key, headers and deadlines."""

    def __init__(self, config: ModelConfig) -> None:
        if not config.base_url:
            raise UsageError(f"model {config.id or config.dialect} needs a base_url, such as http://localhost:8000/v1")
        self._base = config.base_url.rstrip("/")
        if not self._base.startswith(("http://", "https://")):
            raise UsageError(f"base_url {self._base}: expected http:// or https://")
        self._timeout_s = config.timeout_s
        headers = {"content-type": "application/json", "accept": "application/json", **config.headers}
        self._key = api_key(config)
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        self._client = (
            ClientBuilder()
            .default_headers(headers)
            .timeout(timedelta(seconds=config.timeout_s))
            .connect_timeout(timedelta(seconds=min(30.0, config.timeout_s)))
            .max_connections(None)
            .pool_idle_timeout(timedelta(seconds=60))
            .follow_redirects(False)
            .build()
        )

    async def post(self, path: str, body: bytes) -> bytes:
        """The body of a 200 answer. Raises ModelError for everything else, saying whether it may pass."""
        url = self._base + path
        try:
            async with self._client.post(url).body_bytes(body).streamed_read_buffer_limit(0).build_streamed() as answer:
                length = answer.get_header("content-length")
                if length is not None and int(length) > LARGEST_BODY:
                    message = f"{url} answered {length} bytes; at most {LARGEST_BODY}"
                    raise ModelError("too_large", message, retryable=False)
                content = bytes(await answer.bytes())
        except RequestTimeoutError:
            # pyreqwest 0.15 calls some of these a connect timeout though the connection stands: told as one.
            message = f"{url}: no complete answer within {self._timeout_s:g} s (timeout_s)"
            raise ModelError("timeout", message, retryable=True) from None
        except ConnectError as error:
            message = f"{url}: no connection ({_cause(error)}); is the server running?"
            raise ModelError("connect", message, retryable=True) from None
        except PyreqwestError as error:
            raise ModelError("connection_lost", f"{url}: {_cause(error)}", retryable=True) from None
        if answer.status == HTTPStatus.OK:
            return content
        if self._key:
            # Some servers repeat the key that they refuse.
            content = content.replace(self._key.encode(), b"[key]")
        raise _status_error(url, answer.status, content, answer.get_header("retry-after"))

    async def aclose(self) -> None:
        await self._client.close()


def _status_error(url: str, status: int, content: bytes, retry_after: str | None) -> ModelError:
    words = server_words(content)
    if status in (400, 413, 422) and any(mark in words.lower() for mark in _OVERFLOW):
        return ContextOverflow("context_overflow", words, retryable=False)
    wait_s = float(retry_after) if retry_after and retry_after.replace(".", "", 1).isdigit() else None
    message = f"{url} answered {status}: {words}"
    return ModelError(f"http_{status}", message, retryable=status in _MAY_PASS, retry_after_s=wait_s)


def decode(decoder: "msgspec.json.Decoder[T]", content: bytes) -> T:
    """A response body as a struct. Raises ModelError that quotes what came instead."""
    try:
        return decoder.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        quoted = content[:200].decode("utf-8", "replace")
        message = f"the answer is not what this API gives ({error}); it begins: {quoted!r}"
        raise ModelError("bad_response", message, retryable=True) from None


def server_words(content: bytes) -> str:
    """What the server says went wrong, in its own words: the error object's message, or the body's beginning."""
    try:
        body = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return content[:300].decode("utf-8", "replace").strip() or "an empty body"
    error = body.get("error", body.get("detail", body)) if isinstance(body, dict) else body  # pyright: ignore
    if isinstance(error, dict):
        words = [str(error[key]) for key in ("message", "code", "type") if error.get(key)]  # pyright: ignore
        return " / ".join(words) or str(error)[:300]  # pyright: ignore
    return str(error)[:300]  # pyright: ignore


def _cause(error: PyreqwestError) -> str:
    """The innermost of the causes that the client names: the outer ones only repeat the URL."""
    causes: list[dict[str, str]] = getattr(error, "details", {}).get("causes") or []
    return causes[-1]["message"] if causes else error.message

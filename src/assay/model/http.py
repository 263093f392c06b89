"""The HTTP client. All code that uses pyreqwest for models is in this file."""

import base64
import functools
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, TypeVar, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec
from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import ConnectError, PyreqwestError, RequestTimeoutError
from pyreqwest.request import RequestBuilder
from pyreqwest.response import Response

from assay.config import ModelConfig
from assay.errors import ModelError, UsageError
from assay.model import ContextOverflow, secret

LARGEST_BODY = 64 * 2**20
"""The most bytes of an answer. A longer one is no model's, and thousands in flight would fill the memory."""
LARGEST_FILE = 2**30
"""The most bytes of a file at a server, such as the answers of a batch."""
T = TypeVar("T")
LEAST_CAP = 16
"""The smallest output cap. If not even these tokens fit, the input is too long."""
_REAL_KEY = 8
"""The fewest characters of a real key. Placeholders are shorter: EMPTY, dummy, none."""
_STATUS_OF = {
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "overloaded_error": 529,
    "invalid_request_error": 400,
    "invalid_prompt": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
}
"""The HTTP status for the type or code of an error object."""
_SECRET_NAMES = {
    *("key", "api_key", "api-key", "apikey", "x-api-key", "token", "access_token", "authorization"),
    *("sig", "secret", "password", "cookie"),
}
_SECRET_VALUE = re.compile(r"(?:Bearer |Basic |sk-|sk_|gsk_|hf_|ghp_|xai-|nvapi-|AIza)\S{8,}")
OVERLOAD = {"http_429", "http_503", "http_529"}
"""Kinds of error by which a server says that it gets too many requests."""
_SPENT = ("insufficient_quota", "billing_hard_limit_reached", "credit balance is too low")
"""Words of a 429 that waiting does not change: the account has no money."""
_MAY_PASS = {408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529}
_OVERFLOW = (
    "context_length_exceeded",  # OpenAI's code, and that of many who follow it
    "maximum context length",  # vLLM, and SGLang where the output is what doesn't fit
    "longer than the maximum model length",  # vLLM
    "context length is only",  # vLLM
    "longer than the model's context length",  # SGLang
    "exceeds the available context size",  # llama.cpp
    "exceed_context_size_error",  # llama.cpp's type
    "prompt is too long",  # Anthropic, Fireworks
    "exceed context limit",  # Anthropic, where the output is what doesn't fit
    "exceeds the maximum number of tokens allowed",  # Gemini: https://github.com/google-gemini/gemini-cli/issues/4118
    "input is too long for requested model",  # Bedrock: https://github.com/aws-samples/bedrock-chat/issues/95
    "number of input tokens exceeds maximum length",  # Bedrock, for Nova
    "should not exceed max_num_tokens",  # TensorRT-LLM: https://github.com/NVIDIA/TensorRT-LLM/issues/9277
    "should not exceed max_seq_len",  # TensorRT-LLM, where the output is what doesn't fit
    "exceeds maximum input length",  # TensorRT-LLM: .../triton-inference-server/tensorrtllm_backend/issues/565
    "inputs tokens + max_new_tokens must be <=",  # TGI: https://github.com/huggingface/tgi-gaudi/issues/146
    "inputs must have less than",  # TGI
    "maximum prompt length",  # xAI
    "tokens in request more than max tokens allowed",  # Z.ai: https://github.com/anomalyco/opencode/issues/27629
)
_REPORTS = {
    # OpenAI's reasoning models: https://github.com/decolua/9router/issues/972
    "could not finish the message because max_tokens": "max_output_tokens",
    # Groq: https://github.com/groq/groq-typescript/issues/103
    "tool_use_failed": "malformed",
    "failed to parse tool call arguments": "malformed",  # LiteLLM's /v1/messages
}
"""Words of an error that tells what the model did: it reached the cap, or wrote a call that the server can't read."""
_ANSWER = {
    *("choices", "message", "content", "text", "refusal", "tool_calls", "function_call", "function", "name"),
    *("output", "input", "type", "role", "call_id", "status", "error"),
}
"""Fields of an answer that has to be as its API gives it. Another one of a type that is not its own costs no answer."""
MOST_REPAIRS = 100
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not the JSON that is expected; the last where it is nested too deep."""


class ReportedAnswer(ModelError):
    """What the model did, which the server reported as an error."""

    def __init__(self, error: ModelError, end: str, text: str) -> None:
        super().__init__(error.kind, str(error), retryable=False)
        self.end = end
        """`max_output_tokens` or `malformed`, as in `dialects.ends`."""
        self.text = text
        """The model's text, if the server sends it."""


def with_smaller_cap(body: dict[str, Any], cap: str, *, needed: bool) -> dict[str, Any] | None:
    """Returns the body to send after input and output cap didn't fit together; None if the input alone is too long."""
    most = body.get(cap)
    if not isinstance(most, int) or most < 2 * LEAST_CAP:
        return None
    smaller = {name: value for name, value in body.items() if name != cap}
    return smaller | {cap: most // 2} if needed else smaller


Assemble = Callable[[bytes], bytes]
"""Makes of a whole event stream the JSON body that the same API gives without streaming. Raises ModelError."""


class Endpoint:
    """A base URL with its key, headers and deadlines."""

    def __init__(
        self,
        config: ModelConfig,
        *,
        base_url: str | None = None,
        key_header: str = "authorization",
        headers: Mapping[str, str] = MappingProxyType({}),
        assemble: Assemble | None = None,
    ) -> None:
        """`base_url` and `headers` are the dialect's defaults.

        `key_header` is the header that carries the key; `authorization` carries it as a bearer token. `assemble` turns
        an event stream, where the server answers with one, into the body that `post` gives back.
        """
        url = (config.base_url or base_url or "").rstrip("/")
        if not url:
            raise UsageError(f"model {config.id or config.dialect} needs a base_url, such as http://localhost:8000/v1")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"\s", url):
            raise UsageError(f"base_url {url}: expected http:// or https://, such as http://localhost:8000/v1")
        if "@" in parts.netloc or any(name.lower() in _SECRET_NAMES for name, _ in parse_qsl(parts.query)):
            raise UsageError(
                f"the base_url of model {config.id} holds a secret, and would be written to run.json; "
                "name the environment variable that holds it in api_key_env or headers_env"
            )
        if where := _secret_in(config.extra_body, "extra_body"):
            raise UsageError(
                f"{where} of model {config.id} looks like a secret, and would be written to run.json; "
                "name the environment variable that holds it in api_key_env or headers_env"
            )
        self._base = parts._replace(path=parts.path.rstrip("/"))
        self._urls: dict[str, str] = {}
        self._encode = msgspec.json.Encoder().encode
        self._assemble = assemble
        self._timeout_s = config.timeout_s
        secrets = {name: secret(config, variable) for name, variable in config.headers_env.items()}
        key = None if config.api_key_env is None else secret(config, config.api_key_env)
        # Headers are not written down, but a server may repeat them.
        sent = [value for name, value in config.headers.items() if _secret_in({name: value}, "headers")]
        keys = _parts(filter(None, [*secrets.values(), key, *sent]))
        self._secrets = sorted({one for part in keys for one in _spellings(part)}, key=len, reverse=True)
        self._secret_pattern = [_secret_pattern(part) for part in keys if len(part) >= _REAL_KEY]
        if key is not None:
            secrets[key_header] = f"Bearer {key}" if key_header == "authorization" else key
        plain = {
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            **headers,
            **config.headers,
        }
        self._client = (
            ClientBuilder()
            .default_headers({**plain, **secrets})
            .timeout(timedelta(seconds=config.timeout_s))
            .connect_timeout(timedelta(seconds=min(30.0, config.timeout_s)))
            .max_connections(None)
            .pool_idle_timeout(timedelta(seconds=60))
            .follow_redirects(False)
            .build()
        )

    async def ask(self, path: str, body: dict[str, Any], *, cap: str, needed: bool = False) -> bytes:
        """Returns the body of a 200 answer to a JSON body. Raises ModelError, and ContextOverflow if the input is too
        long.

        Where input and output cap together don't fit the context, most servers refuse the request rather than bound
        the output. It is asked again without `cap`, the field that holds it: the end of the context is then the
        bound, and lies below the cap. Where the API needs one, it is halved until it fits: such a refusal costs
        nothing, and to score the answer as none would.
        """
        while True:
            try:
                return await self.post(path, self._encode(body))
            except ContextOverflow:
                if (smaller := with_smaller_cap(body, cap, needed=needed)) is None:
                    raise
                body = smaller

    async def post(self, path: str, body: bytes, kind: str | None = None) -> bytes:
        """Returns the body of a 200 answer. Raises ModelError for everything else, which says whether it may pass.

        `kind` is the type of what is sent, where that is no JSON.
        """
        url = self._urls.get(path) or self._url(path)
        request = self._client.post(url).body_bytes(body)
        return await self._send(request if kind is None else request.header("content-type", kind), url)

    async def get(self, path: str, query: Mapping[str, str] = MappingProxyType({})) -> bytes:
        """Returns the body of a 200 answer, which may be large. Raises ModelError as `post` does."""
        both = "&".join(filter(None, [self._base.query, urlencode(query)]))
        url = urlunsplit(self._base._replace(path=self._base.path + path, query=both))
        return await self._send(self._client.get(url), url, LARGEST_FILE)

    async def _send(self, request: RequestBuilder, url: str, largest: int = LARGEST_BODY) -> bytes:
        try:
            async with request.streamed_read_buffer_limit(0).build_streamed() as answer:
                length = _header(answer, "content-length")
                if length is None or not length.isdecimal():
                    content = await _read_unmeasured(url, answer, largest)
                elif int(length) > largest:
                    raise _too_large(url, f"{length} bytes", largest)
                else:
                    content = bytes(await answer.bytes())
        except RequestTimeoutError:
            # pyreqwest 0.15 calls some of these a connect timeout though the connection stands; reported as one too.
            message = f"{url}: no complete answer within {self._timeout_s:g} s (timeout_s)"
            raise ModelError("timeout", message, retryable=True) from None
        except ConnectError as error:
            message = f"{url}: no connection ({cause(error)}); is the server running?"
            raise ModelError("connect", message, retryable=True) from None
        except PyreqwestError as error:
            raise ModelError("connection_lost", f"{url}: {cause(error)}", retryable=True) from None
        if answer.status != HTTPStatus.OK:
            raise status_error(url, answer.status, self.redact(content), _header(answer, "retry-after"))
        content = self.redact(content, at_least=_REAL_KEY)
        kind = (_header(answer, "content-type") or "").lower()
        if self._assemble is not None and kind.startswith("text/event-stream"):
            # Once more: a key may come in pieces, an event each.
            return self.redact(_assemble(url, self._assemble, content), at_least=_REAL_KEY)
        return content

    def _url(self, path: str) -> str:
        url = self._urls[path] = urlunsplit(self._base._replace(path=self._base.path + path))
        return url

    def decode(self, decoder: "msgspec.json.Decoder[T]", content: bytes) -> T:
        """Returns a response body as a struct. Raises ModelError, which quotes the body."""
        try:
            return decoder.decode(content)
        except UNREADABLE as error:
            if said := _error_in(content):
                raise error_of(said) from None
            if isinstance(error, msgspec.ValidationError):
                with suppress(*UNREADABLE):
                    return _repair_body(content, decoder)
            quoted = content[:200].decode("utf-8", "replace")
            message = f"the answer is not what this API gives ({error}); it begins: {quoted!r}"
            raise ModelError("bad_response", message, retryable=True) from None

    def redact(self, content: bytes, at_least: int = 1) -> bytes:
        """Returns a server's words without secrets, because some repeat the key that they refuse, or the whole request.

        Keys shorter than `at_least` stay, because a model may well say "dummy" or "EMPTY" by itself.
        """
        for key in self._secrets:
            if len(key) >= at_least and key in content:
                content = content.replace(key, b"[key]")
        if at_least == 1 or b"\\u" in content or b"\\/" in content:
            for pattern in self._secret_pattern:
                content = pattern.sub(b"[key]", content)
        return content

    async def aclose(self) -> None:
        await self._client.close()


def _repair_body(content: bytes, decoder: "msgspec.json.Decoder[T]") -> T:
    """A body whose only faults are fields beside the answer that have another type than the API's.

    Such a field becomes what it should be, if it can, and is left out otherwise. Raises ValidationError.
    """
    body = msgspec.json.decode(content)
    for _ in range(MOST_REPAIRS):
        try:
            return msgspec.json.decode(msgspec.json.encode(body), type=decoder.type, strict=False)
        except msgspec.ValidationError as error:
            if not _repair(body, str(error)):
                raise
    raise msgspec.ValidationError("too many fields of another type")


def _repair(body: Any, fault: str) -> bool:
    """Repair the field that msgspec names in a fault, or the nearest around it that may go. Returns whether one did."""
    path = [name or int(index) for name, index in re.findall(r"\.([^.\[\]`]+)|\[(\d+)\]", fault.rpartition("`$")[2])]
    for depth in range(len(path), 0, -1):
        name = path[depth - 1]
        parent: Any = functools.reduce(lambda held, key: held[key], path[: depth - 1], body)
        if isinstance(name, int) or name not in parent:
            continue
        value, is_text = parent[name], depth == len(path) and fault.startswith("Expected `str")
        if is_text and (name not in _ANSWER or (name == "text" and value is None)):
            parent[name] = "" if value is None else msgspec.json.encode(value).decode()
            return True
        if name not in _ANSWER:
            del parent[name]
            return True
    return False


def _secret_in(value: Any, where: str) -> str | None:
    """Returns where a value of a setting looks like a secret, by its name or by itself; None if nothing does."""
    if isinstance(value, str):
        named = where.rpartition(".")[2].lower() in _SECRET_NAMES and len(value) >= _REAL_KEY
        return where if named or _SECRET_VALUE.search(value) else None
    fields = cast(dict[str, Any], value).items() if isinstance(value, dict) else ()
    items = ((where, item) for item in cast(list[Any], value)) if isinstance(value, list) else ()
    places = (_secret_in(one, place) for place, one in (*((f"{where}.{name}", one) for name, one in fields), *items))
    return next(filter(None, places), None)


def _parts(secrets: Iterable[str]) -> set[str]:
    """What a server may repeat of what it was sent: all of it, or a key without its `Bearer`."""
    return {part for value in secrets for part in (value, *(one for one in value.split() if len(one) >= _REAL_KEY))}


def _spellings(part: str) -> Iterator[bytes]:
    """Yields how a secret may be repeated; other spellings than itself only where it is long enough to be one."""
    escaped = msgspec.json.encode(part)[1:-1]
    yield from (part.encode(), escaped, escaped.replace(b"/", b"\\/"))
    if len(part) < _REAL_KEY:
        return
    key = part.encode()
    yield from (key.upper(), key.lower(), key[::-1], key.hex().encode(), key.hex().upper().encode())
    for before in range(3):  # bytes: base64 of a longer text has the key at one of three offsets
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(bytes(before) + key)[-(-before * 8 // 6) : (before + len(key)) * 8 // 6]


def _secret_pattern(part: str) -> "re.Pattern[bytes]":
    """What finds a secret in any case, with any of its characters escaped as a URL does, or JSON, or JSON in JSON."""
    # JSON within JSON within JSON within JSON has 15 backslashes before one character.
    characters = (rf"(?:\\{{0,15}}(?:{re.escape(one)}|u{ord(one):04x})|%{ord(one):02x})" for one in part)
    return re.compile("".join(characters).encode(), re.IGNORECASE)


def _assemble(url: str, assemble: Assemble, stream: bytes) -> bytes:
    try:
        return assemble(stream)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        message = f"{url}: an event of the stream is not what this API gives ({type(error).__name__}: {error})"
        raise ModelError("bad_response", message, retryable=True) from None


def _header(answer: Response, name: str) -> str | None:
    """A header's value. `None` too where it is not ASCII, which pyreqwest 0.15 raises for."""
    try:
        return answer.get_header(name)
    except ValueError:
        return None


async def _read_unmeasured(url: str, answer: Response, largest: int) -> bytes:
    """A body whose length the server does not tell. Raises ModelError as soon as it is longer than `largest`."""
    content = bytearray()
    while chunk := await answer.body_reader.read_chunk():
        content += chunk
        if len(content) > largest:
            raise _too_large(url, "more and more", largest)
    return bytes(content)


def _too_large(url: str, size: str, largest: int) -> ModelError:
    return ModelError("too_large", f"{url} answered {size}; at most {largest} bytes are read", retryable=False)


def status_error(url: str, status: int, content: bytes, retry_after: str | None) -> ModelError:
    words = server_words(content)
    message = f"{url} answered {status}: {words}"
    if status == HTTPStatus.NOT_FOUND:
        message += " (the base URL should end in /v1; chat: speaks Chat Completions, openai: the Responses API)"
    # 500: what some versions of llama.cpp give.
    if status in (400, 413, 422, 500) and overflows(words):
        return ContextOverflow(message)
    retryable = status in _MAY_PASS and not any(mark in words.lower() for mark in _SPENT)
    error = ModelError(f"http_{status}", message, retryable=retryable, retry_after_s=_wait_s(retry_after))
    return _as_report(error, _error_in(content))


def _as_report(error: ModelError, fields: Any) -> ModelError:
    """The error, or what it says that the model did."""
    end = next((end for mark, end in _REPORTS.items() if mark in str(error).lower()), None)
    said: dict[str, Any] = fields if isinstance(fields, dict) else {}  # pyright: ignore[reportUnknownVariableType]
    # Groq has what the model wrote in a field, LiteLLM at the end of its message.
    text = said.get("failed_generation") or str(said.get("message")).partition("Arguments: ")[2]
    return ReportedAnswer(error, end, str(text)) if end else error


def error_of(error: Any) -> ModelError:
    """What an error object says that came in a 200 answer or within a stream, as proxies send it.

    Its type, or the status that stands in it as a code, tells whether it may pass.
    """
    fields: dict[str, Any] = error if isinstance(error, dict) else {"message": error}  # pyright: ignore
    message = f"the server's response failed: {_words_of(fields)}"
    if overflows(message):
        return ContextOverflow(message)
    named = [str(_STATUS_OF.get(str(fields.get(key)), fields.get(key))) for key in ("code", "type")]
    status = next((int(value) for value in named if value.isdecimal()), 500)
    kind = f"http_{status}" if f"http_{status}" in OVERLOAD else "response_failed"
    retryable = status in _MAY_PASS and not any(mark in message.lower() for mark in _SPENT)
    return _as_report(ModelError(kind, message, retryable=retryable), fields)


def _error_in(content: bytes) -> Any:
    """The error object that an answer holds in place of what was asked for. Gemini puts it into a list."""
    try:
        body: Any = msgspec.json.decode(content)
    except UNREADABLE:
        return None
    if isinstance(body, list):
        body = next(iter(body), None)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return body.get("error") if isinstance(body, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def _words_of(fields: dict[str, Any]) -> str:
    return " / ".join(str(fields[key]) for key in ("message", "code", "type") if fields.get(key)) or str(fields)[:300]


def overflows(words: str) -> bool:
    """Returns whether a server's words say that the context is too small."""
    words = words.lower().replace("`", "")
    return any(mark in words for mark in _OVERFLOW)


def _wait_s(retry_after: str | None) -> float | None:
    """Returns the seconds of a Retry-After header, which holds seconds or an HTTP date (RFC 9110, 10.2.3)."""
    if retry_after is None:
        return None
    try:
        wait_s = float(retry_after)
    except ValueError:
        try:
            until = parsedate_to_datetime(retry_after)
        except (ValueError, OverflowError):
            return None
        wait_s = (until if until.tzinfo else until.replace(tzinfo=UTC)).timestamp() - time.time()
    return max(wait_s, 0.0) if math.isfinite(wait_s) else None


def server_words(content: bytes) -> str:
    """Returns the server's words about an error: the error object's message, or the beginning of the body."""
    try:
        body = msgspec.json.decode(content)
    except UNREADABLE:
        return content[:300].decode("utf-8", "replace").strip() or "an empty body"
    if isinstance(body, list) and body:
        body = body[0]  # pyright: ignore
    error = body.get("error", body.get("detail", body)) if isinstance(body, dict) else body  # pyright: ignore
    if isinstance(error, dict):
        return _words_of(error)  # pyright: ignore
    return str(error)[:300]  # pyright: ignore


def cause(error: PyreqwestError) -> str:
    """Returns the innermost cause of a client's error: the outer ones only repeat the URL."""
    causes: list[dict[str, str]] = getattr(error, "details", {}).get("causes") or []
    return causes[-1]["message"] if causes else error.message

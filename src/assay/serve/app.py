"""A model on HTTP, as the Responses API and as Chat Completions, and the gateway that records who calls it."""

import asyncio
import hmac
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from assay.config import ModelConfig
from assay.errors import ModelError
from assay.model import ContextOverflow, Model
from assay.model.dialects.chat import server as chat
from assay.model.dialects.responses import server as responses
from assay.model.dialects.serving import BadRequest, error_object
from assay.model.dialects.settings import settings
from assay.serve.gateway import Gateway
from assay.types import Response as ModelResponse

LARGEST_BODY = 64 * 2**20
"""Bytes of a request."""
GRACE_S = 2.0
"""How long a stream waits for its first byte: what fails until then gets a status, which agents understand."""
KEEPALIVE_S = 10.0
T = TypeVar("T")
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Served:
    """One model on HTTP."""

    name: str
    config: ModelConfig
    model: Model
    gateway: Gateway | None = None

    def app(self, key: str | None = None) -> Starlette:
        """The routes. With a key, all but `/health` want it as a bearer token."""
        api = [
            ("/models", self._models, "GET"),
            ("/models/{model:path}", self._model, "GET"),
            ("/responses", self._responses, "POST"),
            ("/chat/completions", self._chat, "POST"),
        ]
        routes = [Route("/health", _health)]
        for prefix in ("/v1", "/rollouts/{rollout}/v1"):
            routes += [Route(prefix + path, endpoint, methods=[method]) for path, endpoint, method in api]
        routes.append(Route("/rollouts/{rollout}", self._recorded))
        return Starlette(
            routes=routes,
            middleware=[Middleware(Key, key=key)] if key else [],
            exception_handlers={
                BadRequest: _bad_request,
                ModelError: _model_error,
                HTTPException: _http_error,
                ClientDisconnect: _gone,
                Exception: _broken,
            },
        )

    async def _models(self, request: Request) -> Response:
        return _json({"object": "list", "data": [self._card()]})

    async def _model(self, request: Request) -> Response:
        self._known(request.path_params["model"])
        return _json(self._card())

    def _card(self) -> dict[str, Any]:
        return {"id": self.name, "object": "model", "created": 0, "owned_by": "assay"}

    async def _recorded(self, request: Request) -> Response:
        return _json({"rollout": request.path_params["rollout"], "turns": self._rollouts().turns(_rollout(request))})

    async def _responses(self, request: Request) -> Response:
        call = responses.parse(await read_body(request))
        self._known(call.model)
        sampling = settings(self.config.sampling, call.request.sampling)
        begun = responses.begun(call, model=self.name, sampling=sampling)
        answer = self._model_of(request).respond(call.request)
        if not call.stream:
            return _json(responses.completed(call, begun, await _unless_gone(request, answer)))

        def encoded(events: Iterator[responses.Event]) -> Iterator[bytes]:
            for event in events:
                yield _event(numbered(event), name=event["type"])

        def numbered(event: responses.Event) -> responses.Event:
            nonlocal sequence
            sequence += 1
            return {**event, "sequence_number": sequence}

        def failed(error: ModelError) -> Iterator[bytes]:
            done = responses.failed(begun, str(error), error.kind)
            return encoded(iter([{"type": "response.failed", "response": done}]))

        sequence = -1
        return await _stream(
            answer,
            before=encoded(responses.opening(begun)),
            after=lambda response: encoded(responses.closing(responses.completed(call, begun, response))),
            failed=failed,
        )

    async def _chat(self, request: Request) -> Response:
        call = chat.parse(await read_body(request))
        self._known(call.model)
        answer = self._model_of(request).respond(call.request)
        head: dict[str, Any] = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": self.name}
        if not call.stream:
            return _json(chat.completion(await _unless_gone(request, answer), call, **head))
        return await _stream(
            answer,
            before=(),
            after=lambda response: map(_event, chat.chunks(response, call, **head)),
            failed=lambda error: iter([_event(error_object(str(error), kind="server_error", code=error.kind))]),
        )

    def _model_of(self, request: Request) -> Model:
        """The model, within the rollout that the route names."""
        return self._rollouts().model(_rollout(request)) if "rollout" in request.path_params else self.model

    def _rollouts(self) -> Gateway:
        if self.gateway is None:
            message = "nothing is recorded here: start the server with --record DIR"
            raise BadRequest(message, code="not_recording", status=404)
        return self.gateway

    def _known(self, model: str | None) -> None:
        if model not in (None, self.name, self.config.id):
            message = f"there is no model {model} here; there is {self.name}"
            raise BadRequest(message, param="model", code="model_not_found", status=404)


def _rollout(request: Request) -> str:
    return request.path_params["rollout"]


async def _health(request: Request) -> Response:
    return _json({"status": "ok"})


async def read_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise BadRequest(f"the body is longer than {LARGEST_BODY} bytes", code="too_large", status=413)
    return bytes(body)


async def _unless_gone(request: Request, answer: Coroutine[Any, Any, T]) -> T:
    """The answer. Where the caller goes away, the model's work is cancelled and ClientDisconnect raised."""
    running, gone = asyncio.ensure_future(answer), asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({running, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            raise ClientDisconnect
        return running.result()
    finally:
        for task in (running, gone):
            task.cancel()
        await asyncio.wait({running, gone})


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _stream(
    answer: Coroutine[Any, Any, ModelResponse],
    *,
    before: Iterable[bytes],
    after: Callable[[ModelResponse], Iterator[bytes]],
    failed: Callable[[ModelError], Iterator[bytes]],
) -> Response:
    """Server-sent events: `before` at once, comments while the model works, then `after` or `failed`.

    A model gives its answer as a whole, so that is when the pieces come. What fails within GRACE_S is raised, so it
    becomes a status.
    """
    running = asyncio.ensure_future(answer)
    try:
        await asyncio.wait({running}, timeout=GRACE_S)
        if running.done():
            running.result()
    except BaseException:
        running.cancel()
        raise

    async def events() -> AsyncIterator[bytes]:
        try:
            for event in before:
                yield event
            while not (await asyncio.wait({running}, timeout=KEEPALIVE_S))[0]:
                yield b": the model is working\n\n"
            try:
                last = after(running.result())
            except ModelError as error:
                last = failed(error)
            for event in last:
                yield event
            yield b"data: [DONE]\n\n"
        finally:
            running.cancel()

    headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
    return StreamingResponse(events(), media_type="text/event-stream", headers=headers)


def _event(data: Any, name: str | None = None) -> bytes:
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + _encode(data) + b"\n\n"


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(_encode(value), status, headers, media_type="application/json")


class Key:
    """Refuses requests without the key."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._expected = f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/health":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, self._expected):
                message = "this server wants its key: authorization: Bearer KEY"
                refusal = _json(error_object(message, kind="invalid_request", code="invalid_api_key"), 401)
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _bad_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, BadRequest)
    kind = "not_found" if error.status == 404 else "invalid_request"
    return _json(error_object(error.message, kind=kind, param=error.param, code=error.code), error.status)


async def _model_error(request: Request, error: Exception) -> Response:
    """The error of the model behind, by a status that says whose it is: the caller's, or nobody's who calls here."""
    assert isinstance(error, ModelError)
    status, kind, code = _status_of(error)
    headers = {"retry-after": f"{error.retry_after_s:.0f}"} if error.retry_after_s is not None else None
    return _json(error_object(str(error), kind=kind, code=code), status, headers)


def _status_of(error: ModelError) -> tuple[int, str, str]:
    if isinstance(error, ContextOverflow):
        return 400, "invalid_request", "context_length_exceeded"
    if error.kind in ("http_400", "http_413", "http_422", "bad_request", "unsupported"):
        return 422 if error.kind == "http_422" else 400, "invalid_request", error.kind
    if error.kind == "http_429":
        return 429, "too_many_requests", "rate_limit_exceeded"
    if error.kind in ("http_503", "http_529"):
        return 503, "server_error", error.kind
    # Also 401 and 403: it is this server's key that was refused, not the caller's.
    return 504 if error.kind == "timeout" else 502, "server_error", error.kind


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = "not_found" if error.status_code == 404 else "invalid_request"
    message = f"{request.method} {request.url.path}: {error.detail}"
    return _json(error_object(message, kind=kind), error.status_code, dict(error.headers or {}))


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)


async def _broken(request: Request, error: Exception) -> Response:
    return _json(error_object(f"{type(error).__name__}: {error}", kind="server_error"), 500)

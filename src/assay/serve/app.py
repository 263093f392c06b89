"""A model on HTTP, in every wire format that has a server, and the gateway that records who calls it."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from assay.config import ModelConfig
from assay.errors import ModelError
from assay.model import Model
from assay.model.dialects.chat import server as chat
from assay.model.dialects.messages import server as messages
from assay.model.dialects.responses import server as responses
from assay.model.dialects.serving import BadRequest, Context, Exchange, Recorded, error_object
from assay.serve.gateway import Call
from assay.serve.http import Callers, read_body, refusal
from assay.types import Response as ModelResponse

GRACE_S = 2.0
"""How long a stream waits for its first byte: what fails until then gets a status, which agents understand."""
KEEPALIVE_S = 10.0
_FORMATS: dict[str, Callable[[bytes, Context], Exchange]] = {
    "/responses": responses.Exchange,
    "/chat/completions": chat.Exchange,
    messages.ROUTE: messages.Exchange,
}
"""The wire formats by their routes."""
T = TypeVar("T")
_encode = msgspec.json.Encoder().encode


class Rollouts(Protocol):
    """Rollouts by name, whose calls of the model are recorded. Raises BadRequest for what is no rollout here."""

    def model(self, rollout: str) -> Model: ...

    def items(self, rollout: str) -> Recorded: ...

    def turns(self, rollout: str) -> list[Call]: ...


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model on HTTP."""

    name: str
    config: ModelConfig
    model: Model | None
    """None where it is served within rollouts alone."""
    gateway: Rollouts | None = None
    any_name: bool = False
    """Whether callers may call the model what they like."""

    def app(self, key: str | None = None) -> Starlette:
        """Returns the routes. With a key, all but `/health` want it; without one, no page in a browser may call."""
        api = [
            ("/models", self._models, "GET"),
            ("/models/{model:path}", self._model, "GET"),
            *((path, self._endpoint(exchange), "POST") for path, exchange in _FORMATS.items()),
        ]
        routes = [Route("/health", _health)]
        for prefix in ("/rollouts/{rollout}/v1", *(["/v1"] if self.model else [])):
            routes += [Route(prefix + path, endpoint, methods=[method]) for path, endpoint, method in api]
        routes.append(Route("/rollouts/{rollout}", self._calls))
        return Starlette(
            routes=routes,
            middleware=[Middleware(Callers, key=key)],
            exception_handlers={
                BadRequest: _bad_request,
                ModelError: _model_error,
                HTTPException: _http_error,
                ClientDisconnect: _client_closed,
                Exception: _server_error,
            },
        )

    async def _models(self, request: Request) -> Response:
        return _json({"object": "list", "data": [self._card()]})

    async def _model(self, request: Request) -> Response:
        self._check_name(request.path_params["model"])
        return _json(self._card())

    def _card(self) -> dict[str, Any]:
        return {"id": self.name, "object": "model", "created": 0, "owned_by": "assay"}

    async def _calls(self, request: Request) -> Response:
        return _json({"rollout": request.path_params["rollout"], "turns": self._rollouts().turns(_rollout(request))})

    def _endpoint(self, exchange: Callable[[bytes, Context], Exchange]) -> Callable[[Request], Awaitable[Response]]:
        """Returns the endpoint of a wire format."""

        async def endpoint(request: Request) -> Response:
            recorded = self._rollouts().items(_rollout(request)) if "rollout" in request.path_params else None
            context = Context(self.name, self.config.sampling, request.headers, recorded)
            call = exchange(await read_body(request), context)
            self._check_name(call.model)
            model = self._rollouts().model(_rollout(request)) if recorded else self.model
            assert model is not None
            answer = model.respond(call.request)
            if call.stream:
                return await _stream(answer, call)
            return _json(call.whole(await _answer_or_disconnect(request, answer)))

        return endpoint

    def _rollouts(self) -> Rollouts:
        if self.gateway is None:
            message = "nothing is recorded here: start the server with --record DIR"
            raise BadRequest(message, code="not_recording", status=404)
        return self.gateway

    def _check_name(self, model: str | None) -> None:
        if not self.any_name and model not in (None, self.name, self.config.id):
            message = f"there is no model {model} here; there is {self.name}"
            raise BadRequest(message, param="model", code="model_not_found", status=404)


def _rollout(request: Request) -> str:
    return request.path_params["rollout"]


async def _health(request: Request) -> Response:
    return _json({"status": "ok"})


async def _answer_or_disconnect(request: Request, answer: Coroutine[Any, Any, T]) -> T:
    """Returns the answer. Where the caller goes away, the model's work is cancelled and ClientDisconnect raised."""
    running, disconnect = asyncio.ensure_future(answer), asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({running, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            raise ClientDisconnect
        return running.result()
    finally:
        for task in (running, disconnect):
            task.cancel()
        await asyncio.wait({running, disconnect})


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _stream(answer: Coroutine[Any, Any, ModelResponse], call: Exchange) -> Response:
    """Server-sent events: the opening at once, comments while the model works, then the answer or its error.

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
            for event in call.opening():
                yield _event(*event)
            while not (await asyncio.wait({running}, timeout=KEEPALIVE_S))[0]:
                yield b": the model is working\n\n"
            try:
                last = call.closing(running.result())
            except ModelError as error:
                last = call.failed(str(error), error.kind)
            for event in last:
                yield _event(*event)
            yield call.end
        finally:
            running.cancel()

    headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
    return StreamingResponse(events(), media_type="text/event-stream", headers=headers)


def _event(name: str | None, data: dict[str, Any]) -> bytes:
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + _encode(data) + b"\n\n"


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(_encode(value), status, headers, media_type="application/json")


async def _bad_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, BadRequest)
    return refusal(request.url.path, error)


async def _model_error(request: Request, error: Exception) -> Response:
    """The error of the model behind, by its own status, so that clients try again what may pass and nothing else."""
    assert isinstance(error, ModelError)
    status, code = _status_of(error)
    headers = {"x-should-retry": str(error.retryable).lower()}
    if error.retry_after_s is not None:
        headers["retry-after"] = f"{error.retry_after_s:.0f}"
    return _json(error_object(request.url.path, status, str(error), code=code), status, headers)


_STATUSES = {
    "budget": (403, "budget_reached"),
    "context_overflow": (400, "context_length_exceeded"),
    "bad_request": (400, "bad_request"),
    "unsupported": (400, "unsupported"),
    "http_429": (429, "rate_limit_exceeded"),
    "http_503": (503, "http_503"),
    "http_529": (503, "http_529"),
    "timeout": (504, "timeout"),
}


def _status_of(error: ModelError) -> tuple[int, str]:
    """The status and the code of an answer. What the server behind refuses (4xx) is refused here by the same status."""
    match = re.fullmatch(r"http_(4\d\d)", error.kind)
    return _STATUSES.get(error.kind) or (int(match[1]) if match else 502, error.kind)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    content = error_object(path, error.status_code, f"{request.method} {path}: {error.detail}")
    return _json(content, error.status_code, dict(error.headers or {}))


async def _client_closed(request: Request, error: Exception) -> Response:
    return Response(status_code=499)


async def _server_error(request: Request, error: Exception) -> Response:
    return _json(error_object(request.url.path, 500, f"{type(error).__name__}: {error}"), 500)

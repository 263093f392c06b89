"""The door of a rollout on HTTP: its model in every wire format, and its tools."""

import importlib
import secrets
import socket
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from msgspec import structs
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assay.agent.door import Opening
from assay.agent.limits import LimitReached
from assay.benchmark import Session
from assay.config import OBJECT, ModelConfig
from assay.errors import UsageError
from assay.model import BudgetReached, Model
from assay.model.dialects.serving import BadRequest, Recorded, with_id
from assay.serve.app import ServedModel
from assay.serve.gateway import Call
from assay.serve.http import serving
from assay.serve.tools import Tools
from assay.types import Item, Request, Response, Task

LONGEST_REFUSAL = 500
"""Bytes of a refusal that are kept."""


class HttpDoor:
    """Serves each rollout on a socket of its own, below a name that can't be guessed."""

    def __init__(self, model: str) -> None:
        """`model` is the name by which the model is served."""
        self.model = model

    @asynccontextmanager
    async def __call__(
        self, task: Task, model: Model, session: Session, listener: socket.socket, *, mcp: bool
    ) -> AsyncGenerator[Opening]:
        name = secrets.token_urlsafe(24)
        opening = Opening(f"http://127.0.0.1:{listener.getsockname()[1]}/rollouts/{name}")
        app = ServedModel(
            self.model, ModelConfig(dialect=OBJECT), None, _Rollout(name, model, opening), any_name=True
        ).app()
        tools = Tools(task, session, opening)
        app.routes.extend(tools.routes(f"/rollouts/{name}"))
        async with (
            _mcp(tools, app, f"/rollouts/{name}/mcp") if mcp else nullcontext(app) as whole,
            serving(_Refusals(whole, name, opening), listener),
        ):
            yield opening


def _mcp(tools: Tools, app: ASGIApp, path: str) -> AbstractAsyncContextManager[ASGIApp]:
    """Returns the app with an MCP server at a path. Raises UsageError where the package mcp is not installed."""
    try:
        return importlib.import_module("assay.serve.mcp").with_mcp(tools, app, path)
    except ImportError as error:
        raise UsageError(f"tools by MCP need the package mcp: pip install 'assay[mcp]' ({error})") from None


class _Rollout:
    """The one rollout of a door. It keeps the last answer and the last error of its calls."""

    def __init__(self, name: str, model: Model, opening: Opening) -> None:
        self._name, self._model, self._opening = name, model, opening
        self._items: dict[str, Item] = {}

    def model(self, rollout: str) -> Model:
        if not secrets.compare_digest(rollout.encode(), self._name.encode()):
            raise BadRequest("there is no such rollout here", param="rollout", code="rollout_not_found", status=404)
        return self

    def items(self, rollout: str) -> Recorded:
        self.model(rollout)
        return self._items.get

    def turns(self, rollout: str) -> list[Call]:
        self.model(rollout)
        raise BadRequest("the calls are in the run's directory", code="not_shown", status=404)

    async def respond(self, request: Request) -> Response:
        opening = self._opening
        if opening.over.is_set():
            raise BadRequest("the rollout is over", code="rollout_over", status=403)
        opening.in_flight += 1
        try:
            answer = await self._model.respond(request)
        except LimitReached as error:
            opening.close()
            raise BadRequest(str(error), code="limit_reached", status=403) from None
        except Exception as error:
            opening.error = error
            if isinstance(error, BudgetReached):
                opening.close()
            raise
        finally:
            opening.in_flight -= 1
        response = structs.replace(answer, output=[with_id(item) for item in answer.output])
        self._items |= {item.id: item for item in [*request.input, *response.output] if item.id}
        opening.last, opening.error = response, None
        return response


class _Refusals:
    """An app whose refusals are kept for the message about an agent that got nothing else."""

    def __init__(self, app: ASGIApp, name: str, opening: Opening) -> None:
        self._app, self._name, self._opening = app, name, opening

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = 200

        async def send_and_note(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            if status >= 400 and message["type"] == "http.response.body":
                text = message.get("body", b"")[:LONGEST_REFUSAL].decode(errors="replace")
                place = scope["path"].replace(self._name, "ID")
                self._opening.refused = f"{scope['method']} {place}: {status} {text}"
            await send(message)

        await self._app(scope, receive, send_and_note)

"""The models that tasks of `verifiers` ask as judges: roles, each served to the library at an address of its own."""

import socket
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from assay.gyms import require
from assay.model import Model
from assay.model.dialects.chat.server import Exchange
from assay.model.dialects.serving import BadRequest, Context, error_object

EXTRA = "verifiers"


def judges_of(config: Any) -> Iterator[str]:
    """Yields the roles of a task's configuration: its fields that hold an endpoint, and its plugged judges."""
    endpoint = require("verifiers.v1", EXTRA).BaseClientConfig
    yield from (name for name, value in config if isinstance(value, endpoint))
    yield from (judge.name or judge.id for judge in config.judges)


@asynccontextmanager
async def judged(task: Any, models: Mapping[str, Model]) -> AsyncGenerator[Any]:
    """Yields the task with the roles' models as its judges.

    Raises what a model in a role raised, in place of the error that the library makes of it.
    """
    errors: list[Exception] = []
    async with AsyncExitStack() as stack:
        where = {role: await stack.enter_async_context(_served(model, errors)) for role, model in models.items()}
        own = {name: _at(value, where[name]) for name, value in task.config if name in where}
        plugged = [_at(judge, where[judge.name or judge.id]) for judge in task.config.judges]
        config = task.config.model_copy(update={**own, "judges": plugged})
        try:
            yield type(task)(task.data, config) if models else task
        except Exception:
            if errors:
                raise errors[-1] from None
            raise


def _at(config: Any, url: str) -> Any:
    return config.model_copy(update={"base_url": url, "api_key_var": "ASSAY_NEEDS_NO_KEY"})


@asynccontextmanager
async def _served(model: Model, errors: list[Exception]) -> AsyncGenerator[str]:
    """Yields the URL at which a model answers Chat Completions, as long as the context lasts."""
    web = require("aiohttp.web", EXTRA)

    async def answer(request: Any) -> Any:
        try:
            exchange = Exchange(await request.read(), Context(model="judge"))
        except BadRequest as error:
            return web.json_response(error_object("", error.status, error.message), status=error.status)
        try:
            return web.json_response(exchange.whole(await model.respond(exchange.request)))
        except Exception as error:
            errors.append(error)
            raise

    app = web.Application(client_max_size=2**30)
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        listener = socket.create_server(("127.0.0.1", 0))
        await web.SockSite(runner, listener).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        await runner.cleanup()

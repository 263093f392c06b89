"""The viewer's app: all pages, behind the guard."""

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from assay.errors import AssayError, UsageError, of_system
from assay.report import page as report
from assay.view import guard
from assay.view.catalog import Catalog, NotThere
from assay.view.frame import HERE, View, in_thread, templates
from assay.view.pages import comparison, export, home, live, matrix, profile, review, rollout, rollouts
from assay.view.progress import Watch

PAGES = (home, live, matrix, profile, comparison, rollouts, rollout, review, export)


def make_app(folder: Path, key: str | None = None, *, read_only: bool = False) -> Starlette:
    """Returns the app over a folder. With a key, only people who have signed in see anything."""
    token = secrets.token_urlsafe(32)
    keeper = guard.Guard(key, read_only, token)
    view = View(catalog := Catalog(folder), Watch(catalog), read_only, token, templates())

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        yield
        await in_thread(view.indexing.close)

    app = Starlette(
        lifespan=lifespan,
        routes=[
            Mount("/static/report", StaticFiles(directory=report.HERE / "templates")),
            Mount("/static/vendor", StaticFiles(directory=report.HERE / "vendor")),
            Mount("/static", StaticFiles(directory=HERE / "static")),
            *guard.routes(keeper),
            *(route for page in PAGES for route in page.routes),
        ],
        middleware=[Middleware(guard.GuardMiddleware, guard=keeper)],
        exception_handlers={
            404: _nothing,
            405: _nothing,
            AssayError: _refuse,
            OSError: _unreadable,
            Exception: _fail,
        },
    )
    app.state.view = view
    return app


async def _nothing(request: Request, _: Exception) -> Response:
    return guard.refusal(request, NotThere(f"There is no page at {request.url.path}."), 404)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, AssayError)
    return guard.refusal(request, error, 404 if isinstance(error, NotThere) else 422)


async def _unreadable(request: Request, error: Exception) -> Response:
    assert isinstance(error, OSError)
    problem = of_system(error) or NotThere(f"{error.filename}: {error.strerror}")
    return guard.refusal(request, problem, 422)


async def _fail(request: Request, error: Exception) -> Response:
    """The page for an unexpected error. It is drawn outside of the guard; the traceback goes to the terminal."""
    words = f"This page could not be made: {type(error).__name__}: {error}. The terminal of the viewer says where."
    answer = guard.refusal(request, UsageError(words), 500)
    answer.headers.update(guard.HEADERS)
    return answer

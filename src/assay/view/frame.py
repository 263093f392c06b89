"""Drawing a page: the templates, the frame that all pages share, and addresses."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import quote, urlencode

from jinja2 import Environment
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse

from assay.report import page as report
from assay.view.catalog import Catalog
from assay.view.index.indexing import Indexing
from assay.view.progress import Watch

HERE = Path(__file__).parent
T = TypeVar("T")


@dataclass(frozen=True)
class View:
    """What all pages work with."""

    catalog: Catalog
    watch: Watch
    read_only: bool
    """Whether nothing may be written."""
    token: str
    """What each form has to send."""
    templates: Environment
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server is to end, so that answers without an end stop."""
    indexing: Indexing = field(default_factory=Indexing)


def view_of(request: Request) -> View:
    """Returns what the app of this request works with."""
    return cast(View, request.app.state.view)


def catalog_of(request: Request) -> Catalog:
    """Returns the catalog of the app of this request."""
    return view_of(request).catalog


def form_of(request: Request) -> dict[str, str]:
    """Returns the fields of a form that was sent: the guard has read it, and it is allowed."""
    return cast(dict[str, str], request.state.form)


def url(*parts: object, **query: Any) -> str:
    """Returns the address of a page: parts of its path, and its query. A list is a name several times; None is none."""
    path = "/" + "/".join(quote(str(part), safe="~:@,") for part in parts)
    pairs = {name: value for name, value in query.items() if value not in (None, "", [])}
    return path + (f"?{urlencode(pairs, doseq=True)}" if pairs else "")


def is_local(address: str) -> bool:
    """Returns whether an address is of these pages, so that a form may lead on to it."""
    return re.match(r"/(?![/\\])", address) is not None


def templates() -> Environment:
    """Returns the viewer's templates, and the report's. A template here replaces the report's of the same name."""
    environment = report.templates(HERE / "templates")
    environment.globals |= {"url": url}  # pyright: ignore[reportUnknownMemberType]
    return environment


def draw(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """Returns a page. Its template extends `frame.html`.

    `crumbs` among the values are the pages above it, (title, address) each; `tab` is the main page that it belongs to;
    `scripts` and `styles` are files of `static/`.
    """
    view = view_of(request)
    values = {"crumbs": (), "tab": "", "scripts": (), "styles": ()} | values
    page = view.templates.get_template(template).render(**values, read_only=view.read_only, token=view.token)
    return HTMLResponse(strict(page), status)


def strict(page: str) -> str:
    """Returns a page whose style attributes are data, which `frame.js` applies: the policy allows none in a page.

    Text has no plain quotation mark, so that only templates write `style="`.
    """
    return page.replace(' style="', ' data-style="')


async def in_thread(make: Callable[[], T]) -> T:
    """Returns the result of a function that reads files; other pages are served meanwhile."""
    return await run_in_threadpool(make)

"""A selection of rollouts as a file: JSONL, Markdown for an issue, a page that opens offline."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
from markupsafe import Markup
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from assay.errors import UnknownName, UsageError
from assay.exports.rows import markdown, row_of
from assay.fidelity.review.readings import reading
from assay.report import page as report
from assay.types import Rollout, Task
from assay.view.frame import HERE, View, in_thread, view_of
from assay.view.index.query import Query
from assay.view.index.reader import Row
from assay.view.pages.rollouts import Subject, subject_of, with_repair
from assay.view.table import Member, open_table

READABLE = 200
"""Rollouts at most of what people read: Markdown and a page."""
LONGEST = 100_000
"""Characters of a text on a page."""
Pick = tuple[Member, Row]


async def export(request: Request) -> Response:
    """Returns the rollouts that a table with this query shows, as a file."""
    view = view_of(request)
    subject = subject_of(view.catalog, request.path_params)
    format_name = request.query_params.get("format", "")
    if format_name not in FORMATS:
        raise UnknownName("format of a selection", format_name, FORMATS)
    ending, kind, write = FORMATS[format_name]
    query = Query.parse((name, value) for name, value in request.query_params.multi_items() if name != "format")
    # A file, since what is sent piece by piece would hold the indexes open as long as a slow client likes.
    file = await in_thread(lambda: with_repair(view, subject.runs, lambda: _write(view, subject, query, write)))
    name = subject.href.strip("/").replace("/", "-").replace("~", "-") + ending
    return FileResponse(file, media_type=kind, filename=name, background=BackgroundTask(file.unlink))


def _write(view: View, subject: Subject, query: Query, write: "Writer") -> Path:
    with open_table(view, subject.runs) as table, tempfile.NamedTemporaryFile("wb", delete=False) as file:
        try:
            if len(table.members) < len(subject.runs):
                raise UsageError("The index is not there yet. Open the table, and wait until it is.")
            if not (rows := [*table.all_rows(query)]):
                raise UsageError("No rollout is selected. Go back, and change the filters.")
            for part in write(view, subject, rows):
                file.write(part)
        except BaseException:
            Path(file.name).unlink()
            raise
    return Path(file.name)


def _pairs(rows: Iterable[Pick]) -> Iterator[tuple[Task, Rollout]]:
    return ((member.index.task(row.task), member.index.rollout(row)) for member, row in rows)


def _jsonl(view: View, subject: Subject, rows: Sequence[Pick]) -> Iterator[bytes]:
    for (member, _), pair in zip(rows, _pairs(rows), strict=True):
        yield msgspec.json.encode({"model": member.model} | row_of(*pair)) + b"\n"


def _markdown(_: View, subject: Subject, rows: Sequence[Pick]) -> Iterator[bytes]:
    some = rows[:READABLE]
    yield markdown(f"{subject.title} {subject.of}", _pairs(some), len(some), len(rows)).encode()


def _page(view: View, subject: Subject, rows: Sequence[Pick]) -> Iterator[bytes]:
    some = rows[:READABLE]
    styles = (report.HERE / "templates" / "page.css", HERE / "static" / "review.css")
    values = {
        "subject": subject,
        "style": Markup("\n".join(path.read_text(encoding="utf-8") for path in styles)),
        "readings": [
            (row, reading(rollout, task, member.model))
            for (member, row), (task, rollout) in zip(some, _pairs(some), strict=True)
        ],
        "of": len(rows),
        "limit": LONGEST,
    }
    yield view.templates.get_template("export.html").render(**values).encode()


Writer = Callable[[View, Subject, Sequence[Pick]], Iterator[bytes]]
FORMATS: dict[str, tuple[str, str, Writer]] = {
    "jsonl": (".jsonl", "application/jsonl", _jsonl),
    "markdown": (".md", "text/markdown", _markdown),
    "page": (".html", "text/html", _page),
}
"""By name, the file's ending, its media type, and what writes it."""
routes = [Route("/runs/{run}/export", export), Route("/profiles/{profile}/export", export)]

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
from assay.store import RunRecord
from assay.types import Rollout, Task
from assay.view.catalog import Entry
from assay.view.frame import HERE, View, in_thread, view_of
from assay.view.index.reader import Index, Row
from assay.view.pages.rollouts import selected

READABLE = 200
"""Rollouts at most of what people read: Markdown and a page."""
LONGEST = 100_000
"""Characters of a text on a page."""
Pair = tuple[Task, Rollout]


async def export(request: Request) -> Response:
    """Returns the rollouts that a table with this query shows, as a file."""
    view, run = view_of(request), view_of(request).catalog.run(request.path_params["run"])
    wanted = request.query_params.get("format", "")
    if wanted not in FORMATS:
        raise UnknownName("format of a selection", wanted, FORMATS)
    ending, kind, write = FORMATS[wanted]
    pairs = [(name, value) for name, value in request.query_params.multi_items() if name != "format"]
    # A file, since what is sent piece by piece would hold the run's index open as long as a slow client likes.
    file = await in_thread(lambda: _written(view, run, pairs, write))
    name = f"{run.name.replace('~', '-')}{ending}"
    return FileResponse(file, media_type=kind, filename=name, background=BackgroundTask(file.unlink))


def _written(view: View, run: Entry, pairs: Sequence[tuple[str, str]], write: "Writer") -> Path:
    rows = selected(view, run, pairs)
    index, _ = view.indexing.opened(run.path)
    if index is None or not rows:
        raise UsageError("No rollout is selected. Go back, and change the filters.")
    with index, tempfile.NamedTemporaryFile("wb", prefix="assay-export-", delete=False) as file:
        try:
            for part in write(view, view.catalog.record(run), rows, index):
                file.write(part)
        except BaseException:
            Path(file.name).unlink()
            raise
    return Path(file.name)


def _pairs(rows: Iterable[Row], index: Index) -> Iterator[Pair]:
    return ((index.task(row.task), index.rollout(row)) for row in rows)


def _jsonl(_: View, __: RunRecord, rows: Sequence[Row], index: Index) -> Iterator[bytes]:
    return (msgspec.json.encode(row_of(*pair)) + b"\n" for pair in _pairs(rows, index))


def _markdown(_: View, record: RunRecord, rows: Sequence[Row], index: Index) -> Iterator[bytes]:
    shown = rows[:READABLE]
    yield markdown(record, _pairs(shown, index), len(shown), len(rows)).encode()


def _page(view: View, record: RunRecord, rows: Sequence[Row], index: Index) -> Iterator[bytes]:
    shown = rows[:READABLE]
    styles = (report.HERE / "templates" / "page.css", HERE / "static" / "review.css")
    values = {
        "record": record,
        "style": Markup("\n".join(path.read_text(encoding="utf-8") for path in styles)),
        "readings": [
            (row, reading(rollout, task, record.model))
            for row, (task, rollout) in zip(shown, _pairs(shown, index), strict=True)
        ],
        "of": len(rows),
        "limit": LONGEST,
    }
    yield view.templates.get_template("export.html").render(**values).encode()


Writer = Callable[[View, RunRecord, Sequence[Row], Index], Iterator[bytes]]
FORMATS: dict[str, tuple[str, str, Writer]] = {
    "jsonl": (".jsonl", "application/jsonl", _jsonl),
    "markdown": (".md", "text/markdown", _markdown),
    "page": (".html", "text/html", _page),
}
"""By name, the file's ending, its media type, and what writes it."""
routes = [Route("/runs/{run}/export", export)]

"""The first page: all runs, profiles and comparisons of the folder."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from assay.errors import AssayError, text_of
from assay.fidelity.gates import applicable
from assay.fidelity.schema.profile import Gate, Profile
from assay.report.findings import Headline, verdict
from assay.view.catalog import Entry
from assay.view.frame import View, draw, in_thread, view_of
from assay.view.pages.live import Row, row

READ_S = 0.5
"""How long the page waits for runs that have to be read. The rest comes while it is looked at."""


def _number(value: float | None) -> float:
    return -math.inf if value is None else value


SORTS: dict[str, Callable[[Row], Any]] = {
    "benchmark": lambda row: row.record.benchmark if row.record else "",
    "model": lambda row: row.record.model if row.record else "",
    "agent": lambda row: str(row.record.agent) if row.record else "",
    "score": lambda row: _number(row.progress and row.progress.score),
    "done": lambda row: _number(row.progress and (row.progress.scored + row.progress.failed)),
    "failures": lambda row: _number(row.progress and row.progress.failed),
    "cost": lambda row: _number(row.progress and row.progress.cost_usd),
    "when": lambda row: row.record.started if row.record else "",
}
"""What each column sorts by."""
STATES: dict[str, Callable[[Row], object]] = {
    "live": lambda row: row.progress and row.progress.making,
    "incomplete": lambda row: row.progress and row.progress.owed,
    "with failures": lambda row: row.progress and row.progress.failed,
    "not readable": lambda row: row.progress is None,
}


@dataclass(frozen=True)
class ProfileRow:
    """A profile as the table shows it. Without a record, `problem` says why."""

    entry: Entry
    record: Profile | None = None
    problem: str = ""

    @property
    def gates(self) -> list[Gate]:
        """The gates that apply."""
        return applicable(self.record.gates, original=self.record.original) if self.record else []

    @property
    def headline(self) -> Headline | None:
        """What the gates come to."""
        return verdict(self.record.gates, original=self.record.original) if self.record else None


def profile_row(view: View, entry: Entry) -> ProfileRow:
    """Returns a profile as far as it can be read."""
    try:
        return ProfileRow(entry, view.catalog.profile(entry))
    except (AssayError, OSError) as error:
        return ProfileRow(entry, problem=text_of(error))


def rows_of(view: View) -> list[Row]:
    """Returns all runs."""
    until = time.monotonic() + READ_S
    return [row(view, run, until) for run in view.catalog.entries("run")]


def select(rows: Sequence[Row], query: dict[str, str]) -> list[Row]:
    """Returns the rows that a query asks for, in its order."""
    words = query.get("q", "").lower().split()
    state = STATES.get(query.get("state", ""), lambda _: True)
    found = [
        row
        for row in rows
        if all(word in _text(row) for word in words)
        and state(row)
        and all(query.get(name) in (None, "", SORTS[name](row)) for name in ("benchmark", "model"))
    ]
    sort = query.get("sort", "")
    if (key := SORTS.get(sort.removeprefix("-"))) is None:
        sort, key = "-when", SORTS["when"]
    return sorted(found, key=key, reverse=sort.startswith("-"))


def _text(row: Row) -> str:
    record = row.record
    parts = [row.run.name, *([record.benchmark, record.version, record.model, str(record.agent)] if record else [])]
    return " ".join(parts).lower()


async def home(request: Request) -> Response:
    """Returns the page."""
    view, query = view_of(request), dict(request.query_params)
    rows = await in_thread(lambda: rows_of(view))
    profiles = await in_thread(lambda: [profile_row(view, one) for one in view.catalog.entries("profile")])
    return draw(
        request,
        "home.html",
        tab="home",
        scripts=("keys.js", "home.js"),
        query=query,
        ticks=True,
        rows=select(rows, query),
        all_rows=len(rows),
        profiles=sorted(profiles, key=lambda one: one.record.started if one.record else "", reverse=True),
        comparisons=view.catalog.entries("comparison"),
        folder=str(view.catalog.folder.resolve()),
        whole=view.catalog.whole,
        states=list(STATES),
        choices={name: sorted({SORTS[name](one) for one in rows if one.record}) for name in ("benchmark", "model")},
    )


routes = [Route("/", home)]

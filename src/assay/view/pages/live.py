"""Server-sent events: how far the runs are that are being made, once a second."""

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from assay.errors import AssayError, text_of
from assay.report.words import NONE, THIN, clip, count, dollars, duration, legible, percent, plural
from assay.store import RunRecord
from assay.view.catalog import Entry
from assay.view.frame import View, in_thread, view_of
from assay.view.progress import Progress

EVERY_S = 1.0
IDLE = 10
"""A run that is not being made is looked at in one of this many looks."""


@dataclass(frozen=True)
class Row:
    """A run as a table shows it. Without a record or progress, `problem` says why."""

    run: Entry
    record: RunRecord | None = None
    progress: Progress | None = None
    problem: str = ""

    @property
    def words(self) -> dict[str, str]:
        """The cells that change while the run is made."""
        return words(self.progress) if self.progress else {}


def row(view: View, run: Entry, until: float) -> Row:
    """Returns a run as far as it can be read."""
    record = None
    try:
        record = view.catalog.record(run)
        return Row(run, record, found := view.watch.progress(run, until=until), found.problem)
    except (AssayError, OSError) as error:
        return Row(run, record, problem=text_of(error))


def words(progress: Progress) -> dict[str, str]:
    """Returns what changes of a run's row, as text."""
    interval = progress.interval
    done = progress.scored + progress.failed
    return {
        "score": percent(progress.score),
        "interval": f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}" if interval else "",
        "done": count(done) if done == progress.planned else f"{count(done)} of {count(progress.planned)}",
        "failures": count(progress.failed),
        "cost": NONE if progress.cost_usd is None else dollars(progress.cost_usd),
        "rate": f"{progress.rate:,.3g}{THIN}/s" if progress.making and progress.rate is not None else "",
        "left": f"{duration(progress.left_s)} left" if progress.left_s is not None and progress.owed else "",
        "last": legible(clip(progress.last_failure, 400)) if progress.making else "",
        "state": "live" if progress.making else plural(progress.owed, "rollout") + " owed" if progress.owed else "",
    }


def events_of(view: View, names: list[str], before: dict[str, Any], look: int = 0) -> dict[str, Any]:
    """Returns what changed since `before`, by the run's name, and brings `before` up to date.

    `look` counts the looks: at each one, some of the runs that are not being made are left out.
    """
    until, changes = time.monotonic() + EVERY_S, dict[str, Any]()
    for place, run in enumerate(view.catalog.entries("run")):
        if names and run.name not in names:
            continue
        last = before.get(run.name)
        if last and not names and not (last.get("state") == "live" or last["problem"]) and (place + look) % IDLE:
            continue
        line = row(view, run, until)
        now = line.words | {"share": _share(line.progress), "range": _range(line.progress), "problem": line.problem}
        if before.get(run.name) != now:
            before[run.name] = changes[run.name] = now
    return changes


def _share(progress: Progress | None) -> float:
    return (progress.scored + progress.failed) / progress.planned if progress and progress.planned else 0.0


def _range(progress: Progress | None) -> list[float]:
    """Returns the score and the ends of its interval; empty where nothing is drawn."""
    if progress is None or progress.score is None or not 0 <= progress.score <= 1:
        return []
    return [progress.score, *(progress.interval or ())]


async def live(request: Request) -> StreamingResponse:
    """Returns the events, of the runs that `run` names, or of all."""
    view, names = view_of(request), request.query_params.getlist("run")

    async def events() -> AsyncGenerator[bytes]:
        before, looks = dict[str, Any](), itertools.count()
        while not view.ending.is_set():
            changes = await in_thread(lambda: events_of(view, names, before, next(looks)))
            yield b"data: " + msgspec.json.encode(changes) + b"\n\n" if changes else b": nothing new\n\n"
            with suppress(TimeoutError):
                await asyncio.wait_for(view.ending.wait(), EVERY_S)

    return StreamingResponse(events(), media_type="text/event-stream", headers={"cache-control": "no-store"})


routes = [Route("/live", live)]

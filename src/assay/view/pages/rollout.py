"""One rollout: its conversations, how it was judged, and its other repeats and models."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from assay.errors import AssayError, UsageError
from assay.fidelity.review.review import WHOSE
from assay.input import BROKEN
from assay.types import Rollout, Task
from assay.view.catalog import Catalog, Entry, NotThere
from assay.view.frame import View, draw, in_thread, url, view_of
from assay.view.index.query import Query
from assay.view.index.reader import Index, Row
from assay.view.marks import faults, marks_on, word_on
from assay.view.pages.review import reader
from assay.view.pages.rollouts import address, attempt_of, crumbs, rollout_address, search_pattern, with_repair
from assay.view.reading.blocks import Rendering, render
from assay.view.reading.places import findings, mark_answer, mark_search
from assay.view.reading.side import pairs

MOST_MODELS = 24
"""The most other runs whose attempts at a task are shown."""
OWN = ("view", "block", "attempt", "with")
"""What an address says of this page; the rest is the table's query."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A rollout of the same task, of this run or another."""

    row: Row
    href: str
    here: bool
    choice: str
    """What names it in an address as the one beside."""


@dataclass(frozen=True, slots=True)
class Attempts:
    """The attempts of one model."""

    model: str
    rows: list[Attempt]


@dataclass(frozen=True, slots=True)
class RolloutView:
    """A rollout with all that a page says of it."""

    row: Row
    rollout: Rollout
    task: Task
    rendering: Rendering


async def page(request: Request) -> Response:
    """Returns the page; with `view=raw` its line as JSON, with `view=text` one of its texts."""
    view, run = view_of(request), view_of(request).catalog.run(request.path_params["run"])
    parameters, key = request.query_params, (request.path_params["task"], request.path_params["repeat"])
    if parameters.get("view") == "raw":
        line = await in_thread(lambda: _line(view, run, key, parameters))
        return Response(line, media_type="application/json")
    if parameters.get("view") == "text":
        text = await in_thread(lambda: _text(view, run, key, parameters))
        return Response(text, media_type="text/plain; charset=utf-8")
    values = await in_thread(lambda: with_repair(view, [run], lambda: _values(view, run, key, parameters)))
    return draw(
        request,
        "rollout.html",
        scripts=("keys.js", "rollout.js"),
        styles=("rollouts.css", "review.css", "rollout.css"),
        crumbs=crumbs(run),
        by=reader(request) or "",
        to=f"{request.url.path}?{request.url.query}".removesuffix("?"),
        **values,
    )


def _values(view: View, run: Entry, key: tuple[str, int], parameters: QueryParams) -> dict[str, Any]:
    query = Query.parse((name, value) for name, value in parameters.multi_items() if name not in OWN)
    marks = marks_on(view.catalog, run)
    with _index_of(view, run) as index:
        here = _find(index, key, parameters.get("attempt"))
        rows = index.attempts(here.row.task)
        before, after = index.beside(query, faults(marks), here.row)
    row, rendering = here.row, here.rendering
    findings_here = findings(here.rollout, here.task, rendering, row.kind.findings)
    mark_answer(here.rollout, rendering)
    mark_search(rendering, search_pattern(query))
    own = _attempts(run, run.path.name, rows, row, query)
    others = _others(view, run, row.task, query)
    beside = _beside(view, run, row.task, parameters.get("with"))
    repeats = [one for one in own.rows if one.row.kind.outcome != "tried again"]
    place = next((n for n, one in enumerate(repeats) if one.row.repeat == row.repeat), 0)
    return {
        "run": run,
        "shown": here,
        "row": row,
        "outcome": here.rollout.outcome,
        "findings": findings_here,
        "mark": word_on(row, marks),
        "marks": marks.get(row.content, []),
        "faults_in_words": WHOSE,
        "record": view.catalog.record(run),
        "attempts": [own, *others],
        "beside": beside,
        "pairs": _pairs(here, beside[1]) if beside else None,
        "beside_texts": beside
        and rollout_address(beside[0].name, row.task, beside[1].row.repeat, view="text") + "&block=",
        "other": _other(repeats, others, row),
        "keys": {
            "k": _href(run, before, query),
            "j": _href(run, after, query),
            "[": repeats[place - 1].href if place else None,
            "]": repeats[place + 1].href if place + 1 < len(repeats) else None,
        },
        "table": address(url("runs", run.name), query),
        "own": lambda **more: rollout_address(  # pyright: ignore[reportUnknownLambdaType]
            run.name, row.task, row.repeat, query, **({"attempt": attempt_of(row)} | more)
        ),
        "kept": query.pairs(),
        "longest": max((turn.started_s + turn.wall_s for turn in here.rollout.turns), default=0.0),
    }


def _index_of(view: View, run: Entry) -> Index:
    index, progress = view.indexing.index_of(run.path)
    if index is None:
        raise UsageError(f"The rollouts of this run are being read: {progress.share:.0%} so far. Reload in a moment.")
    return index


def _find(index: Index, key: tuple[str, int], attempt: str | None) -> RolloutView:
    """Returns the rollout at a task and repeat: the one that counts, or the attempt of this number."""
    rows = [row for row in index.attempts(key[0]) if row.repeat == key[1]]
    if attempt is not None:
        rows = [row for row in rows if str(row.attempt) == attempt]
    counting = [row for row in rows if row.kind.outcome != "tried again"] or rows
    if not counting:
        which = f"repeat {key[1]}" + (f", attempt {attempt}" if attempt is not None else "")
        raise NotThere(f"The run has no rollout of task {key[0]}, {which}. It may not be made yet.")
    rollout, task = index.rollout(counting[0]), index.task(key[0])
    return RolloutView(counting[0], rollout, task, render(rollout, task))


def _line(view: View, run: Entry, key: tuple[str, int], parameters: QueryParams) -> bytes:
    with _index_of(view, run) as index:
        line = index.line(_find(index, key, parameters.get("attempt")).row)
    try:
        return msgspec.json.format(line, indent=2)
    except BROKEN:
        return line


def _text(view: View, run: Entry, key: tuple[str, int], parameters: QueryParams) -> str:
    with _index_of(view, run) as index:
        rendering = _find(index, key, parameters.get("attempt")).rendering
    for block in rendering.blocks():
        if str(block.number) == parameters.get("block"):
            return block.text
    raise NotThere(f"This rollout has no text number {parameters.get('block')}.")


def _attempts(run: Entry, model: str, rows: Iterable[Row], here: Row | None, query: Query) -> Attempts:
    attempts: list[Attempt] = []
    for row in rows:
        choice = f"{row.repeat}@{run.name}"
        href = rollout_address(run.name, row.task, row.repeat, query, attempt=attempt_of(row))
        attempts.append(Attempt(row, href, here is not None and row.id == here.id, choice))
    return Attempts(model, attempts)


def _others(view: View, run: Entry, task: str, query: Query) -> list[Attempts]:
    """Other models' attempts at a task, from runs whose index is ready."""
    others: list[Attempts] = []
    for other in _runs_of_same_tasks(view.catalog, run)[:MOST_MODELS]:
        try:
            index, _ = view.indexing.index_of(other.path)
        except (AssayError, OSError):
            continue  # a run that can't be read says so on its own page
        if index is None:
            continue
        with index:
            rows = [row for row in index.attempts(task) if row.kind.outcome != "tried again"]
        name = other.path.name if other.profile == run.profile else other.name.replace("~", "/")
        if rows:
            others.append(_attempts(other, name, rows, None, query))
    return others


def _runs_of_same_tasks(catalog: Catalog, run: Entry) -> list[Entry]:
    """Other runs of the same benchmark and tasks: of the same profile where it is part of one."""
    mine, runs = catalog.record(run), list[Entry]()
    for other in catalog.entries("run"):
        if other.name == run.name or other.profile != run.profile:
            continue
        try:
            record = catalog.record(other)
        except AssayError:
            continue
        if (record.benchmark, record.tasks_digest) == (mine.benchmark, mine.tasks_digest):
            runs.append(other)
    return runs


def _beside(view: View, run: Entry, task: str, choice: str | None) -> tuple[Entry, RolloutView] | None:
    """Returns the rollout that an address wants beside this one: `2@runs~x`, or `2` for a repeat of this run."""
    if not choice:
        return None
    if not (match := re.fullmatch(r"(\d{1,9})(?:@(.+))?", choice)):
        raise UsageError(f"with={choice}: expected a repeat, or a repeat and a run such as 2@{run.name}")
    other = view.catalog.run(match[2]) if match[2] else run
    with _index_of(view, other) as index:
        return other, _find(index, (task, int(match[1])), None)


def _pairs(here: RolloutView, beside: RolloutView) -> list[Any]:
    sides = [[block for block in one.rendering.blocks() if block not in one.rendering.prompt] for one in (here, beside)]
    return pairs(*sides)


def _other(repeats: Iterable[Attempt], others: Iterable[Attempts], row: Row) -> Attempt | None:
    """Returns the attempt to compare with: one that ended otherwise, of this run rather than of another; else any."""
    every = [one for one in [*repeats, *(one for of_model in others for one in of_model.rows)] if not one.here]
    outcome = "failing" if row.kind.outcome == "passing" else "passing"
    return next((one for one in every if one.row.kind.outcome == outcome), every[0] if every else None)


def _href(run: Entry, row: Row | None, query: Query) -> str | None:
    return row and rollout_address(run.name, row.task, row.repeat, query, attempt=attempt_of(row))


routes = [Route("/runs/{run}/rollouts/{task:path}/{repeat:int}", page)]

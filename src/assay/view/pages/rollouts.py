"""The rollouts of a run: a table that is filtered, searched and sorted by its address."""

import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from assay.errors import InputError, UsageError
from assay.fidelity.review.review import WHOSE
from assay.fidelity.schema.evidence import Mark
from assay.report.words import plural
from assay.types import Rollout
from assay.view.catalog import Catalog, Entry
from assay.view.frame import View, draw, in_thread, url, view_of
from assay.view.index.query import COLUMNS, PLACES, RANGES, TAG, TEXTS, Query, words
from assay.view.index.reader import Counts, Index, Row
from assay.view.index.tables import texts_by_column
from assay.view.marks import word_on
from assay.view.table import Member, open_table

PAGE = 100
"""The rows that are sent at once."""
T = TypeVar("T")
VALUES = 8
"""The values of a list that are shown; the others are folded."""
EXCERPT = 70
"""Characters on both sides of what a search found."""
LONGEST_LINE = 2**19
"""Bytes of the longest rollout of which a table shows what was found."""
TITLES = {
    "outcome": "Outcome",
    "stop": "Ended by",
    "failure": "Failure",
    "finding": "Finding",
    "mark": "Mark",
    "model": "Model",
}
HEADS = {
    "task": ("task", "Task"),
    "model": ("", "Model"),
    "repeat": ("repeat", "Repeat"),
    "reward": ("reward", "Reward"),
    "answer": ("answer", "Answer"),
    "gold": ("", "Gold"),
    "stop": ("", "Ended by"),
    "tokens": ("tokens", "Tokens"),
    "time": ("time", "Time"),
    "tags": ("", "Tags"),
    "remarks": ("", "Findings and marks"),
}
"""By column, what it is sorted by, and its title."""
SAMPLES = {
    "reward": "0..0.5",
    "tokens": "1000..",
    "time": "..30",
    "repeat": "0",
    "turns": "2..",
    "task": "part of its id",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """What a table is of: a run, or all runs of a profile."""

    runs: list[Entry]
    href: str
    title: str
    of: str
    crumbs: list[tuple[str, str]]
    exports: str
    """The address that exports a selection."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A value of a list beside the table."""

    value: str
    number: int
    href: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table."""

    row: Row
    model: str
    href: str
    mark: Mark | None
    excerpt: tuple[str, str, str] | None
    """What the search found, with the text before and after it."""


async def page(request: Request) -> Response:
    """Returns the page; with `view=rows` more rows of it, with `view=state` how far its index is."""
    view, parameters = view_of(request), request.query_params
    subject = subject_of(view.catalog, request.path_params)
    if parameters.get("view") == "state":
        return JSONResponse(await in_thread(lambda: _state(view, subject)))
    query = Query.parse(parameters.multi_items())
    values = await in_thread(lambda: with_repair(view, subject.runs, lambda: _values(view, subject, query, parameters)))
    if parameters.get("view") == "rows":
        return draw(request, "rollout_rows.html", **values)
    return draw(
        request,
        "rollouts.html",
        scripts=("rollouts.js",),
        styles=("rollouts.css",),
        crumbs=subject.crumbs,
        **values,
        **_filters(query, values["counts"], subject),
    )


def with_repair(view: View, runs: Iterable[Entry], make: Callable[[], T]) -> T:
    """Returns what a function makes from runs' indexes; where one is damaged, from those that are made again.

    Raises UsageError where SQLite can't do what an address wants.
    """
    try:
        return make()
    except sqlite3.OperationalError as error:
        raise UsageError(f"The index can't be searched like this: {error}") from None
    except sqlite3.DatabaseError:
        for run in runs:
            view.indexing.forget(run.path)
        return make()


def crumbs(run: Entry) -> list[tuple[str, str]]:
    """Returns the pages above a run's and its own, each with its address."""
    own = [(run.path.name if run.profile else run.name.replace("~", "/"), url("runs", run.name))]
    return [(run.profile.replace("~", "/"), url("profiles", run.profile)), *own] if run.profile else own


def address(table: str, query: Query, **more: Any) -> str:
    """Returns the address of a query in the table at an address."""
    pairs = [*query.pairs(), *((name, value) for name, value in more.items() if value is not None)]
    return table + (f"?{urlencode(pairs)}" if pairs else "")


def rollout_address(run: str, task: str, repeat: int, query: Query | None = None, **more: Any) -> str:
    """Returns the address of a rollout, in the table of a query where there is one."""
    pairs = [*(query.pairs() if query else ()), *((name, value) for name, value in more.items() if value is not None)]
    return url("runs", run, "rollouts", task, repeat) + (f"?{urlencode(pairs)}" if pairs else "")


def attempt_of(row: Row) -> int | None:
    """Returns what an address says of an attempt that does not count; None for one that counts."""
    return row.attempt if row.kind.outcome == "tried again" else None


def subject_of(catalog: Catalog, path: Mapping[str, str]) -> Subject:
    """Returns the run or the profile that an address names. Raises NotThere."""
    if "run" in path:
        run = catalog.run(path["run"])
        record = catalog.record(run)
        names = (record.model, f"on {record.benchmark} {record.version}")
        return Subject([run], url("runs", run.name), *names, crumbs(run)[:-1], url("runs", run.name, "export"))
    profile = catalog.entry("profile", path["profile"])
    runs = [run for run in catalog.entries("run") if run.profile == profile.name]
    title, above = profile.name.replace("~", "/"), url("profiles", profile.name)
    return Subject(
        runs, f"{above}/rollouts", title, f"of {plural(len(runs), 'model')}", [(title, above)], f"{above}/export"
    )


def _state(view: View, subject: Subject) -> dict[str, Any]:
    with open_table(view, subject.runs) as table:
        progress = table.progress
    return {"share": progress.share, "read": progress.read, "runs": progress.runs, "error": progress.error}


def _values(view: View, subject: Subject, query: Query, parameters: QueryParams) -> dict[str, Any]:
    """Returns the values that both templates draw."""
    values: dict[str, Any] = {"faults_in_words": WHOSE, "page_size": PAGE, "subject": subject, "query": query}
    with open_table(view, subject.runs) as table:
        rows, after = table.rows(query, PAGE, _after(parameters.get("after")))
        has_counts = table.members and parameters.get("view") != "rows"
        return values | {
            "progress": table.progress,
            "counts": table.counts(query) if has_counts else None,
            "lines": [_line(member, row, query) for member, row in rows],
            "next": address(subject.href, query, after=json.dumps(after)) if after else None,
        }


def _after(text: str | None) -> list[Any] | None:
    """Returns the place in a table that an address has."""
    try:
        found = json.loads(text) if text else None
    except ValueError:
        found = ()
    if found is None or (isinstance(found, list) and [*map(type, found)][1:] == [int, int]):  # pyright: ignore[reportUnknownArgumentType]
        return found  # pyright: ignore[reportUnknownVariableType]
    raise UsageError(f"after={text}: expected the place at which a page of this table ended")


def _line(member: Member, row: Row, query: Query) -> Line:
    href = rollout_address(member.run.name, row.task, row.repeat, query, attempt=attempt_of(row))
    excerpt = _excerpt(member.index, row, query) if query.search else None
    return Line(row, member.model, href, word_on(row, member.marks), excerpt)


def _excerpt(index: Index, row: Row, query: Query) -> tuple[str, str, str] | None:
    """Returns the first match of a search in a rollout, with some of the text around it; None where there is none."""
    pattern = search_pattern(query)
    if pattern is None or row.length > LONGEST_LINE:
        return None
    try:
        texts = _texts(index.rollout(row))
    except InputError:
        return None
    for column in COLUMNS if query.within not in COLUMNS else (query.within,):
        for text in texts[column]:
            if found := pattern.search(text):
                start, end = found.span()
                before = ("…" if start > EXCERPT else "") + text[max(0, start - EXCERPT) : start]
                return before, found[0], text[end : end + EXCERPT] + ("…" if end + EXCERPT < len(text) else "")
    return None


def _texts(rollout: Rollout) -> dict[str, list[str]]:
    turns = [*rollout.turns, *(turn for turns in rollout.roles.values() for turn in turns)]
    outputs = [item for turn in turns for item in turn.response.output]
    return texts_by_column([*outputs, *(item for turn in rollout.turns[1:] for item in turn.input)])


def search_pattern(query: Query) -> re.Pattern[str] | None:
    """Returns what finds the words of a query's searches in a text; None where it has none."""
    searches = [word for text in query.search for is_wanted, word in words(text) if is_wanted]
    parts = ["\\W+".join(re.escape(part) for part in re.findall(r"\w+", word)) for word in searches]
    return (
        re.compile(rf"(?<!\w)(?:{'|'.join(sorted(parts, key=len, reverse=True))})\w*", re.IGNORECASE) if parts else None
    )


def _filters(query: Query, counts: Counts | None, subject: Subject) -> dict[str, Any]:
    """Returns the values of the lists, fields and links beside the table."""
    lists: list[tuple[str, str, Sequence[Choice], Sequence[Choice]]] = []
    for name, values in (counts.lists if counts else {}).items():
        values_chosen = query.lists.get(name, ())
        missing = [(value, 0) for value in values_chosen if value not in dict(values)]
        if [value for value, _ in values] in ([], ["none"]) and not values_chosen:
            continue
        choices = [
            Choice(v, n, address(subject.href, query.toggle(name, v)), v in values_chosen)
            for v, n in [*values, *missing]
        ]
        first = (
            choices
            if len(choices) <= VALUES + 1
            else [one for n, one in enumerate(choices) if n < VALUES or one.is_chosen]
        )
        lists.append(
            (name, TITLES.get(name, name.removeprefix(TAG)), first, [one for one in choices if one not in first])
        )
    lists.sort(key=lambda one: not one[0].startswith(("model", TAG, "outcome", "stop")))
    chips = [(_chip(name, value), address(subject.href, query.without(name, value))) for name, value in query.pairs()]
    return {
        "lists": lists,
        "chips": [chip for chip in chips if chip[0]],
        "clear": address(subject.href, Query(sort=query.sort, descending=query.descending)),
        "heads": [
            (name, title, address(subject.href, query.sort_by(sort)) if sort else None, sort == query.sort)
            for name, (sort, title) in HEADS.items()
            if name != "model" or len(subject.runs) > 1
        ],
        "fields": [
            (name, query.ranges.get(name, query.texts.get(name, "")), SAMPLES.get(name, "")) for name in _FIELDS
        ],
        "kept": [(name, value) for name, value in query.pairs() if name not in _FIELDS],
        "searched": [(name, value) for name, value in query.pairs() if name not in ("q", "in")],
        "places": PLACES,
        "exports": [
            (title, subject.exports + "?" + urlencode([("format", name), *query.pairs()]))
            for name, title in (("jsonl", "JSONL"), ("markdown", "Markdown"), ("page", "offline page"))
        ],
    }


_FIELDS = (*(name for name in TEXTS), *RANGES)


def _chip(name: str, value: str) -> str:
    """Returns a filter in words; empty for what is none."""
    if name in ("sort", "in"):
        return ""
    if name == "q":
        return f"“{value}”"
    return f"{TITLES.get(name, name.removeprefix(TAG)).lower()}: {value.replace('_', ' ') if name == 'stop' else value}"


routes = [Route("/runs/{run}", page), Route("/profiles/{profile}/rollouts", page)]

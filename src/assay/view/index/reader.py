"""Reading an index: the rows of a table page by page, the counts beside its filters, and single rollouts."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, structs

from assay.errors import InputError
from assay.fidelity.detectors import load_detectors
from assay.fidelity.detectors.detector import RolloutDetector
from assay.input import BROKEN, open_input
from assay.types import Rollout, Score, Task
from assay.view.index.query import FACETS, SORTS, TAG, Query, conditions, values_of
from assay.view.index.tables import Kind, code_digest, connect, places, reaches

_COLUMNS = (
    "r.id, t.id, r.repeat, r.attempt, r.kind, r.reward, r.answer, t.gold, r.tokens, r.wall_s, r.turns, r.content, "
    "t.digest, t.tags, r.file, r.offset, r.length"
)
_decode = msgspec.json.Decoder(Rollout).decode
_decode_task = msgspec.json.Decoder(Task).decode
Marks = Mapping[int, str]
"""By the number of a content, what the last reader said is at fault."""


class Row(Struct, frozen=True, array_like=True):
    """A rollout in a table."""

    id: int
    task: str
    repeat: int
    attempt: int
    kind: Kind
    reward: float | None
    answer: str | None
    gold: str | None
    tokens: int
    wall_s: float
    turns: int
    content: int
    task_digest: str
    tags: dict[str, str]
    file: int
    offset: int
    length: int


class Counts(Struct, frozen=True):
    """How many rollouts a query shows, and how many it would show with each other value of a list."""

    shown: int
    every: int
    lists: dict[str, list[tuple[str, int]]]
    """By filter, its values with their counts, the most frequent first."""


class State(Struct, frozen=True):
    """How far an index is."""

    read: int
    """Bytes of rollouts that are in it."""
    of: int
    """Bytes of the run's rollouts."""
    holds: bool
    """Whether it was made of the files that are there."""
    errors: list[str] = []
    """Lines that could not be read, and what else went wrong with single rollouts."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is to be added."""
        return self.holds and self.read == self.of


class Index:
    """An index that is read. Close it, or use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        """Raises NoIndex where there is none yet that this code made."""
        self._folder = folder
        self._connection = _connect_to_index(folder)
        meta = dict(self._connection.execute("select key, value from meta"))
        kinds = self._connection.execute("select no, kind from kinds")
        self._kinds = {no: msgspec.json.decode(kind, type=Kind) for no, kind in kinds}
        if meta["answers"] == "0" and meta["rewards"] == "1":  # no finding says what a verifier reads that reports none
            needy = {one.name for one in load_detectors() if isinstance(one, RolloutDetector) and one.needs_answers}
            for no, kind in self._kinds.items():
                findings = [name for name in kind.findings if name not in needy]
                self._kinds[no] = structs.replace(kind, findings=findings)
        self._files = {reach.no: reach for reach in reaches(self._connection).values()}
        self.tags: list[str] = json.loads(meta["tags"])
        """The tags with a list of values."""
        self._errors: list[str] = json.loads(meta["errors"])

    def __enter__(self) -> "Index":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def state(self, paths: Sequence[Path]) -> State:
        """Returns how far it is. `paths` are the files of the run's rollouts."""
        there = {path.name: path for path in paths}
        holds = all(one.name in there and one.holds(there[one.name]) for one in self._files.values())
        read = sum(one.bytes for one in self._files.values())
        return State(read, sum(path.stat().st_size for path in paths), holds, self._errors)

    def rows(
        self, query: Query, marks: Marks, limit: int, after: Sequence[Any] | None = None
    ) -> tuple[list[Row], list[Any] | None]:
        """Returns rows in order, and where the next ones go on; None where there are none.

        `after` is where the rows before these ended.
        """
        pairs = self.ranked_rows(query, marks, limit + 1, after)
        rows = [row for row, _ in pairs[:limit]]
        return rows, [pairs[limit - 1][1], rows[-1].id] if len(pairs) > limit else None

    def ranked_rows(
        self, query: Query, marks: Marks, limit: int, after: Sequence[Any] | None = None
    ) -> list[tuple[Row, Any]]:
        """Returns rows in order, each with its value in the column of the order.

        `after` is such a value and the id of a row, behind which they begin.
        """
        where, parameters = self._where(query, marks)
        column, way = SORTS[query.sort], "desc" if query.descending else "asc"
        if after is not None:
            where.append(f"({column}, r.id) {'<' if query.descending else '>'} (?, ?)")
            parameters += after
        order = f"{column} {way}" if column == "r.id" else f"{column} {way}, r.id {way}"
        return self._select(f"{_and(where)} order by {order} limit ?", [*parameters, limit], f", {column}")

    def beside(self, query: Query, marks: Marks, row: Row) -> tuple[Row | None, Row | None]:
        """Returns the rows before and after one in a query's order, whether or not the query shows that one."""
        column = SORTS[query.sort]
        (value,) = self._connection.execute(f"select {column} from rollouts r where r.id = ?", [row.id]).fetchone()
        back = structs.replace(query, descending=not query.descending)
        before, after = (self.rows(one, marks, 1, [value, row.id])[0] for one in (back, query))
        return (before or [None])[0], (after or [None])[0]

    def all_rows(self, query: Query, marks: Marks) -> Iterator[Row]:
        """Yields all rows of a query, in order."""
        after: Sequence[Any] | None = None
        while True:
            rows, after = self.rows(query, marks, 1000, after)
            yield from rows
            if after is None:
                return

    def counts(self, query: Query, marks: Marks) -> Counts:
        """Returns what the lists of filters show beside a query."""
        pairs = list(conditions(query, self.tags))
        where, parameters = [condition for condition, _ in pairs], [value for _, values in pairs for value in values]
        free = self._by_kind(where, parameters)
        condition_on_marks, query = self._with_mark(query, marks), self._without_other_tags(query)
        numbers = (
            free
            if condition_on_marks is None
            else self._by_kind([*where, condition_on_marks[0]], [*parameters, *condition_on_marks[1]])
        )
        lists = {name: Counter[str]() for name in (*FACETS, *(f"{TAG}{tag}" for tag in self.tags))}
        for no, number in numbers.items():
            kind = self._kinds[no]
            for name, counter in lists.items():
                if name not in ("mark", "model") and query.admits(kind, but=name):
                    for value in values_of(kind, name):
                        counter[value] += number
        lists["mark"] = self._mark_counts(query, marks, where, parameters)
        shown = sum(number for no, number in numbers.items() if query.admits(self._kinds[no]))
        every = sum(number for no, number in self._by_kind([], []).items() if Query().admits(self._kinds[no]))
        return Counts(shown, every, {name: found.most_common() for name, found in lists.items()})

    def attempts(self, task: str) -> list[Row]:
        """Returns all rollouts of a task, by repeat and attempt."""
        pairs = self._select("t.id = ? order by r.repeat, r.attempt, r.id", [task])
        return [row for row, _ in pairs]

    def line(self, row: Row) -> bytes:
        """Returns the line of a rollout as it stands in its file. Raises InputError where it is another one now."""
        path = self._folder / self._files[row.file].name
        with open_input(path) as file:
            file.seek(row.offset)
            return file.read(row.length)

    def rollout(self, row: Row) -> Rollout:
        """Returns a rollout. Raises InputError where its file has changed since the index was made."""
        try:
            rollout = _decode(self.line(row))
            reward = rollout.outcome.reward if isinstance(rollout.outcome, Score) else None
            if (rollout.task, rollout.repeat, rollout.attempt, reward) == (
                row.task,
                row.repeat,
                row.attempt,
                row.reward,
            ):
                return rollout
        except BROKEN:
            pass
        path, expected = (
            self._folder / self._files[row.file].name,
            "the file as it was; reload the page to read it anew",
        )
        raise InputError(path, None, "the file has changed while it was read", expected)

    def task(self, id: str) -> Task:
        """Returns a task. Raises InputError where there is none."""
        path = self._folder / "tasks.jsonl"
        row = self._connection.execute("select offset, length from tasks where id = ?", [id]).fetchone()
        if row is None:
            raise InputError(path, None, f"there is no task {id}", "the id of one of the run's tasks")
        with open_input(path) as file:
            file.seek(row[0])
            line = file.read(row[1])
        try:
            if (task := _decode_task(line)).id == id:
                return task
        except BROKEN:
            pass
        raise InputError(path, None, "the file has changed since it was read", "the file as it was; reload the page")

    def _where(self, query: Query, marks: Marks) -> tuple[list[str], list[Any]]:
        pairs = list(conditions(query, self.tags))
        where, parameters = [condition for condition, _ in pairs], [value for _, values in pairs for value in values]
        by_lists = self._without_other_tags(query)
        kinds = [no for no, kind in self._kinds.items() if by_lists.admits(kind)]
        if len(kinds) < len(self._kinds):
            where.append(f"+r.kind in ({', '.join(map(str, kinds))})")
        if condition_on_marks := self._with_mark(query, marks):
            where.append(condition_on_marks[0])
            parameters += condition_on_marks[1]
        return where, parameters

    def _without_other_tags(self, query: Query) -> Query:
        """Returns the query without the tags that have no list."""
        names = {*FACETS, *(f"{TAG}{tag}" for tag in self.tags)}
        return structs.replace(query, lists={name: values for name, values in query.lists.items() if name in names})

    def _with_mark(self, query: Query, marks: Marks) -> tuple[str, list[Any]] | None:
        """Returns the condition on marks; None where the query has none."""
        faults = query.lists.get("mark")
        if not faults:
            return None
        parts: list[str] = []
        if contents := [content for content, fault in marks.items() if fault in faults]:
            parts.append(f"r.content in ({', '.join(map(str, contents))})")
        if "none" in faults:
            parts.append(f"r.content not in ({', '.join(map(str, marks))})")
        return f"({' or '.join(parts) or '0'})", []

    def _by_kind(self, where: Sequence[str], parameters: Sequence[Any]) -> dict[int, int]:
        statement = f"select r.kind, count(*) from rollouts r where {_and(where)} group by r.kind"
        return dict(self._connection.execute(statement, parameters))

    def _mark_counts(self, query: Query, marks: Marks, where: Sequence[str], parameters: Sequence[Any]) -> Counter[str]:
        condition = f"r.content in ({', '.join(map(str, marks))})"
        statement = f"select r.content, r.kind from rollouts r where {_and([*where, condition])}"
        rows = self._connection.execute(statement, parameters) if marks else ()
        return Counter(marks[content] for content, kind in rows if query.admits(self._kinds[kind]))

    def _select(self, where: str, parameters: Sequence[Any], more: str = ", 0") -> list[tuple[Row, Any]]:
        statement = f"select {_COLUMNS}{more} from rollouts r cross join tasks t on t.no = r.task where {where}"
        return [
            (
                msgspec.convert([*row[:4], self._kinds[row[4]], *row[5:13], json.loads(row[13]), *row[14:17]], Row),
                row[17],
            )
            for row in self._connection.execute(statement, parameters)
        ]


class NoIndex(Exception):
    """There is no index yet that can be read."""


def _connect_to_index(folder: Path) -> sqlite3.Connection:
    for path in places(folder):
        try:
            if path.stat().st_size:
                connection = connect(path)
                if connection.execute("select value from meta where key = 'code'").fetchone() == (code_digest(),):
                    return connection
                connection.close()
        except (OSError, sqlite3.Error):
            continue
    raise NoIndex(folder)


def _and(where: Iterable[str]) -> str:
    return " and ".join(f"({condition})" for condition in where) or "1"

"""What the families of files share: how a row becomes a task, and how its answer is judged."""

import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, cast

import msgspec
from msgspec import Struct

from assay.benchmark import NO_MODELS, Benchmark, Environment
from assay.benchmarks.files.settings import open_set
from assay.errors import InputError, UnknownName, UsageError
from assay.gyms.rows import Row, excerpt
from assay.model import Model
from assay.types import Item, Message, Response, Score, Task

IDS = ("id", "unique_id", "question_id", "task_id", "Record ID", "problem_idx")
TAGS = {"category": ("category", "subject", "High-level domain"), "subdomain": ("Subdomain",)}
"""Columns of tags, where the settings name none."""


class Family(Environment):
    """The tasks of a data set: a row a task."""

    family: ClassVar[str]
    roles: ClassVar[Mapping[str, Sequence[str]]]
    """What columns hold, and the names by which such columns are found where none is stated."""
    optional: ClassVar[frozenset[str]] = frozenset({"id"})
    verifiers: ClassVar[Mapping[str, type[Struct]]]
    """Ways to judge an answer: structs of their options, with an asynchronous `score`. The first is the default."""
    version = "1"
    prompt: str
    """Where the settings have none."""
    formats: tuple[str, ...] = ("{}",)

    def __init__(self, request: str) -> None:
        self.data = open_set(self.family, request, (*self.roles, "id"))
        self.settings = self.data.settings
        self.name, self.remark = self.data.name, self.data.remark
        self.version = self.settings.version or type(self).version
        self._columns = {role: self._column(role, names) for role, names in {**self.roles, "id": IDS}.items()}
        self.verifier: Any = self._verifier()
        self.rows = self._select()
        self._tasks = list(self._make_tasks())

    def tasks(self) -> Iterable[Task]:
        return self._tasks

    def _make_tasks(self) -> Iterator[Task]:
        before: list[Item] = [Message(role="system", content=self.settings.system)] if self.settings.system else []
        for row in self.data.examples:
            before.append(Message(role="user", content=self.asks(row)))
            before.append(Message(role="assistant", content=self.answer(row)))
        for row in self.rows:
            yield self.task(self.id_of(row), row, before)

    async def verify(self, task: Task, response: Response, models: Mapping[str, Model] = NO_MODELS) -> Score:
        return await self.verifier.score(task, response, models)

    @abstractmethod
    def task(self, id: str, row: Row, items: list[Item]) -> Task:
        """Returns the task of a row. `items` are what comes before its own question."""

    @abstractmethod
    def answer(self, row: Row) -> str:
        """Returns the row's answer, as a model would write it."""

    def asks(self, row: Row) -> str:
        """Returns the question with its instructions."""
        return self.fill(self.template(row), row)

    def template(self, row: Row) -> str:
        """Returns the prompt before it is filled in."""
        return self.settings.prompt or self.prompt

    def values(self, row: Row) -> dict[str, str]:
        """Returns what stands in the prompt beside the row's columns."""
        return {}

    def benchmark(self) -> Benchmark:
        """Returns the benchmark with the settings' protocol."""
        return Benchmark(
            environment=self,
            repeats=self.settings.repeats,
            score=self.settings.score,
            sampling=self.settings.sampling,
            limits=self.settings.limits,
            formats=self.formats,
            files=self.data.files,
            published=self.data.published,
        )

    def has(self, role: str) -> bool:
        """Whether a column holds this."""
        return self._columns[role] is not None

    def value(self, row: Row, role: str) -> Any:
        """Returns what a row's columns hold, a list for several columns; None where it is empty."""
        columns = self._columns[role]
        if isinstance(columns, list):
            return [row.cells.get(column) for column in columns]
        return row.cells.get(columns) if columns else None

    def text(self, row: Row, role: str) -> str:
        """Returns what a row's column holds as text. Raises InputError where it is empty, or no text or number."""
        value = self.value(row, role)
        if isinstance(value, str | int | float) and not isinstance(value, bool) and str(value).strip():
            return str(value).strip()
        raise row.error(f"{self.of(role)} is {_short(value)}", "a text or a number")

    def texts(self, row: Row, role: str) -> list[str]:
        """Returns what a row's column holds as texts: one, or those of a list. Raises InputError."""
        value = self.value(row, role)
        if isinstance(value, str) and value.lstrip().startswith("["):
            with suppress(msgspec.DecodeError):  # [0, 1) is an interval
                value = msgspec.json.decode(value, type=list[str | int | float])
        given = cast(list[Any], value) if isinstance(value, list) else [value]
        if given and all(isinstance(one, str | int | float) and str(one).strip() for one in given):
            return [str(one).strip() for one in given]
        raise row.error(f"{self.of(role)} is {_short(value)}", "a text, a number, or a list of them")

    def of(self, role: str) -> str:
        """Returns the name of a column in words."""
        columns = self._columns[role]
        return f"the {role} (column {columns!r})" if isinstance(columns, str) else f"the {role}"

    def fill(self, template: str, row: Row) -> str:
        """Returns a template with what stands in braces: a value, the row's problem or answer, or a column's cell."""
        values = self.values(row)

        def value_of(found: re.Match[str]) -> str:
            name = found[1]
            if name in values:
                return values[name]
            if name in self._columns:
                return self.text(row, name)
            cell = row.cells.get(name)
            return "\n".join(map(str, cast(list[Any], cell))) if isinstance(cell, list) else _cell(cell)

        names = {*values, *(role for role, column in self._columns.items() if column), *self.data.columns}
        pattern = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        filled, count = re.subn(rf"\{{({pattern})\}}", value_of, template)
        if not count:
            got = f"{self.name}: the prompt {template!r} has nothing of a row"
            raise UsageError(f"{got}; expected {{problem}} in it, or the name of a column in braces")
        return filled

    def tags(self, row: Row) -> dict[str, str]:
        """Returns the row's tags."""
        stated = {tag: (column,) for tag, column in self.settings.tags.items()}
        found = {
            tag: next((row.cells[column] for column in columns if row.cells.get(column) is not None), None)
            for tag, columns in (stated or TAGS).items()
        }
        return {tag: str(value) for tag, value in found.items() if value is not None}

    def id_of(self, row: Row) -> str:
        """Returns the row's id; its number where it has none."""
        return _cell(self.value(row, "id")) or f"{row.number:05}"

    def _select(self) -> list[Row]:
        """The rows that `where` selects. Raises UsageError where there are none, or two have one id."""
        columns = self.data.columns
        for column in (*self.settings.where, *self.settings.tags.values()):
            if column not in columns:
                raise UnknownName("column", column, columns)
        wanted = {
            column: {str(one) for one in (value if isinstance(value, list) else [value])}
            for column, value in self.settings.where.items()
        }
        rows = [
            row
            for row in self.data.rows
            if all(_cell(row.cells.get(column)) in values for column, values in wanted.items())
        ]
        if not rows:
            raise UsageError(f"{self.name}: no row of {len(self.data.rows)} has {self.settings.where}")
        seen: dict[str, Row] = {}
        for row in rows:
            if (other := seen.setdefault(self.id_of(row), row)) is not row:
                raise row.error(
                    f"{self.of('id')} is {self.id_of(row)!r}, as in {other.place}",
                    "an id a row: another column (id=NAME), or their numbers (id=)",
                )
        return rows

    def _column(self, role: str, names: Sequence[str]) -> str | list[str] | None:
        """The column, or columns, that hold a role; None for an optional one that there is not."""
        columns, stated = self.data.columns, self.settings.column.get(role)
        if stated == "" and role in self.optional:
            return None
        if stated is not None:
            for column in [stated] if isinstance(stated, str) else stated:
                if column not in columns:
                    raise UnknownName(f"column (for the {role} of {self.name})", column, columns)
            return stated
        lower = {column.casefold(): column for column in reversed(columns)}
        found = next((lower[name.casefold()] for name in names if name.casefold() in lower), None)
        if found is None and role not in self.optional:
            row = self.data.rows[0]
            raise InputError(
                row.place,
                None,
                f"no column is the {role}, of {', '.join(columns)}",
                f"one of {', '.join(names)}, or --column {role}=NAME\n  the row: {excerpt(row.cells)}",
            )
        return found

    def _verifier(self) -> Any:
        """The verifier with its options. Raises UsageError."""
        given = self.settings.verifier
        options = {"name": given} if isinstance(given, str) else dict(given)
        name = options.pop("name", next(iter(self.verifiers)))
        if name not in self.verifiers:
            raise UnknownName(f"verifier of {self.family}:", name, self.verifiers)
        try:
            return msgspec.convert(options, self.verifiers[name])
        except msgspec.ValidationError as error:
            known = ", ".join(self.verifiers[name].__struct_fields__) or "none"
            raise UsageError(f"{self.name}, the verifier {name}: {error}\n  expected of its options: {known}") from None


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


def _short(value: Any) -> str:
    return "empty" if value is None else repr(value)[:80]

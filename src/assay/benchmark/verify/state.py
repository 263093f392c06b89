"""Compares the state after a rollout with the expected one. A state is nested dicts and lists, such as tables."""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from assay.types import Score

SHOWN = 50
"""The most differences that a score's answer lists."""
_NOTHING: Final = object()

Path = tuple[Any, ...]


def difference(expected: Any, got: Any) -> list[str]:
    """Returns a line for each difference, such as `customers.3.email: expected "a@x", got "b@x"`.

    The order of a dict's keys does not count; that of a list's items does. 1 equals 1.0; true and "1" do not equal 1.
    """
    return [_line(*found) for found in _differences((), expected, got)]


def state(expected: Any, got: Any, *, before: Any = _NOTHING) -> Score:
    """Returns 1 if the state is as expected, else 0, with the differences as the answer.

    The metric `share` is the share of equal values among all that either state has. With the state `before` the
    rollout, it counts only the values that changed or should have, so that doing nothing gives 0.
    """
    goal, found, first = _leaves((), expected), _leaves((), got), _leaves((), before)
    counted = [
        path
        for path in goal | found | (first if before is not _NOTHING else {})
        if before is _NOTHING or not (_same(path, first, goal) and _same(path, first, found))
    ]
    right = sum(_same(path, goal, found) for path in counted)
    all_lines = difference(expected, got)
    more = len(all_lines) - SHOWN
    lines = [*all_lines[:SHOWN], f"and {more} more"] if more > 0 else all_lines
    metrics = {"share": right / len(counted) if counted else 1.0, "differences": float(len(all_lines))}
    return Score(reward=float(not all_lines), metrics=metrics, answer="\n".join(lines) or None)


def tables(database: sqlite3.Connection) -> dict[str, Any]:
    """Returns all rows of a database as {table: {primary key: {column: value}}}.

    A table without a primary key is a sorted list of rows. Bytes become hexadecimal text, x'00ff'. SQLite's own tables
    are left out.
    """
    names = database.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY name"
    )
    return {name: _rows(database, name) for (name,) in names.fetchall()}


def _rows(database: sqlite3.Connection, table: str) -> Any:
    quoted = '"' + table.replace('"', '""') + '"'
    keys = [name for _, name, _, _, _, place in database.execute(f"PRAGMA table_info({quoted})") if place]
    cursor = database.execute(f"SELECT * FROM {quoted}")
    columns = [column[0] for column in cursor.description]
    rows = [dict(zip(columns, map(_plain, row), strict=True)) for row in cursor.fetchall()]
    if not keys:
        return sorted(rows, key=_json)
    return {",".join(str(row[key]) for key in keys): row for row in rows}


def _plain(value: Any) -> Any:
    return f"x'{value.hex()}'" if isinstance(value, bytes) else value


def _differences(path: Path, expected: Any, got: Any) -> Iterator[tuple[Path, Any, Any]]:
    """Yields (path, expected, got) of each difference; `_NOTHING` stands for a missing value. A missing row is one."""
    one, other = _parts(expected), _parts(got)
    if one is None or other is None or isinstance(expected, Mapping) != isinstance(got, Mapping):
        if not _equal(expected, got):
            yield path, expected, got
        return
    for key in one | other:
        yield from _differences((*path, key), one.get(key, _NOTHING), other.get(key, _NOTHING))


def _leaves(path: Path, value: Any) -> dict[Path, Any]:
    """Returns every value that is no container, or an empty one, by its path."""
    parts = _parts(value)
    if not parts:
        return {path: value if parts is None else {} if isinstance(value, Mapping) else []}
    kind = isinstance(value, Mapping)  # [5] has no value in common with {0: 5}
    return {at: leaf for key, part in parts.items() for at, leaf in _leaves((*path, (kind, key)), part).items()}


def _parts(value: Any) -> dict[Any, Any] | None:
    """Returns the values in a container by key or index; None if it is no container."""
    if isinstance(value, Mapping):
        return dict(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return dict(enumerate(value))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return None


def _same(path: Path, one: dict[Path, Any], other: dict[Path, Any]) -> bool:
    return _equal(one.get(path, _NOTHING), other.get(path, _NOTHING))


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    return one is other or one == other


def _line(path: Path, expected: Any, got: Any) -> str:
    place = ".".join(map(str, path)) or "the state"
    if expected is _NOTHING:
        return f"{place}: should not be there, got {_json(got)}"
    return f"{place}: expected {_json(expected)}, got {'nothing' if got is _NOTHING else _json(got)}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=repr)

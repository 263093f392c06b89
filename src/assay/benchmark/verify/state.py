"""A state after a rollout, held against the expected one: nested dicts and lists, such as an SQLite database's rows."""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from assay.types import Score

SHOWN = 50
"""Differences that a score's answer tells at most."""
_NOTHING: Final = object()

Path = tuple[Any, ...]


def difference(expected: Any, got: Any) -> list[str]:
    """What differs, a line for each, such as `customers.3.email: expected "a@x", got "b@x"`; nothing where all agree.

    A dict's keys have no order, a list's items do. 1 is 1.0, but true is not 1, and "1" is not 1.
    """
    return [_told(*found) for found in _differing((), expected, got)]


def state(expected: Any, got: Any, *, before: Any = _NOTHING) -> Score:
    """1 where the state is as expected, else 0; the differences are the answer.

    The metric `share` tells how much of it is: of all values that either state has; given the state `before`, only of
    those that should have changed or did, so that to do nothing is worth nothing.
    """
    wanted, found, first = _leaves((), expected), _leaves((), got), _leaves((), before)
    counted = [
        path
        for path in wanted | found | (first if before is not _NOTHING else {})
        if before is _NOTHING or not (_same(path, first, wanted) and _same(path, first, found))
    ]
    right = sum(_same(path, wanted, found) for path in counted)
    told = difference(expected, got)
    lines = [*told[:SHOWN], f"and {len(told) - SHOWN} more"] if len(told) > SHOWN else told
    metrics = {"share": right / len(counted) if counted else 1.0, "differences": float(len(told))}
    return Score(reward=float(not told), metrics=metrics, answer="\n".join(lines) or None)


def tables(database: sqlite3.Connection) -> dict[str, Any]:
    """All rows of a database: {table: {primary key: {column: value}}}, or a sorted list of rows where there is no key.

    Bytes are given as hexadecimal text, x'00ff'. SQLite's own tables are left out.
    """
    listed = database.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY name"
    )
    return {name: _rows(database, name) for (name,) in listed.fetchall()}


def _rows(database: sqlite3.Connection, table: str) -> Any:
    quoted = '"' + table.replace('"', '""') + '"'
    keys = [name for _, name, _, _, _, place in database.execute(f"PRAGMA table_info({quoted})") if place]
    cursor = database.execute(f"SELECT * FROM {quoted}")
    columns = [column[0] for column in cursor.description]
    rows = [dict(zip(columns, map(_plain, row), strict=True)) for row in cursor.fetchall()]
    if not keys:
        return sorted(rows, key=_written)
    return {",".join(str(row[key]) for key in keys): row for row in rows}


def _plain(value: Any) -> Any:
    return f"x'{value.hex()}'" if isinstance(value, bytes) else value


def _differing(path: Path, expected: Any, got: Any) -> Iterator[tuple[Path, Any, Any]]:
    """(path, expected, got) of each place that differs, `_NOTHING` where there is none. A missing row is one place."""
    one, other = _parts(expected), _parts(got)
    if one is None or other is None or isinstance(expected, Mapping) != isinstance(got, Mapping):
        if not _equal(expected, got):
            yield path, expected, got
        return
    for key in one | other:
        yield from _differing((*path, key), one.get(key, _NOTHING), other.get(key, _NOTHING))


def _leaves(path: Path, value: Any) -> dict[Path, Any]:
    """Every value that holds no other, by its path."""
    parts = _parts(value)
    if not parts:
        return {path: value if parts is None else {} if isinstance(value, Mapping) else []}
    kind = isinstance(value, Mapping)  # [5] has no value in common with {0: 5}
    return {at: leaf for key, part in parts.items() for at, leaf in _leaves((*path, (kind, key)), part).items()}


def _parts(value: Any) -> dict[Any, Any] | None:
    """What a value holds, by key or index; `None` where it is no container."""
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


def _told(path: Path, expected: Any, got: Any) -> str:
    place = ".".join(map(str, path)) or "the state"
    if expected is _NOTHING:
        return f"{place}: should not be there, got {_written(got)}"
    return f"{place}: expected {_written(expected)}, got {'nothing' if got is _NOTHING else _written(got)}"


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=repr)

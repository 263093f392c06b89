"""The original's files as one: tasks, tools, policy and data base, out of a clone or of JSON.

Python files are read as literals. Nothing of them is executed.
"""

import ast
import gzip
import json
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from assay.errors import UsageError

AIRLINE = "tau_bench/envs/airline"
TABLES = ("users", "flights", "reservations")
Place = Path | zipfile.Path


class Action(Struct, frozen=True):
    """A tool's call."""

    name: str
    kwargs: dict[str, Any]


class Problem(Struct, frozen=True):
    """What a user wants, what an agent that keeps to the policy does about it, and what it has to say."""

    user_id: str
    instruction: str
    actions: list[Action]
    outputs: list[str]


class Function(Struct, frozen=True):
    """A tool's schema."""

    name: str
    description: str
    parameters: dict[str, Any]


class World(Struct, frozen=True):
    """All that the benchmark is made of."""

    tasks: list[Problem]
    tools: list[Function]
    wiki: str
    users: dict[str, dict[str, Any]]
    flights: dict[str, dict[str, Any]]
    reservations: dict[str, dict[str, Any]]


def read_world(place: Path) -> bytes:
    """Returns the world as JSON, from a clone, its zip, a folder of JSON files, or a file inside one of these.

    Raises UsageError, with what is missing.
    """
    try:
        if place.suffix == ".zip":
            [top] = zipfile.Path(place).iterdir()
            found = _clone(top / AIRLINE)
        else:
            folder = place if place.is_dir() else place.parent
            found = _clone(folder / AIRLINE) if (folder / AIRLINE).is_dir() else _files(folder)
        return msgspec.json.encode(msgspec.convert(found, World))
    except (OSError, ValueError, KeyError, SyntaxError, zipfile.BadZipFile, msgspec.MsgspecError) as error:
        raise UsageError(f"{place} is no clone of tau-bench, and has none of its files as JSON: {error}") from None


def _clone(folder: Place) -> dict[str, Any]:
    modules = [one for one in (folder / "tools").iterdir() if one.name.endswith(".py")]
    order = next(_lists((folder / "tools" / "__init__.py").read_text(encoding="utf-8")))
    schemas = {name: schema for one in modules for name, schema in _schemas(one.read_text(encoding="utf-8"))}
    return {
        "tasks": [_task(node) for node in next(_lists((folder / "tasks_test.py").read_text(encoding="utf-8")))],
        "tools": [schemas[_name(node)] for node in order],
        "wiki": (folder / "wiki.md").read_text(encoding="utf-8"),
        **{name: json.loads((folder / "data" / f"{name}.json").read_text(encoding="utf-8")) for name in TABLES},
    }


def _files(folder: Path) -> dict[str, Any]:
    found = {name: json.loads(_parse(folder, f"{name}.json")) for name in ("tasks", "tools", *TABLES)}
    return {
        **found,
        "tools": [tool["function"] for tool in found["tools"]],
        "wiki": _parse(folder, "wiki.md").decode(),
    }


def _parse(folder: Path, name: str) -> bytes:
    packed = folder / f"{name}.gz"
    return gzip.decompress(packed.read_bytes()) if packed.is_file() else (folder / name).read_bytes()


def _lists(code: str) -> Iterator[list[ast.expr]]:
    """Yields what stands in each list that a module's own variables are."""
    for node in ast.parse(code).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List):
            yield node.value.elts


def _task(node: ast.expr) -> dict[str, Any]:
    """Returns the arguments of `Task(…)`, whose actions are `Action(…)` of literals."""
    given = _arguments(node)
    return {
        name: [_values(one) for one in value.elts]
        if name == "actions" and isinstance(value, ast.List)
        else ast.literal_eval(value)
        for name, value in given.items()
    }


def _values(node: ast.expr) -> dict[str, Any]:
    return {name: ast.literal_eval(value) for name, value in _arguments(node).items()}


def _arguments(node: ast.expr) -> dict[str, ast.expr]:
    if not isinstance(node, ast.Call):
        raise ValueError(f"line {node.lineno}: expected a call such as Task(…)")
    return {one.arg: one.value for one in node.keywords if one.arg}


def _schemas(code: str) -> Iterator[tuple[str, Any]]:
    """Yields (class, schema) of each class whose `get_info` returns one as a literal."""
    for kind in ast.parse(code).body:
        for method in kind.body if isinstance(kind, ast.ClassDef) else ():
            if isinstance(method, ast.FunctionDef) and method.name == "get_info":
                [returned] = [node.value for node in ast.walk(method) if isinstance(node, ast.Return) and node.value]
                yield getattr(kind, "name", ""), ast.literal_eval(returned)["function"]


def _name(node: ast.expr) -> str:
    if not isinstance(node, ast.Name):
        raise ValueError(f"line {node.lineno}: expected a tool's class")
    return node.id


@cache
def world(file: Path) -> World:
    """Returns the world in a prepared file, read once."""
    return msgspec.json.decode(file.read_bytes(), type=World)

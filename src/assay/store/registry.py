"""The registry, `started.jsonl`: a line for each run before it starts, and one once it has begun."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from msgspec import Struct

from assay.digest import digest
from assay.errors import UsageError
from assay.store.files import append_line, read_lines
from assay.store.record import RunRecord

REGISTRY = "started.jsonl"
"""Its file, in the folder above the runs."""


class Started(Struct, frozen=True, kw_only=True, tag="started"):
    """A line of `started.jsonl`, written before the run's first file."""

    id: str
    at: str
    """ISO 8601, UTC."""
    benchmark: str
    version: str
    tasks: int
    tasks_digest: str
    model: str
    identity: str
    """Digest of what decides which outputs to expect."""
    seed: int
    repeats: int
    path: str
    """Of the run's folder, seen from the registry's."""
    previous: str
    """SHA-256 of the line before, so that a line that is taken out is noticed; empty in the first."""


class Begun(Struct, frozen=True, kw_only=True, tag="begun"):
    """A line of `started.jsonl`, written once the run's `run.json` is there: without it, the run was never begun."""

    id: str
    previous: str


class Margins(Struct, frozen=True, kw_only=True, tag="margins"):
    """A line of `started.jsonl`, written before a profile's first run: what its comparisons with the original allow."""

    at: str
    """ISO 8601, UTC."""
    benchmark: str
    path: str
    """Of the profile's folder, seen from the registry's."""
    margins: dict[str, float]
    """By gate, as shares."""
    previous: str

    @property
    def id(self) -> str:
        """No run's."""
        return ""


Line = Started | Begun | Margins


def read_registry(path: Path) -> list[Line]:
    """Returns the lines of a registry, in their order. Raises InputError with the line that can't be read."""
    return list(read_lines(path, cast(Any, Line)))


def write_margins(registry: Path, folder: Path, *, at: str, benchmark: str, margins: dict[str, float]) -> None:
    """Write down the margins of the profile in `folder`. Raises UsageError where the registry can't be written."""
    path = os.path.relpath(folder.resolve(), registry.resolve().parent)
    _append(
        registry,
        lambda previous: Margins(at=at, benchmark=benchmark, path=path, margins=margins, previous=previous),
    )


def write_started(registry: Path, folder: Path, record: RunRecord) -> None:
    """Write down that the run in `folder` starts. Raises UsageError where the registry can't be written."""
    path = os.path.relpath(folder.resolve(), registry.resolve().parent)
    _append(
        registry,
        lambda previous: Started(
            id=record.id,
            at=record.started,
            benchmark=record.benchmark,
            version=record.version,
            tasks=record.tasks,
            tasks_digest=record.tasks_digest,
            model=record.model,
            identity=digest(record.identity),
            seed=record.seed,
            repeats=record.repeats,
            path=path,
            previous=previous,
        ),
    )


def _append(registry: Path, make: Callable[[str], Line]) -> None:
    try:
        append_line(registry, make)
    except PermissionError as error:
        raise UsageError(
            f"{registry}: {error.strerror}. A run is written down there before it starts; "
            "choose a directory with --out whose parent can be written"
        ) from None


def write_begun(registry: Path, id: str) -> None:
    """Write down that the run has begun, unless that is written or its start never was."""
    if {type(line) for line in read_registry(registry) if line.id == id} == {Started}:
        append_line(registry, lambda previous: Begun(id=id, previous=previous))

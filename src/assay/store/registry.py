"""The registry, `started.jsonl`: a line for each run before it starts, and one once it has begun."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
from msgspec import Struct

from assay.digest import digest
from assay.errors import UsageError
from assay.store.files import append_line, line_digest, read_lines
from assay.store.record import RunRecord

REGISTRY = "started.jsonl"
"""Its file, in the folder above the runs."""


class Start(Struct, frozen=True, kw_only=True, tag="started"):
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


class Begin(Struct, frozen=True, kw_only=True, tag="begun"):
    """A line of `started.jsonl`, written once the run's `run.json` is there: without it, the run was never begun."""

    id: str
    previous: str


class ProfileLine(Struct, frozen=True, kw_only=True):
    """A line of `started.jsonl` about a profile."""

    at: str
    """ISO 8601, UTC."""
    benchmark: str
    path: str
    """Of the profile's folder, seen from the registry's."""
    previous: str

    @property
    def id(self) -> str:
        """No run's."""
        return ""


class Margins(ProfileLine, frozen=True, kw_only=True, tag="margins"):
    """A line that is written before a profile's first run: what its comparisons with the original allow."""

    margins: dict[str, float]
    """By gate, as shares."""


class Announcement(ProfileLine, frozen=True, kw_only=True, tag="announced"):
    """A line that is written before a profile's first run: what will be run, for its digest to be posted elsewhere.

    `previous` ties the digest to all that is written down by then, and all later lines are tied to this one.
    """

    parts: dict[str, str]
    """The digest of each part of the plan and the benchmark."""

    @property
    def digest(self) -> str:
        """The digest to post: that of this line."""
        return line_digest(msgspec.json.encode(self))


class Look(ProfileLine, frozen=True, kw_only=True, tag="look"):
    """A line that is written when a profile's gates were computed: later rollouts are made by who knows the verdict."""

    rollouts: int
    """The number that the gates were computed from."""


P = TypeVar("P", Margins, Announcement, Look)
Line = Start | Begin | Margins | Announcement | Look


def read_registry(path: Path) -> list[Line]:
    """Returns the lines of a registry, in their order. Raises InputError with the line that can't be read."""
    return list(read_lines(path, cast(Any, Line)))


def is_about(line: Margins | Announcement | Look, folder: Path, registry: Path) -> bool:
    """Returns whether a line is about the profile in `folder`."""
    return line.path == _seen_from(registry, folder)


def write_profile_line(registry: Path, folder: Path, kind: type[P], **fields: Any) -> P:
    """Write down a line about the profile in `folder`, and return it. Raises UsageError if that can't be written."""
    at, path = datetime.now(UTC).isoformat(timespec="seconds"), _seen_from(registry, folder)
    lines: list[P] = []

    def make(previous: str) -> P:
        lines.append(kind(at=at, path=path, previous=previous, **fields))
        return lines[-1]

    _append(registry, make)
    return lines[-1]


def write_start(registry: Path, folder: Path, record: RunRecord) -> None:
    """Write down that the run in `folder` starts. Raises UsageError where the registry can't be written."""
    path = _seen_from(registry, folder)
    _append(
        registry,
        lambda previous: Start(
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


def _seen_from(registry: Path, folder: Path) -> str:
    path = os.path.relpath(folder.resolve(), registry.resolve().parent)
    if path != path.encode("utf-8", "replace").decode():
        raise UsageError(f"{path!r}: the folder's name is no UTF-8; choose another with --out")
    return path


def _append(registry: Path, make: Callable[[str], Line]) -> None:
    try:
        append_line(registry, make)
    except PermissionError as error:
        raise UsageError(
            f"{registry}: {error.strerror}. A run is written down there before it starts; "
            "choose a directory with --out whose parent can be written"
        ) from None


def write_begin(registry: Path, id: str) -> None:
    """Write down that the run has begun, unless that is written or its start never was."""
    if {type(line) for line in read_registry(registry) if line.id == id} == {Start}:
        append_line(registry, lambda previous: Begin(id=id, previous=previous))

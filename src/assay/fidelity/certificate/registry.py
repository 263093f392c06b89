"""The fate of all started runs, from the registry `started.jsonl` beside a profile's folder."""

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path, PurePath
from typing import Literal

import msgspec
from msgspec import Struct

from assay.errors import AssayError
from assay.fidelity.certificate.files import is_there
from assay.input import read_input
from assay.store import (
    REGISTRY,
    Announcement,
    Begin,
    Look,
    Margins,
    RunRecord,
    Start,
    line_digest,
    read_record,
    read_registry,
)
from assay.store.registry import Line

Fate = Literal["in this profile", "left out", "elsewhere", "thrown away", "never begun"]


class StartedRun(Struct, frozen=True, kw_only=True):
    """A run of the benchmark in the registry, which lists runs before they start."""

    id: str
    at: str
    model: str
    version: str
    tasks: int
    repeats: int
    path: str
    """Its folder, relative to the registry."""
    fate: Fate
    """Left out: in the profile's folder, but its model is no longer in the suite. Elsewhere: in another folder below
    the registry's, or outside it, which is not searched. Thrown away: its folder is gone or has another run."""


class Register(Struct, frozen=True, kw_only=True):
    """The registry's content about one benchmark."""

    lines: int
    sha256: str
    """The digest of those lines, which a registry that has only grown still has."""
    runs: list[StartedRun]
    unregistered: list[str]
    """Models whose run in this profile, or the run that was rescored, is not in the registry."""
    margins: dict[str, float]
    """By gate, the margins from before the profile's first run, as shares."""
    announced: Announcement | None = None
    """The announcement from before the profile's first run."""
    looks: list[int] = []
    """The number of rollouts at each time that the profile's gates were computed. With more than one, somebody made
    more rollouts although the verdict was known."""
    broken: list[int]
    """The numbers, from 1, of lines that don't follow the line before them: one was removed there, or changed."""


def register(
    folder: Path, benchmark: str, *, lines: int | None = None, models: Collection[str] | None = None
) -> Register:
    """Returns what the registry beside a profile's folder has about a benchmark. A missing registry is an empty one.

    With `lines` only its first lines count, and with `models` only the profile's runs of these. Raises InputError if a
    line cannot be read.
    """
    path = folder.resolve().parent / REGISTRY
    whole = _whole_lines(path)[:lines]
    known = read_registry(path)[:lines] if whole else []
    begun = {line.id for line in known if isinstance(line, Begin)}
    records = {name: record for name, record in _records(folder).items() if models is None or name in models}
    here = {record.id for record in records.values() if record}
    runs = [
        StartedRun(
            id=line.id,
            at=line.at,
            model=line.model,
            version=line.version,
            tasks=line.tasks,
            repeats=line.repeats,
            path=line.path,
            fate=_fate(line, path.parent, folder / "runs", here, begun),
        )
        for line in known
        if isinstance(line, Start) and line.benchmark == benchmark
    ]
    started = {run.id for run in runs if run.id}
    ids = {id for record in records.values() if record for id in _ids(record)}
    margins, announced, looks = _about_profile(known, ids)
    return Register(
        lines=len(whole),
        sha256=hashlib.sha256(b"".join(whole)).hexdigest(),
        runs=runs,
        unregistered=sorted(name for name, record in records.items() if not (record and _ids(record) <= started)),
        margins=margins,
        announced=announced,
        looks=looks,
        broken=broken_lines(whole),
    )


def _about_profile(
    known: Sequence[Line], ids: Collection[str]
) -> tuple[dict[str, float], Announcement | None, list[int]]:
    """Returns a profile's margins and announcement from before the first of these runs, and its looks."""
    own = [at for at, line in enumerate(known) if isinstance(line, Start) and line.id in ids]
    folders = {PurePath(line.path).parent.parent.as_posix() for at in own if isinstance(line := known[at], Start)}
    margins: dict[str, float] = {}
    announced: Announcement | None = None
    for line in known[: min(own, default=0)]:
        if isinstance(line, Margins) and line.path in folders:
            margins = line.margins
        elif isinstance(line, Announcement) and line.path in folders:
            announced = line
    looks = [line.rollouts for line in known if isinstance(line, Look) and line.path in folders]
    return margins, announced, looks


def broken_lines(lines: list[bytes]) -> list[int]:
    """Returns the numbers, from 1, of lines without the digest of the line before."""
    found: list[int] = []
    previous = ""
    for number, line in enumerate(lines, 1):
        try:
            named = msgspec.json.decode(line)["previous"]
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
            named = None
        if named != previous:
            found.append(number)
        previous = line_digest(line)
    return found


def _whole_lines(path: Path) -> list[bytes]:
    lines = read_input(path).splitlines(keepends=True) if is_there(path.parent, path.name) else []
    return lines if not lines or lines[-1].endswith(b"\n") else lines[:-1]


def _fate(line: Start, registry: Path, runs: Path, here: set[str], begun: set[str]) -> Fate:
    if line.id in here:
        return "in this profile"
    path = PurePath(line.path)
    if path.is_absolute() or ".." in path.parts:
        return "elsewhere"
    if (record := _record(registry, line.path)) and record.id == line.id:
        return "left out" if (registry / path).parent == runs.resolve() else "elsewhere"
    return "thrown away" if line.id in begun else "never begun"


def _records(folder: Path) -> dict[str, RunRecord | None]:
    """Returns the record of each run in a profile's folder, by model; None if it can't be read."""
    runs = [path.parent.name for path in sorted(folder.glob("runs/*/run.json"))]
    return {name: _record(folder, f"runs/{name}") for name in runs}


def _record(folder: Path, run: str) -> RunRecord | None:
    """Returns the record of a run; None if there is no run.json or it can't be read."""
    try:
        return read_record(folder / run) if is_there(folder, f"{run}/run.json") else None
    except (AssayError, UnicodeDecodeError):
        return None


def _ids(record: RunRecord) -> set[str]:
    return {record.id, *([record.rescored.id] if record.rescored else [])}

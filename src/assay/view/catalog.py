"""What there is in a folder: runs, profiles and comparisons, each with the name that its addresses have."""

import hashlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import msgspec

from assay.errors import AssayError, UsageError
from assay.fidelity.compare.comparison import Comparison
from assay.fidelity.schema.profile import Profile
from assay.input import BROKEN, read_input
from assay.store import RunRecord, read_record

FRESH_S = 1.0
"""How long the folder is not looked through again, or longer:"""
SPARE = 20
"""this many times what looking through it took."""
DEEPEST = 8
"""Folders within folders that are looked into."""
MOST_FOLDERS = 20_000
"""No more are looked into."""
LARGEST = 64 * 2**20
"""Bytes of a comparison."""
Kind = Literal["run", "profile", "comparison"]
T = TypeVar("T")


class NotThere(UsageError):
    """The folder has nothing of this name, or no longer has it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A run, a profile or a comparison."""

    kind: Kind
    name: str
    """Its place below the folder, with `~` for `/`: its name in addresses."""
    path: Path
    """Of its folder, or of a comparison's file."""
    profile: str | None = None
    """The name of the profile that a run is a part of."""


@dataclass
class _CacheEntry:
    stamp: object
    value: Any


@dataclass
class Catalog:
    """The runs, profiles and comparisons below a folder, and what was read of them.

    Several threads may use it.
    """

    folder: Path
    whole: bool = True
    """Whether all folders were looked into that are not too deep: there may be too many."""
    _entries: dict[tuple[Kind, str], Entry] = field(default_factory=dict[tuple[Kind, str], Entry])
    _due: float = -math.inf
    _cache: dict[object, _CacheEntry] = field(default_factory=dict[object, _CacheEntry])
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _looking: threading.Lock = field(default_factory=threading.Lock)
    _locks: dict[object, threading.Lock] = field(default_factory=dict[object, threading.Lock])

    def entries(self, kind: Kind) -> list[Entry]:
        """Returns all there is of a kind now, by name."""
        self._look()
        return [entry for (of, _), entry in self._entries.items() if of == kind]

    def entry(self, kind: Kind, name: str) -> Entry:
        """Raises NotThere."""
        self._look()
        if (entry := self._entries.get((kind, name))) is None or not entry.path.exists():
            raise NotThere(f"There is no {kind} {name} in {self.folder}. It may have been removed or renamed.")
        return entry

    def run(self, name: str) -> Entry:
        """Returns the run of this name. Raises NotThere."""
        return self.entry("run", name)

    def record(self, run: Entry) -> RunRecord:
        """Returns a run's `run.json`. Raises UsageError where it can't be read."""
        return self.cached("record", [run.path / "run.json"], lambda: read_record(run.path))

    def profile(self, entry: Entry) -> Profile:
        """Returns a profile's `profile.json`. Raises UsageError where it can't be read, or is not there yet."""
        path = entry.path / "profile.json"
        return self.cached("profile", [path], lambda: _decode(path, Profile))

    def comparison(self, entry: Entry) -> Comparison:
        """Returns a comparison. Raises UsageError where it can't be read."""
        return self.cached("comparison", [entry.path], lambda: _decode(entry.path, Comparison))

    def cached(self, what: str, paths: Iterable[Path], make: Callable[[], T]) -> T:
        """Returns the result of `make`, which is called again if one of the files has changed.

        `what` names what is made of these files. An AssayError is kept, too.
        """
        files = [*paths]
        key, stamp = (what, *files), [_stamp(path) for path in files]
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            entry = self._cache.get(key)
            if entry is None or entry.stamp != stamp:
                try:
                    value: Any = make()
                except AssayError as error:
                    value = error
                entry = self._cache[key] = _CacheEntry(stamp, value)
        if isinstance(entry.value, AssayError):
            raise entry.value
        return cast(T, entry.value)

    def _look(self) -> None:
        with self._looking:
            if (began := time.monotonic()) >= self._due:
                self._entries = {(entry.kind, entry.name): entry for entry in self._search()}
                self._due = (now := time.monotonic()) + max(FRESH_S, SPARE * (now - began))

    def _search(self) -> Iterator[Entry]:
        top, profiles = self.folder, dict[Path, str]()
        for number, (place, folders, files) in enumerate(os.walk(top)):
            path = Path(place)
            within = path.relative_to(top).parts
            folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
            self.whole = number < MOST_FOLDERS
            if not self.whole:
                return
            if len(within) >= DEEPEST:
                folders.clear()
            if "run.json" in files:
                folders.clear()
                yield Entry("run", self._name(path), path, profiles.get(path.parent.parent))
            elif "profile.json" in files or "plan.jsonl" in files:
                profiles[path] = self._name(path)
                yield Entry("profile", profiles[path], path)
            elif path.name not in ("marks", "sealed"):
                yield from (
                    Entry("comparison", self._name(path / name), path / name)
                    for name in sorted(files)
                    if name.endswith(".json") and self._is_comparison(path / name)
                )

    def _is_comparison(self, path: Path) -> bool:
        try:
            return path.stat().st_size <= LARGEST and self.cached("kind", [path], lambda: _begins(path))
        except OSError:
            return False

    def _name(self, path: Path) -> str:
        parts = path.relative_to(self.folder).parts or (self.folder.resolve().name,)
        name = "~".join(parts).encode("utf-8", "replace").decode()
        if not any("~" in part for part in parts) and name.isprintable():
            return name
        return f"{name}~{hashlib.sha256(os.fsencode(path.relative_to(self.folder))).hexdigest()[:8]}"


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _begins(path: Path) -> bool:
    """Returns whether a file begins as `assay compare --json` writes it."""
    with path.open("rb") as file:
        return b"".join(file.read(64).split()).startswith(b'{"pairs":[')


def _decode(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(read_input(path), type=kind)
    except FileNotFoundError:
        raise UsageError(f"{path} is not there yet: it is written when the command that makes it ends") from None
    except BROKEN as error:
        raise UsageError(f"{path} can't be read: {error}") from None

"""How far a run is, read from its directory while it is written: the command that writes it is not asked for anything.

A run that is complete has its figures in `summary.json`. Of another one the lines are read, each once: what was added
since the last look.
"""

import contextlib
import math
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta, Struct

from assay.config import Prices, convert
from assay.fidelity.results.score import layout_of, sample_of
from assay.fidelity.results.summary import FEWEST
from assay.fidelity.schema.profile import Summary
from assay.input import BROKEN, open_input, read_input
from assay.stats.estimates import estimate
from assay.store import RunRecord, read_tasks, rollout_files
from assay.types import MOST_REPEATS, Failure, Outcome, Usage
from assay.view.catalog import Catalog, Entry

PIECE = 2**20
"""Bytes of a file that are read at once."""
RECENT_S = 15.0
"""A run that is not complete and was written this recently is being made, though nothing on this machine locks it."""
WINDOW_S = 60.0
"""Over how long the rate is taken."""
SPARE = 50
"""Intervals are computed again after this many times what they took: 2 % of the time."""


class _Response(Struct):
    usage: Usage = Usage()


class _Turn(Struct):
    response: _Response


class _Line(Struct):
    """What is read of a rollout."""

    task: str
    repeat: Annotated[int, Meta(ge=0, lt=MOST_REPEATS)]
    turns: list[_Turn]
    outcome: Outcome


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is, and how it does so far."""

    planned: int
    scored: int
    failed: int
    """Rollouts that failed and have no score from a later attempt."""
    score: float | None
    interval: tuple[float, float] | None
    """95 %, over other tasks of the same kind."""
    cost_usd: float | None
    making: bool = False
    """Whether a command makes more of it now."""
    rate: float | None = None
    """Rollouts a second over the last minute; None if that is not known yet."""
    last_failure: str = ""
    problem: str = ""
    """Why the figures are not all there is."""

    @property
    def owed(self) -> int:
        return max(0, self.planned - self.scored - self.failed)

    @property
    def left_s(self) -> float | None:
        """Seconds until it is complete, at the present rate."""
        return self.owed / self.rate if self.making and self.rate else None


@dataclass
class Watch:
    """The progress of the runs of a catalog. Several threads may use it."""

    catalog: Catalog
    _tails: dict[Path, "_Tail"] = field(default_factory=dict[Path, "_Tail"])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def progress(self, run: Entry, *, until: float = math.inf) -> Progress:
        """Returns how far a run is. Lines are read until this time of `time.monotonic`.

        Raises AssayError or OSError where the run can't be read.
        """
        record = self.catalog.record(run)
        files = rollout_files(run.path)
        last_write = max((file.stat().st_mtime for file in files), default=0.0)
        is_live = is_locked(run.path)
        if not is_live and (summary := self._summary(run, last_write)) is not None:
            planned = summary.rollouts + summary.failures + summary.owed
            return Progress(
                planned=planned,
                scored=summary.rollouts,
                failed=summary.failures,
                score=summary.score,
                interval=summary.interval_task,
                cost_usd=summary.cost_usd,
            )
        with self._lock:
            tail = self._tails.get(run.path)
            if tail is None or tail.record != record:
                tail = self._tails[run.path] = _Tail(run.path, record)
        with tail.lock:
            tail.read_on(files, until)
            return tail.progress(locked=is_live, recent=time.time() - last_write < RECENT_S)

    def _summary(self, run: Entry, last_write: float) -> Summary | None:
        path = run.path / "summary.json"
        try:
            if path.stat().st_mtime < last_write:
                return None
            return self.catalog.cached("summary", [path], lambda: msgspec.json.decode(read_input(path), type=Summary))
        except (OSError, *BROKEN):
            return None


class _Tail:
    """The lines of a run that were read so far."""

    def __init__(self, folder: Path, record: RunRecord) -> None:
        self.lock = threading.Lock()
        self.record = record
        self._tasks = read_tasks(folder)
        self._rows = {task.id: row for row, task in enumerate(self._tasks)}
        self._layout = layout_of(record.score, self._tasks)
        prices = record.server.get("prices")
        self._prices = convert(prices, Prices, folder / "run.json") if prices else None
        self._decode = msgspec.json.Decoder(_Line).decode
        self._forget()

    def _forget(self) -> None:
        self._at = dict[Path, tuple[int, int]]()
        """The inode of each file, and how far it was read."""
        self._rewards_TK = np.full((len(self._tasks), max(1, self.record.repeats)), np.nan)
        self._scored = 0
        self._failing = set[tuple[int, int]]()
        self._usd = 0.0
        self._last_failure, self._problem, self._whole = "", "", True
        self._times = deque[tuple[float, int]]()
        self._estimate: tuple[float | None, tuple[float, float] | None] = None, None
        self._due = -math.inf

    def read_on(self, files: list[Path], until: float) -> None:
        """Read what was added, until a time."""
        sizes = {file: (stat.st_ino, stat.st_size) for file in files if (stat := file.stat())}
        if any(sizes.get(file, (0, 0))[0] != inode or sizes[file][1] < at for file, (inode, at) in self._at.items()):
            self._forget()  # another file is in its place
        for file, (inode, size) in sizes.items():
            at = self._at.get(file, (inode, 0))[1]
            if at < size:
                self._at[file] = inode, self._read(file, at, until)
        rest = sum(size - self._at.get(file, (0, 0))[1] for file, (_, size) in sizes.items())
        self._whole = rest < PIECE
        now = time.monotonic()
        if self._whole:
            self._times.append((now, self._scored + len(self._failing)))
        while self._times and self._times[0][0] < now - WINDOW_S:
            self._times.popleft()

    def _read(self, path: Path, at: int, until: float) -> int:
        with open_input(path) as file:
            file.seek(at)
            piece = b""
            while time.monotonic() < until and (more := file.read(PIECE)):
                whole, newline, rest = (piece + more).rpartition(b"\n")
                at += len(whole) + len(newline)
                for line in whole.split(b"\n") if newline else ():
                    self._add(line)
                piece = rest
        return at

    def _add(self, line: bytes) -> None:
        try:
            rollout = self._decode(line)
            row = self._rows[rollout.task]
        except (KeyError, *BROKEN) as error:
            self._problem = f"a line of its rollouts can't be read: {error}"
            return
        if rollout.repeat >= self._rewards_TK.shape[1]:
            wider = np.full((len(self._tasks), rollout.repeat + 1), np.nan)
            wider[:, : self._rewards_TK.shape[1]] = self._rewards_TK
            self._rewards_TK = wider
        if self._prices:
            self._usd += sum(self._prices.cost(turn.response.usage) for turn in rollout.turns)
        outcome, cell = rollout.outcome, (row, rollout.repeat)
        if isinstance(outcome, Failure):
            where = f"{rollout.task}, repeat {rollout.repeat}"
            self._last_failure = f"{where}: {outcome.where}: {outcome.kind}: {outcome.message}"
            if math.isnan(self._rewards_TK[cell]):
                self._failing.add(cell)
        elif math.isnan(self._rewards_TK[cell]):
            self._failing.discard(cell)
            self._rewards_TK[cell] = outcome.reward
            self._scored += 1

    def progress(self, *, locked: bool, recent: bool) -> Progress:
        """Returns what the lines say that were read."""
        began = time.monotonic()
        if began >= self._due:
            self._estimate = self._compute_estimate()
            self._due = time.monotonic() + SPARE * (time.monotonic() - began)
        score, interval = self._estimate
        owed = self._rewards_TK.size - self._scored - len(self._failing)
        reading = "" if self._whole else "its rollouts are still being read"
        return Progress(
            planned=self._rewards_TK.size,
            scored=self._scored,
            failed=len(self._failing),
            score=score,
            interval=interval,
            cost_usd=self._usd if self._prices and not self.record.roles else None,
            making=locked or (recent and owed > 0),
            rate=self._rate(),
            last_failure=self._last_failure if self._failing else "",
            problem=self._problem or reading,
        )

    def _compute_estimate(self) -> tuple[float | None, tuple[float, float] | None]:
        sample = sample_of(self.record.score, self._layout, self._rewards_TK)
        if sample is None:
            return None, None
        result = estimate(sample)
        return result.score, result.interval_task if result.tasks >= FEWEST else None

    def _rate(self) -> float | None:
        if len(self._times) < 2 or (seconds := self._times[-1][0] - self._times[0][0]) < 1:
            return None
        return (self._times[-1][1] - self._times[0][1]) / seconds


def is_locked(folder: Path) -> bool:
    """Whether a command on this machine writes a run. The lock itself is not touched: a command may be taking it."""
    with contextlib.suppress(OSError):
        inode = f":{folder.stat().st_ino} "
        return any(inode in line for line in Path("/proc/locks").read_text().splitlines() if " FLOCK " in line)
    return False

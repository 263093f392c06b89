"""Merging: run directories that were made on several machines, as parts of one plan, become one.

Lines that the merged run lacks are appended to it unchanged; no line that it has changes. So a merge that is stopped at
any byte leaves a valid run with some of the parts' rollouts. The same command goes on from there, and adds nothing
when all is merged.
"""

import hashlib
from array import array
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from assay.errors import DigestMismatch, UsageError
from assay.input import is_present
from assay.store import REGISTRY, RunRecord, Shard, Store, claim, read_record, read_registry, read_row_lines, read_tasks
from assay.types import Row, Score, Task

TWICE = "twice.jsonl"
"""The file in the merged run that lists the rollouts left out by the last merge although their scores differ."""
BATCH = 1000
"""Rollouts in one write."""


class Twice(Struct, frozen=True):
    """A (task, repeat) with different scores in two parts."""

    task: str
    repeat: int
    kept: float
    left_out: float
    file: str
    """The file with the rollout that was left out."""


@dataclass(slots=True)
class MergeCounts:
    """How many of the parts' rollouts were added or left out, and why."""

    scored: int = 0
    """Scores added."""
    failed: int = 0
    """Failures added."""
    there: int = 0
    """Rollouts that the merged run had already, byte for byte."""
    alike: int = 0
    """Left out because another rollout has that task, repeat and score."""
    twice: int = 0
    """Left out because another rollout has that task and repeat, with another score. `twice.jsonl` lists them."""


class Cells:
    """The score of each (task, repeat), and which rollouts are there already.

    Each takes 16 bytes, so a million take 16 MB.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._index = {task.id: number for number, task in enumerate(tasks)}
        self._rewards = array("d")
        self._lines = array("Q")
        self._failures: set[int] = set()

    def reward(self, row: Row) -> float | None:
        """Returns the score of the row's task and repeat; None where there is none."""
        reward = self._rewards[self._cell(row)]
        return None if isnan(reward) else reward

    def has(self, row: Row, line: int) -> bool:
        """Returns whether this very rollout is there. `line` is the digest of its line."""
        return self._lines[self._cell(row)] == line if isinstance(row.outcome, Score) else line in self._failures

    def add(self, row: Row, line: int) -> None:
        """Adds a rollout. The first score of a task and repeat stays."""
        if not isinstance(row.outcome, Score):
            self._failures.add(line)
        elif self.reward(row) is None:
            cell = self._cell(row)
            self._rewards[cell], self._lines[cell] = row.outcome.reward, line

    def _cell(self, row: Row) -> int:
        if (row.repeat + 1) * len(self._index) > len(self._rewards):
            more = (row.repeat + 1) * len(self._index) - len(self._rewards)
            self._rewards.extend([nan] * more)
            self._lines.extend([0] * more)
        return row.repeat * len(self._index) + self._index[row.task]


def merge(out: Path, parts: Sequence[Path]) -> MergeCounts:
    """Adds the parts' rollouts to the run in `out`, which may be one of the parts or not exist yet.

    Of several scores for one (task, repeat) the first stays: that of `out`, then those of the parts in order. Failures
    are kept with all their attempts. Raises DigestMismatch, naming what differs, if they are not parts of one run,
    UsageError if one is being written, InputError for a damaged line, and StoppedEarly if the disk is full.
    """
    others = {folder.resolve(): folder for folder in parts if folder.resolve() != out.resolve()}.values()
    there = [out] if is_present(out / "run.json") else []
    records = {folder: _record(folder) for folder in (*there, *others)}
    if not others:
        raise UsageError("nothing to merge: expected the directory of another run beside the one that is made")
    first = next(iter(records))
    for folder, record in records.items():
        if differences := records[first].differences(record, here=f"in {first}", elsewhere=f"in {folder}"):
            raise DigestMismatch(f"{folder} is no part of the run in {first}:\n  " + "\n  ".join(differences))
    tasks = read_tasks(first)
    with ExitStack() as stack:
        for folder in others:
            claim(stack, folder, Shard())
        joint = _joint(records)
        registry = None if there else _registry(out, joint)
        with Store(out, joint, tasks, registry=registry) as store:
            return _add(out, list(others), Cells(tasks), store)


def _add(out: Path, parts: Sequence[Path], cells: Cells, store: Store) -> MergeCounts:
    counts, partial = MergeCounts(), out / f".{TWICE}"
    for _, line, row in read_row_lines(out):
        cells.add(row, _digest(line))
    with partial.open("wb") as twice:
        for part in parts:
            for number, (path, line, row) in enumerate(read_row_lines(part)):
                digest, score = _digest(line), row.outcome if isinstance(row.outcome, Score) else None
                kept = cells.reward(row) if score else None
                if cells.has(row, digest):
                    counts.there += 1
                elif score is None or kept is None:
                    store.append_line(line)
                    cells.add(row, digest)
                    counts.scored += score is not None
                    counts.failed += score is None
                elif kept == score.reward:
                    counts.alike += 1
                else:
                    counts.twice += 1
                    twice.write(msgspec.json.encode(Twice(row.task, row.repeat, kept, score.reward, str(path))) + b"\n")
                if number % BATCH == 0:
                    store.flush()
    partial.replace(out / TWICE)
    if not counts.twice:
        (out / TWICE).unlink()
    return counts


def _record(folder: Path) -> RunRecord:
    if is_present(folder / "plan.jsonl"):
        raise UsageError(
            f"{folder} is a profile's folder; expected a run's. Merge its runs one by one, as in\n"
            f"  assay merge {folder}/runs/MODEL PART PART, and then: assay report {folder}"
        )
    record = read_record(folder)
    if record.rescored:
        raise UsageError(f"{folder} was rescored from a run; merge the runs whose rollouts these are, and rescore that")
    return record


def _joint(records: Mapping[Path, RunRecord]) -> RunRecord:
    """Returns the record of the part that began first, with the highest number of repeats of any part."""
    first = min(records.values(), key=lambda record: record.started)
    return structs.replace(first, repeats=max(record.repeats for record in records.values()))


def _registry(out: Path, record: RunRecord) -> Path | None:
    """Returns the nearest registry above the run, or a new one beside it; None if the run is in it already."""
    above = [parent / REGISTRY for parent in out.resolve().parents[:3]]
    path = next((path for path in above if is_present(path)), above[0])
    known = {line.id for line in read_registry(path)} if is_present(path) else set[str]()
    return None if record.id in known else path


def _digest(line: bytes) -> int:
    """Returns the digest of a whole line. It is never 0, which stands for no line."""
    return int.from_bytes(hashlib.blake2b(line, digest_size=8).digest(), "big") | 1

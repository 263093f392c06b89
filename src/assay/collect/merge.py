"""Merging: run directories made on several machines, parts of one plan, become one.

What the merged run lacks is added to it, whole lines as they stand; nothing that it has is changed. So a merge that is
stopped at any byte leaves a run with some of the parts' rollouts, the same command goes on from there, and given once
more it adds nothing.
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
"""In the merged run: the rollouts that the last merge left out, where their scores differ from those that stayed."""
BATCH = 1000
"""Rollouts that are written at once."""


class Twice(Struct, frozen=True):
    """A (task, repeat) that two parts scored otherwise."""

    task: str
    repeat: int
    kept: float
    left_out: float
    file: str
    """Where the rollout lies that was left out."""


@dataclass(slots=True)
class Merged:
    """What became of the parts' rollouts."""

    scored: int = 0
    """Scores that were added."""
    failed: int = 0
    """Failures that were."""
    there: int = 0
    """Rollouts that the merged run had already, to the byte."""
    alike: int = 0
    """Left out, for another rollout has that task, repeat and score."""
    twice: int = 0
    """Left out, for another rollout has that task and repeat, with another score: `twice.jsonl` lists them."""


class Cells:
    """The score of each (task, repeat), and what of the rollouts is there already.

    In 16 bytes each, so that a million of them take no room to speak of.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._index = {task.id: number for number, task in enumerate(tasks)}
        self._rewards = array("d")
        self._lines = array("Q")
        self._failures: set[int] = set()

    def reward(self, row: Row) -> float | None:
        """The score that the row's task and repeat have."""
        reward = self._rewards[self._cell(row)]
        return None if isnan(reward) else reward

    def has(self, row: Row, line: int) -> bool:
        """Whether this very rollout is there."""
        return self._lines[self._cell(row)] == line if isinstance(row.outcome, Score) else line in self._failures

    def add(self, row: Row, line: int) -> None:
        """Count a rollout. A first score stays."""
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


def merge(out: Path, parts: Sequence[Path]) -> Merged:
    """Add to the run in `out`, which may be one of the parts or not be there yet, what the parts have more.

    Of several scores for one (task, repeat) the first stays, `out`'s before the parts' in their order. Failures are
    kept with all their attempts. Raises DigestMismatch, naming what differs, where they are not parts of one run,
    UsageError where one is being written, InputError for a damaged line, and StoppedEarly where the disk is full.
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
    with ExitStack() as held:
        for folder in others:
            claim(held, folder, Shard())
        joint = _joint(records)
        registry = None if there else _registry(out, joint)
        with Store(out, joint, tasks, registry=registry) as store:
            return _add(out, list(others), Cells(tasks), store)


def _add(out: Path, parts: Sequence[Path], cells: Cells, store: Store) -> Merged:
    made, partial = Merged(), out / f".{TWICE}"
    for _, line, row in read_row_lines(out):
        cells.add(row, _digest(line))
    with partial.open("wb") as twice:
        for part in parts:
            for number, (path, line, row) in enumerate(read_row_lines(part)):
                digest, score = _digest(line), row.outcome if isinstance(row.outcome, Score) else None
                kept = cells.reward(row) if score else None
                if cells.has(row, digest):
                    made.there += 1
                elif score is None or kept is None:
                    store.append_line(line)
                    cells.add(row, digest)
                    made.scored += score is not None
                    made.failed += score is None
                elif kept == score.reward:
                    made.alike += 1
                else:
                    made.twice += 1
                    twice.write(msgspec.json.encode(Twice(row.task, row.repeat, kept, score.reward, str(path))) + b"\n")
                if number % BATCH == 0:
                    store.flush()
    partial.replace(out / TWICE)
    if not made.twice:
        (out / TWICE).unlink()
    return made


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
    """What the run is a run of that was begun first, with as many repeats as any part was planned with."""
    first = min(records.values(), key=lambda record: record.started)
    return structs.replace(first, repeats=max(record.repeats for record in records.values()))


def _registry(out: Path, record: RunRecord) -> Path | None:
    """Where the run is to be written down: the nearest registry above, or a new one beside it; None where it is."""
    above = [parent / REGISTRY for parent in out.resolve().parents[:3]]
    path = next((path for path in above if is_present(path)), above[0])
    known = {line.id for line in read_registry(path)} if is_present(path) else set[str]()
    return None if record.id in known else path


def _digest(line: bytes) -> int:
    """Of a whole line, never 0: that stands for none."""
    return int.from_bytes(hashlib.blake2b(line, digest_size=8).digest(), "big") | 1

"""The plan of a run: each task and repeat that lacks a score, and the seed of each rollout."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from assay.digest import task_digest
from assay.store import Shard
from assay.types import Task


@dataclass(frozen=True, slots=True)
class PlannedRollout:
    """One rollout to be made."""

    task: Task
    task_digest: str
    repeat: int
    attempt: int
    seed: int


def seed_of(run_seed: int, task_id: str, repeat: int) -> int:
    """Returns the seed of one rollout, 0 to 2^31 - 1. It depends on these three alone, on every machine."""
    text = f"{run_seed}/{task_id}/{repeat}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "big") & 0x7FFFFFFF


def plan(
    tasks: Sequence[Task],
    repeats: int,
    *,
    seed: int,
    scored: set[tuple[str, int]],
    attempts: dict[tuple[str, int], int],
    shard: Shard,
) -> Iterator[PlannedRollout]:
    """Yields the rollouts that are owed, repeat by repeat: all tasks once before any a second time."""
    digests = [task_digest(task) for task in tasks]
    for index, repeat in owed_cells(tasks, repeats, scored=scored, shard=shard):
        task = tasks[index]
        attempt = attempts.get((task.id, repeat), 0)
        yield PlannedRollout(task, digests[index], repeat, attempt, seed_of(seed, task.id, repeat))


def owed_cells(
    tasks: Sequence[Task], repeats: int, *, scored: set[tuple[str, int]], shard: Shard
) -> Iterator[tuple[int, int]]:
    """Yields (task's index, repeat) of each rollout in the shard's plan that has no score."""
    for number in range(shard.index - 1, len(tasks) * repeats, shard.count):
        repeat, index = divmod(number, len(tasks))
        if (tasks[index].id, repeat) not in scored:
            yield index, repeat

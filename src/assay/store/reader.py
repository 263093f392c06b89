"""Reading the tasks and rollouts of a run directory."""

import warnings
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from assay.digest import task_digest, tasks_digest
from assay.errors import InputError
from assay.input import is_present
from assay.store.files import numbered_lines, read_lines
from assay.store.record import read_record
from assay.store.shard import Shard
from assay.types import Failure, Rollout, Row, Score, Task

R = TypeVar("R", Rollout, Row)


def read_tasks(folder: Path) -> list[Task]:
    """Returns the tasks that the run asked. Raises InputError where they are not those that its run.json names."""
    path = folder / "tasks.jsonl"
    if not is_present(path):
        raise InputError(path, None, "no such file", "the tasks of the run whose run.json is beside it")
    tasks = list(read_lines(path, Task))
    if tasks_digest(tasks) != read_record(folder).tasks_digest:
        raise InputError(path, None, "these are not the tasks in run.json's digest", "unchanged tasks")
    return tasks


def rollout_files(folder: Path) -> list[Path]:
    """Returns the files of a run's rollouts. Warns of others whose names begin alike, such as a backup."""
    files = sorted(folder.glob("rollouts*.jsonl"))
    for path in files:
        if not Shard.of(path.name):
            warnings.warn(
                f"{path} is ignored: a run's rollouts are in rollouts.jsonl, and a shard's in rollouts-3-of-16.jsonl",
                stacklevel=2,
            )
    return [path for path in files if Shard.of(path.name)]


def read_rollouts(folder: Path, tasks: Sequence[Task] | None = None) -> Iterator[Rollout]:
    """Yields every rollout, of every shard, in the order they ended.

    `tasks` are the run's own, if they were read already; where None, they are read again.
    Raises InputError for a damaged line, a rollout of a task that is not this run's, and a second score for one task
    and repeat.
    """
    return _rollouts(folder, Rollout, tasks)


def read_rows(folder: Path) -> Iterator[Row]:
    """Yields what `read_rollouts` does, without the turns, which are not decoded."""
    return _rollouts(folder, Row)


def read_row_lines(folder: Path, tasks: Collection[str] | None = None) -> Iterator[tuple[Path, bytes, Row]]:
    """Yields the file of each rollout, its whole line, and its row.

    `tasks` are the ids of the tasks whose rollouts to read, all where None; lines of other tasks are not decoded.
    """
    return _rollout_lines(folder, Row, tasks)


def _rollouts(folder: Path, kind: type[R], all_tasks: Sequence[Task] | None = None) -> Iterator[R]:
    for _, _, rollout in _rollout_lines(folder, kind, all_tasks=all_tasks):
        yield rollout


def _rollout_lines(
    folder: Path, kind: type[R], tasks: Collection[str] | None = None, all_tasks: Sequence[Task] | None = None
) -> Iterator[tuple[Path, bytes, R]]:
    digests = {task.id: task_digest(task) for task in all_tasks or read_tasks(folder)}
    # As `append` begins a line.
    others = {b'{"task":' + msgspec.json.encode(task) for task in digests if tasks is not None and task not in tasks}
    index = {task: number for number, task in enumerate(digests)}
    scored = bytearray()
    for path in rollout_files(folder):
        for number, line, rollout in numbered_lines(path, kind, others):
            if digests.get(rollout.task) != rollout.task_digest:
                got = f"a rollout of task {rollout.task} with digest {rollout.task_digest}"
                raise InputError(path, number, got, "rollouts of the tasks in tasks.jsonl beside it")
            if isinstance(rollout.outcome, Score):
                cell = rollout.repeat * len(index) + index[rollout.task]
                scored.extend(bytes(max(0, cell + 1 - len(scored))))
                if scored[cell]:
                    expected = "one score for each task and repeat; remove the line or file that isn't the run's"
                    got = f"a second score for repeat {rollout.repeat} of task {rollout.task}"
                    raise InputError(path, number, got, expected)
                scored[cell] = 1
            yield path, line, rollout


def progress(folder: Path) -> tuple[set[tuple[str, int]], dict[tuple[str, int], int]]:
    """Returns the (task, repeat) that have a score, and the number of attempts of each that failed."""
    scored: set[tuple[str, int]] = set()
    attempts: dict[tuple[str, int], int] = {}
    for row in read_rows(folder):
        key = (row.task, row.repeat)
        if isinstance(row.outcome, Failure):
            attempts[key] = max(attempts.get(key, 0), row.attempt + 1)
        else:
            scored.add(key)
    return scored, attempts

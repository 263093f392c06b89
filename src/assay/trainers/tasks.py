"""The tasks that a model is trained on, as a benchmark of their own."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from random import Random

from assay.benchmark import Benchmark
from assay.digest import prompt_digest
from assay.errors import UsageError
from assay.types import Task

TRIES = 20
"""Tasks that are drawn at most for each one that is wanted: a generator may run out of prompts that differ."""


def training_tasks(benchmark: Benchmark, count: int, *, seed: int = 0, on_test: bool = False) -> list[Task]:
    """Returns `count` tasks to train on, no two with the same prompt, none with the prompt of a test task.

    `on_test` takes the benchmark's own tasks in their place, from the first on, as many as there are up to `count`.
    Raises UsageError if the benchmark has no training tasks, or too few.
    """
    tests = list(benchmark.environment.tasks())
    if on_test:
        return tests[:count]
    test_prompts, tasks = {prompt_digest(task) for task in tests}, dict[str, Task]()
    for task in islice(benchmark.environment.training(Random(seed)), TRIES * count):
        if (key := prompt_digest(task)) not in test_prompts:
            tasks.setdefault(key, task)
        if len(tasks) == count:
            return list(tasks.values())
    if not tasks:
        raise UsageError(
            f"benchmark {benchmark.name} has no training tasks, and to train on its {len(tests)} test tasks makes its "
            "score meaningless.\n  Define Environment.training(rng), which yields tasks that share no problem with "
            "tasks(); or say on_test=True (--on-test)"
        )
    raise UsageError(f"benchmark {benchmark.name} gives {len(tasks)} different training tasks; expected {count}")


def with_tasks(benchmark: Benchmark, tasks: Sequence[Task]) -> Benchmark:
    """Returns the benchmark with other tasks: its sessions and verifier, one repeat."""
    environment = copy.copy(benchmark.environment)
    environment.tasks = lambda: tasks
    return replace(benchmark, environment=environment, repeats=1)

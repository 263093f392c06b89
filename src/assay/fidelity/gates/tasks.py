"""The tasks gate: whether the tasks are well-formed, distinct, the same at each load, and without their answers."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from msgspec import to_builtins

from assay.benchmark import Benchmark
from assay.fidelity.gates.rule import GateRule
from assay.fidelity.gates.verifier import SPACED
from assay.fidelity.probes import BLIND, FAULTS
from assay.fidelity.schema.profile import Check, Gate, Verdict
from assay.fidelity.tasks.checks import (
    check_of,
    digest_check,
    duplicate_check,
    leak_check,
    prompt_check,
    task_check,
)
from assay.types import Task

DECLARABLE = ("duplicates", "prompts", "leaks")
"""The checks whose findings a benchmark may declare as known defects."""


async def tasks_gate(benchmark: Benchmark, tasks: Sequence[Task]) -> Gate:
    """Returns the gate: are the tasks clean? It fails if a check of the tasks fails.

    `tasks` may be some of the benchmark's tasks. Declared defects may be of others.
    """
    chosen = {task.id for task in tasks}
    every = list(benchmark.environment.tasks())
    again = [task for task in every if task.id in chosen]
    checks = [
        task_check(tasks, benchmark.environment.remark),
        digest_check(tasks, again),
        *checks_of(benchmark, tasks),
        defect_check(benchmark, [task.id for task in every]),
    ]
    open_ = [one for one in checks if one.verdict != "pass"]
    verdict: Verdict = "fail" if any(one.verdict == "fail" for one in open_) else "inconclusive" if open_ else "pass"
    numbers: dict[str, Any] = {
        "tasks": len(tasks),
        "checks": {one.name: one.verdict for one in checks},
        "defects": [to_builtins(defect) for defect in benchmark.defects],
        "tasks_named": [task for one in open_ for task in one.tasks],
    }
    return Gate("tasks", verdict, " ".join(one.reason for one in open_ or (checks[0], checks[-1])), numbers)


def checks_of(benchmark: Benchmark, tasks: Sequence[Task]) -> list[Check]:
    """Returns the checks of the tasks' texts, without declared defects."""

    def is_declared(kind: str, task: str) -> bool:
        return any(defect.covers(kind, task) for defect in benchmark.defects)

    return [
        duplicate_check(benchmark.environment, tasks, partial(is_declared, "duplicates")),
        prompt_check(tasks, partial(is_declared, "prompts")),
        leak_check(tasks, partial(is_declared, "leaks")),
    ]


def defect_check(benchmark: Benchmark, tasks: Sequence[str]) -> Check:
    """Are declared defects about existing tasks and kinds, and may they be declared?"""
    wrong: dict[str, list[str]] = {}
    known = {*FAULTS, *DECLARABLE, SPACED}
    for defect in benchmark.defects:
        if missing := sorted({*defect.tasks} - {*tasks}):
            wrong[f"a defect of tasks that are not there ({defect.what!r})"] = missing
        if unknown := sorted({*defect.probes} - known):
            wrong[f"a defect of a kind that no check has ({defect.what!r})"] = unknown
        if blind := [kind for kind in defect.probes if kind in BLIND]:
            wrong[f"a defect that can't be declared ({defect.what!r})"] = blind
    said = [_in_words(defect.what, defect.tasks, defect.probes, defect.outputs) for defect in benchmark.defects]
    passed = f"Known defects, declared: {' '.join(said)}" if said else "No defect is declared."
    return check_of("defects", wrong, passed, f"Kinds that can be declared: {', '.join(sorted(known - {*BLIND}))}.")


def _in_words(what: str, tasks: Sequence[str], probes: Sequence[str], outputs: int | None) -> str:
    parts = [f"{len(tasks)} {'task' if len(tasks) == 1 else 'tasks'}"] if tasks else []
    parts += [f"probes: {', '.join(probes)}"] if probes else []
    parts += [f"{outputs:,} recorded outputs"] if outputs is not None else []
    return f"{what} ({'; '.join(parts)})" if parts else what


GATE = GateRule(
    name="tasks",
    question="Are the tasks well-formed, distinct, and without their answers?",
    needs="the benchmark alone",
    of_benchmark=lambda benchmark, tasks, seed: tasks_gate(benchmark, tasks),
)

"""Tasks, the record of a run and rollouts, made without any model."""

import msgspec

from assay.digest import task_digest, tasks_digest
from assay.store import RunRecord
from assay.types import Failure, Message, Response, Rollout, Sampling, Score, Task, Text, Turn

TASKS = [Task(id=f"t{i}", input=[Message(role="user", content=f"{i}?")], gold=str(i)) for i in range(3)]


def record(**changes: object) -> RunRecord:
    base = RunRecord(
        benchmark="b",
        version="1",
        tasks=len(TASKS),
        tasks_digest=tasks_digest(TASKS),
        code="c" * 64,
        model="m",
        server={},
        identity={"id": "m"},
        sampling=Sampling(),
        seed=0,
        repeats=2,
        versions={},
        started="2026-01-01T00:00:00+00:00",
    )
    return msgspec.structs.replace(base, **changes)


def rollout(task: int = 0, repeat: int = 0, *, text: str = "x", failed: bool = False, attempt: int = 0) -> Rollout:
    response = Response(output=[Message(role="assistant", content=[Text(text=text)])])
    outcome = Failure("model", "timeout", "no answer", True) if failed else Score(reward=1.0, answer=text)
    turns = [Turn(input=TASKS[task].input, response=response)]
    return Rollout(TASKS[task].id, task_digest(TASKS[task]), repeat, attempt, 7, turns, "completed", outcome)

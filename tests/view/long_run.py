"""A run of any length, with words to search for, made without any model."""

import random
from collections.abc import Iterator
from pathlib import Path

from assay.digest import task_digest, tasks_digest
from assay.store import RunRecord, Store
from assay.types import (
    Failure,
    FunctionCall,
    FunctionCallOutput,
    Message,
    Reasoning,
    ReasoningText,
    Response,
    Rollout,
    Sampling,
    Score,
    Task,
    Text,
    Turn,
    Usage,
)

CATEGORIES = ("law", "physics", "health")


def long_tasks(number: int) -> list[Task]:
    """Tasks in three categories, each with a tag of its own."""
    return [
        Task(
            id=f"q{index}",
            input=[Message("user", f"Question {index}: a heron stands in the water?")],
            gold=str(index),
            tags={"category": CATEGORIES[index % 3], "source": f"book {index}"},
        )
        for index in range(number)
    ]


def write_run(folder: Path, tasks: list[Task], rollouts: Iterator[Rollout], repeats: int = 1) -> Path:
    """A run directory with these rollouts, as the store writes it."""
    record = RunRecord(
        benchmark="long",
        version="1",
        tasks=len(tasks),
        tasks_digest=tasks_digest(tasks),
        code="c" * 64,
        model="heron-8b",
        server={},
        identity={"id": "m"},
        sampling=Sampling(),
        seed=0,
        repeats=repeats,
        versions={},
        started="2026-01-01T00:00:00+00:00",
    )
    with Store(folder, record, tasks) as store:
        for rollout in rollouts:
            store.append(rollout)
    return folder


def long_run(folder: Path, number: int, repeats: int = 2, seed: int = 0) -> Path:
    """A run directory: of ten rollouts one failed and is tried again, one reached the token cap, and four are wrong."""
    tasks = long_tasks(number)
    return write_run(folder, tasks, long_rollouts(tasks, repeats, random.Random(seed)), repeats)


def long_rollouts(tasks: list[Task], repeats: int, rng: random.Random) -> Iterator[Rollout]:
    """Its rollouts, in the order in which they are written."""
    words = [f"w{index}" for index in range(2000)]
    for repeat in range(repeats):
        for index, task in enumerate(tasks):
            kind, attempt = (index + repeat) % 10, 0
            if kind == 0:
                failure = Failure("model", "timeout", "nothing came", True)
                yield Rollout(task.id, task_digest(task), repeat, 0, 7, [], "failed", failure, 1.0)
                attempt = 1
            capped, right = kind == 1, kind > 5
            answer = None if capped else str(index if right else index + 1)
            call = FunctionCall("c1", "look", '{"at": "pond"}')
            turns = [
                Turn(list(task.input), Response([call], usage=Usage(20, 5)), 0.0, 0.5),
                Turn(
                    [FunctionCallOutput("c1", "two eels")],
                    Response(
                        [
                            Reasoning(content=[ReasoningText(" ".join(rng.choices(words, k=60)))]),
                            Message("assistant", [Text("It goes on" if capped else f"The answer is {answer}.")]),
                        ],
                        "incomplete" if capped else "completed",
                        "max_output_tokens" if capped else None,
                        Usage(30, 500 if capped else 60 + index % 7, 0, 40),
                    ),
                    0.5,
                    1.5,
                ),
            ]
            score = Score(float(right), {"length": 3.0}, answer)
            stop = "token_cap" if capped else "completed"
            yield Rollout(task.id, task_digest(task), repeat, attempt, 7, turns, stop, score, 2.0 + index % 5)

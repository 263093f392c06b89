"""Rollouts with given responses and without a model, for the gates that need the benchmark alone."""

import asyncio
from collections.abc import Sequence

from msgspec import structs

from assay.agent.loop import ToolLoop
from assay.benchmark import Benchmark, Call
from assay.benchmark.reference import DONE
from assay.collect.plan import PlannedRollout
from assay.collect.roll import roll
from assay.digest import task_digest
from assay.model.builtin.function import FunctionModel
from assay.types import Failure, Item, Message, Reasoning, ReasoningText, Response, Score, Task, Text


def solutions_of(benchmark: Benchmark, tasks: Sequence[Task]) -> list[tuple[Task, Sequence[Call | str]]]:
    """Returns the tasks that have a reference solution, with the solution."""
    found = ((task, benchmark.environment.solution(task)) for task in tasks)
    return [(task, steps) for task, steps in found if steps is not None]


def response_of(message: str | None, *, reasoning: str = "") -> Response:
    """Returns a response with this reasoning and this message. A message of None: the output was cut before it."""
    output = reasoning_of(reasoning)
    if message is None:
        return Response(output=output, status="incomplete", incomplete_reason="max_output_tokens")
    return Response(output=[*output, Message(role="assistant", content=[Text(text=message)])])


def reasoning_of(text: str) -> list[Item]:
    return [Reasoning(content=[ReasoningText(text=text)])] if text else []


async def reward_of(benchmark: Benchmark, task: Task, played: Sequence[Response]) -> float | Failure:
    """Returns the reward of these responses, one for each turn, in a normal rollout; the failure if it failed."""
    planned = PlannedRollout(task, task_digest(task), repeat=0, attempt=0, seed=0)
    await asyncio.sleep(0)  # nothing here ever waits: without this, nobody could interrupt it
    rollout = await roll(
        benchmark,
        ToolLoop(),
        FunctionModel(lambda asked: played[asked.turn] if asked.turn < len(played) else DONE),
        planned,
    )
    outcome = rollout.outcome
    if isinstance(outcome, Score):
        return outcome.reward
    return structs.replace(outcome, message=f"{task.id}: {outcome.message}")

"""A sandbox that dies under a rollout is a failure that may pass, never a score."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from assay.agent.loop import ToolLoop
from assay.benchmark import Benchmark, Environment
from assay.collect.plan import PlannedRollout
from assay.collect.roll import roll
from assay.digest import task_digest
from assay.errors import SandboxError
from assay.model.builtin.function import FunctionModel
from assay.types import Failure, FunctionCall, Item, Message, Response, Score, Task, Tool, Turn

TASK = Task(
    id="t",
    input=[Message(role="user", content="Run it.")],
    tools=[Tool(name="run", description="Runs it.", parameters={"type": "object", "properties": {}})],
)
CALL: list[Item] = [FunctionCall(name="run", arguments="{}", call_id="c")]
WORDS: list[Item] = [Message(role="assistant", content="done")]


class Broken(Environment):
    """Its sandbox is dead whenever a tool or the verifier wants it."""

    name, version = "broken", "1"

    def tasks(self) -> Iterable[Task]:
        return [TASK]

    @asynccontextmanager
    async def open(self, task: Task, seed: int) -> AsyncIterator["Broken"]:
        yield self

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        raise SandboxError("the container has ended")

    async def score(self, turns: Sequence[Turn]) -> Score:
        raise SandboxError("the container has ended")


@pytest.mark.parametrize("output", [CALL, WORDS], ids=["under a tool", "under the verifier"])
def test_a_sandbox_that_dies_under_a_rollout_is_a_failure(output: list[Item]) -> None:
    benchmark = Benchmark(environment=Broken(), repeats=1)
    planned = PlannedRollout(TASK, task_digest(TASK), 0, 0, 7)
    rollout = asyncio.run(roll(benchmark, ToolLoop(), FunctionModel(lambda *_: Response(output=output)), planned))
    assert rollout.outcome == Failure(
        where="environment", kind="sandbox", message="the container has ended", retryable=True
    )

"""Limits: each is a stop reason, and the rollout is scored with what there is."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any

import pytest

from assay.agent import Agent
from assay.agent.loop import ToolLoop
from assay.benchmark import Benchmark, Ended, Environment, Session
from assay.benchmark.tools import ToolEnvironment, ToolSession, tool
from assay.collect.deadline import Deadline
from assay.collect.plan import PlannedRollout
from assay.collect.roll import roll
from assay.config import ModelConfig
from assay.digest import task_digest
from assay.model import Model
from assay.model.builtin.function import FunctionModel
from assay.model.builtin.scripted import Scripted
from assay.types import (
    Failure,
    FunctionCall,
    Item,
    Message,
    Request,
    Response,
    Rollout,
    RolloutLimits,
    Score,
    StopReason,
    Task,
    Turn,
    Usage,
)


class Counter(ToolSession):
    def __init__(self, task: Task, seed: int) -> None:
        super().__init__(task, seed)
        self.count = 0

    @tool
    async def add(self, wait_s: float = 0.0) -> str:
        """Count one more, after a while."""
        await asyncio.sleep(wait_s)
        self.count += 1
        return str(self.count)

    @tool(deadline_s=0.05)
    async def hang(self) -> str:
        """Wait for ever."""
        return await asyncio.sleep(60, "never")

    async def score(self, turns: Sequence[Turn]) -> Score:
        return Score(reward=float(self.count))


class Dialogue(Counter):
    """One that goes on for ever where the model calls nothing."""

    async def reply(self, response: Response) -> list[Item] | None:
        return [Message(role="user", content="And then?")]


class Counting(ToolEnvironment):
    name, version = "counting", "1"

    def __init__(self, session: type[ToolSession] = Counter) -> None:
        self.session = session

    def tasks(self) -> Iterable[Task]:
        return [Task(id="t", input=[Message(role="user", content="Count.")], tools=self.tools)]


def add(wait_s: float = 0.0) -> list[Item]:
    return [FunctionCall(call_id="c", name="add", arguments=f'{{"wait_s": {wait_s}}}')]


def scripted(*script: str | list[Item]) -> Model:
    return Scripted(ModelConfig(dialect="scripted", script=list(script)))


def rolled(model: Model, agent: Agent | None = None, environment: Environment | None = None, **limits: Any) -> Rollout:
    benchmark = Benchmark(environment=environment or Counting(), repeats=1, limits=RolloutLimits(**limits))
    [task] = benchmark.environment.tasks()
    return asyncio.run(roll(benchmark, agent or ToolLoop(), model, PlannedRollout(task, task_digest(task), 0, 0, 7)))


class Wordy(Scripted):
    """A scripted model whose every answer takes ten tokens, as a server would count them."""

    async def respond(self, request: Request) -> Response:
        answer = await super().respond(request)
        return Response(output=answer.output, usage=Usage(output_tokens=10))


class Slow(Scripted):
    """A scripted model that thinks for a second from its second answer on."""

    async def respond(self, request: Request) -> Response:
        await asyncio.sleep(1.0 if request.turn else 0.0)
        return await super().respond(request)


SCRIPT = ModelConfig(dialect="scripted", script=[add(), add(), add(), "done"])
CASES: list[tuple[Model, dict[str, Any], StopReason, float, int]] = [
    (Scripted(SCRIPT), {}, "completed", 3, 4),
    (Scripted(SCRIPT), {"steps": 4}, "completed", 3, 4),
    (Scripted(SCRIPT), {"steps": 2}, "steps", 2, 2),
    (Wordy(SCRIPT), {"output_tokens": 40}, "completed", 3, 4),
    (Wordy(SCRIPT), {"output_tokens": 20}, "tokens", 2, 2),
    (Wordy(SCRIPT), {"output_tokens": 11}, "tokens", 2, 2),
    (Slow(SCRIPT), {"wall_s": 0.1}, "wall_time", 1, 2),
    (scripted(add(), add(1.0), "done"), {"wall_s": 0.1}, "wall_time", 1, 2),
    (scripted(add(), add(1.0), "done"), {"tool_s": 0.1}, "tool_time", 1, 2),
    (scripted(add(0.06), add(0.06), "done"), {"tool_s": 0.1}, "tool_time", 1, 2),
    (scripted(add(), "done"), {"tool_s": 30.0, "wall_s": 30.0}, "completed", 1, 2),
]


@pytest.mark.parametrize(("model", "limits", "stop", "reward", "turns"), CASES)
def test_a_limit_ends_the_rollout_which_is_scored_with_what_there_is(
    model: Model, limits: dict[str, Any], stop: StopReason, reward: float, turns: int
):
    rollout = rolled(model, **limits)
    assert rollout.outcome == Score(reward=reward)
    assert (rollout.stop, len(rollout.turns)) == (stop, turns)


def test_a_tool_that_hangs_past_its_own_deadline_is_a_failure_below_the_limits():
    rollout = rolled(scripted([FunctionCall(call_id="c", name="hang", arguments="{}")]), tool_s=30, wall_s=30)
    assert isinstance(rollout.outcome, Failure)
    assert (rollout.stop, rollout.outcome.kind) == ("failed", "tool")


def test_a_dialogue_without_an_end_is_ended_by_its_limits():
    rollout = rolled(FunctionModel(lambda _: "Then more."), environment=Counting(Dialogue), steps=5, tool_s=30)
    assert (rollout.stop, len(rollout.turns)) == ("steps", 5)


class Stubborn:
    """An agent that makes of every error what suits it."""

    def __init__(self, swallow: bool) -> None:
        self._swallow = swallow

    async def run(self, task: Task, model: Model, session: Session) -> StopReason:
        for _ in range(10):
            try:
                await model.respond(Request(input=task.input))
            except Exception as error:
                if not self._swallow:
                    raise RuntimeError("my own words") from error
        return "completed"


@pytest.mark.parametrize("swallow", [True, False])
def test_no_agent_gets_past_a_limit_or_makes_a_failure_of_it(swallow: bool):
    rollout = rolled(FunctionModel(lambda _: "x"), Stubborn(swallow), steps=2)
    assert (rollout.stop, len(rollout.turns), rollout.outcome) == ("steps", 2, Score(reward=0.0))


class Gate(Counter):
    """A session that lets two calls of the model through."""

    def relay(self, model: Model) -> Model:
        self._model = model
        return self

    async def respond(self, request: Request) -> Response:
        if self.count == 2:
            raise Ended
        self.count += 1
        return await self._model.respond(request)


@pytest.mark.parametrize("agent", [ToolLoop(), Stubborn(swallow=True), Stubborn(swallow=False)])
def test_a_session_that_calls_pass_through_ends_the_rollout_which_is_scored(agent: Agent):
    call: list[Item] = [FunctionCall(call_id="c", name="none", arguments="{}")]
    rollout = rolled(scripted(call, call, "x"), agent, Counting(Gate))
    assert (rollout.stop, len(rollout.turns), rollout.outcome) == ("completed", 2, Score(reward=2.0))


def test_an_agents_own_error_stays_a_failure_where_no_limit_is_reached():
    assert isinstance(rolled(scripted("one"), Stubborn(swallow=False), steps=9).outcome, Failure)


class Question(Environment):
    name, version = "question", "1"

    def tasks(self) -> Iterable[Task]:
        return [Task(id="t", input=[Message(role="user", content="?")])]

    def verify(self, task: Task, response: Response) -> Score:
        return Score(reward=float(response.text == "42"))


class Late(FunctionModel):
    async def respond(self, request: Request) -> Response:
        await asyncio.sleep(0.5)
        return await super().respond(request)


def test_an_answer_that_is_late_is_an_answer():
    rollout = rolled(Late(lambda _: "42"), environment=Question(), wall_s=0.05)
    assert (rollout.stop, rollout.outcome) == ("completed", Score(reward=1.0))


def test_a_server_that_never_answers_is_a_failure_and_no_zero():
    environment = Question()
    benchmark = Benchmark(environment=environment, repeats=1, limits=RolloutLimits(wall_s=0.05))
    planned = PlannedRollout(next(iter(environment.tasks())), "d", 0, 0, 0)

    async def within() -> Rollout:
        with closing(Deadline(0.2)) as deadline:
            return await roll(benchmark, ToolLoop(), Late(lambda _: "42"), planned, deadline=deadline)

    rollout = asyncio.run(within())
    assert isinstance(rollout.outcome, Failure)
    assert (rollout.outcome.kind, rollout.outcome.retryable, rollout.turns) == ("deadline", True, [])

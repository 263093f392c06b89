"""The loop with sessions that reply."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from assay.agent.loop import ToolLoop
from assay.benchmark import Benchmark, Call, Ended, Environment
from assay.benchmark.reference import responses
from assay.collect.plan import PlannedRollout
from assay.collect.roll import roll
from assay.digest import task_digest
from assay.errors import SandboxError
from assay.model.builtin.function import FunctionModel
from assay.types import (
    Failure,
    FunctionCall,
    Item,
    Message,
    Refusal,
    Request,
    Response,
    Rollout,
    RolloutLimits,
    Score,
    Task,
    Tool,
    Turn,
)

TASK = Task(id="t", input=[Message(role="user", content="Count.")], tools=[Tool("next", {"type": "object"})])


class Counting:
    """Says each number until `last`, then ends; or raises what it is given instead."""

    def __init__(self, last: int, error: Exception | None = None) -> None:
        self._last = last
        self._error = error
        self.said = 0

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        return "called"

    async def reply(self, response: Response) -> list[Item] | None:
        if self._error:
            raise self._error
        if self.said == self._last:
            return None
        self.said += 1
        return [Message(role="user", content=str(self.said))]

    async def score(self, turns: Sequence[Turn]) -> Score:
        return Score(reward=float(self.said))


class Changing(Counting):
    """Offers another tool after each reply. The call of `stop` ends the rollout."""

    @property
    def tools(self) -> list[Tool]:
        return [Tool(f"tool-{self.said}", {"type": "object"})]

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        if name == "stop":
            raise Ended
        return "called"


class Counts(Environment):
    name, version = "counts", "1"

    def __init__(self, session: Counting) -> None:
        self._session = session

    def tasks(self) -> Iterable[Task]:
        return [TASK]

    @asynccontextmanager
    async def open(self, task: Task, seed: int) -> AsyncGenerator[Counting]:
        yield self._session


def rolled(session: Counting, *answers: Response) -> Rollout:
    model = FunctionModel(lambda request: answers[min(request.turn, len(answers) - 1)])
    planned = PlannedRollout(TASK, task_digest(TASK), 0, 0, 7)
    return asyncio.run(roll(Benchmark(environment=Counts(session), repeats=1), ToolLoop(), model, planned))


def says(text: str) -> Response:
    return Response(output=[Message(role="assistant", content=text)])


CALL = Response(output=[FunctionCall(call_id="c", name="next", arguments="{}")])


def test_what_a_session_replies_is_the_next_turns_input_until_it_has_nothing_to_say():
    rollout = rolled(Counting(2), says("a"))
    assert [turn.input for turn in rollout.turns[1:]] == [[Message(role="user", content=text)] for text in "12"]
    assert (rollout.stop, rollout.outcome) == ("completed", Score(reward=2.0))


def test_calls_are_carried_out_and_not_replied_to():
    rollout = rolled(Counting(1), CALL, says("a"), CALL, says("b"))
    assert len(rollout.turns) == 4
    assert rollout.outcome == Score(reward=1.0)


def test_an_answer_that_is_cut_off_ends_the_rollout_without_a_reply():
    cut = Response(output=[], status="incomplete", incomplete_reason="max_output_tokens")
    rollout = rolled(Counting(9), says("a"), cut)
    assert (rollout.stop, rollout.outcome) == ("token_cap", Score(reward=1.0))


def test_a_refusal_may_be_replied_to_and_where_it_is_the_last_word_it_is_why_the_rollout_ended():
    refusal = Response(output=[Message(role="assistant", content=[Refusal(refusal="No.")])])
    assert rolled(Counting(1), refusal).stop == "refused"
    assert rolled(Counting(1), refusal, says("a")).stop == "completed"


@pytest.mark.parametrize("limits", [RolloutLimits(), RolloutLimits(tool_s=60.0)])
def test_a_session_may_change_its_tools_and_end_the_rollout_at_a_call(limits: RolloutLimits):
    offered: list[str] = []

    def answer(request: Request) -> Response:
        offered.extend(tool.name for tool in request.tools)
        return says("a") if request.turn < 2 else Response(output=[FunctionCall("c", "stop", "{}"), *CALL.output])

    benchmark = Benchmark(environment=Counts(Changing(9)), repeats=1, limits=limits)
    planned = PlannedRollout(TASK, task_digest(TASK), 0, 0, 7)
    rollout = asyncio.run(roll(benchmark, ToolLoop(), FunctionModel(answer), planned))
    assert (rollout.stop, rollout.outcome, len(rollout.turns)) == ("completed", Score(reward=2.0), 3)
    assert offered == ["tool-0", "tool-1", "tool-2"]


@pytest.mark.parametrize(("error", "kind"), [(KeyError("x"), "tool"), (SandboxError("gone"), "sandbox")])
def test_a_reply_that_raises_is_the_environments_failure(error: Exception, kind: str):
    outcome = rolled(Counting(1, error), says("a")).outcome
    assert isinstance(outcome, Failure)
    assert (outcome.where, outcome.kind) == ("environment", kind)


def test_calls_of_a_solution_that_are_made_beside_each_other_are_one_response():
    made = responses([Call("a"), Call("b", beside=True), "Good.", Call("c", beside=True), Call("d")])
    assert [[getattr(item, "name", "") for item in response.output] for response in made] == [
        ["a", "b"],
        ["", "c"],
        ["d"],
        [""],
    ]
    ids = [item.call_id for response in made for item in response.output if isinstance(item, FunctionCall)]
    assert len(set(ids)) == len(ids) == 4


class Calling(Counting):
    """Speaks first, and is over once a tool was called."""

    async def begin(self) -> list[Item]:
        if self._error:
            raise self._error
        return [Message(role="user", content="Hello.")]

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        raise Ended


@pytest.mark.parametrize("limits", [RolloutLimits(), RolloutLimits(wall_s=60, tool_s=60)])
def test_a_session_that_converses_speaks_first_and_may_end_with_a_call(limits: RolloutLimits):
    said = Response(output=[Message(role="assistant", content="Yes?")])
    called = Response(output=[FunctionCall("1", "next", "{}")])
    session = Calling(5)
    benchmark = Benchmark(environment=Counts(session), repeats=1, limits=limits)
    model = FunctionModel(lambda request: (said, called)[request.turn])
    planned = PlannedRollout(TASK, task_digest(TASK), repeat=0, attempt=0, seed=0)
    rollout = asyncio.run(roll(benchmark, ToolLoop(), model, planned))
    assert (rollout.stop, len(rollout.turns), session.said) == ("completed", 2, 1)
    assert rollout.turns[0].input == [*TASK.input, Message(role="user", content="Hello.")]


def test_an_opening_that_raises_is_the_environments_failure():
    outcome = rolled(Calling(1, KeyError("x")), Response(output=[])).outcome
    assert isinstance(outcome, Failure) and outcome.where == "environment"

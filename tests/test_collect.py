import asyncio
import dataclasses
import re
from collections.abc import Iterable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from assay.agent.loop import ToolLoop
from assay.benchmark import Benchmark, Environment
from assay.benchmark.verify.integer import integer
from assay.collect.collect import Interruption
from assay.collect.deadline import Deadline
from assay.collect.plan import PlannedRollout, plan, seed_of
from assay.collect.roll import roll
from assay.collect.run import RunPlan, collect_run
from assay.config import ModelConfig
from assay.digest import task_digest
from assay.errors import StoppedEarly
from assay.model.builtin.function import FunctionModel
from assay.store import Shard, read_rollouts
from assay.types import (
    Failure,
    FunctionCall,
    FunctionCallOutput,
    Item,
    Message,
    Request,
    Response,
    Rollout,
    RolloutLimits,
    Score,
    Task,
    Tool,
    Turn,
)
from tests.endpoint import Call, Endpoint, answering, chat_body, http

TASKS = [Task(id=f"t{i}", input=[Message(role="user", content=f"{i}")], gold=str(i)) for i in range(10)]


class Echo(Environment):
    name, version = "echo", "1"

    def tasks(self) -> Iterable[Task]:
        return TASKS

    def verify(self, task: Task, response: Response) -> Score:
        if "broken" in response.text:
            raise ZeroDivisionError("the verifier broke")
        if "endless" in response.text:
            return Score(reward=float("nan"))
        return integer(response, int(task.gold or ""))


ECHO = Benchmark(environment=Echo(), repeats=3)


def asked(folder: Path, url: str, **changes: Any) -> RunPlan:
    server = ModelConfig(dialect="chat", id="m", base_url=url, attempts=1, timeout_s=5)
    settings: dict[str, Any] = {"benchmark": ECHO, "name": "m", "server": server, "folder": folder, "repeats": 3}
    return RunPlan.of(**settings | changes)


def planned(task: Task = TASKS[0]) -> PlannedRollout:
    return PlannedRollout(task, task_digest(task), 0, 0, 7)


def rolled(answer: Any, benchmark: Benchmark = ECHO, task: Task = TASKS[0]):
    return asyncio.run(roll(benchmark, ToolLoop(), FunctionModel(answer), planned(task)))


def keys(folder: Path) -> list[tuple[str, int]]:
    return [rollout.key for rollout in read_rollouts(folder) if isinstance(rollout.outcome, Score)]


def test_every_planned_rollout_is_scored_once(tmp_path: Path):
    with Endpoint(answering("3")) as endpoint:
        tally = asyncio.run(collect_run(asked(tmp_path, endpoint.url)))
    assert (tally.scored, tally.failed, tally.reward) == (30, 0, 3)
    assert sorted(keys(tmp_path)) == [(task.id, repeat) for task in TASKS for repeat in range(3)]
    assert {call.json["seed"] for call in endpoint.calls} == {
        seed_of(0, task.id, repeat) for task in TASKS for repeat in range(3)
    }


@pytest.mark.parametrize("concurrency", [1, 4])
def test_rollouts_are_collected_repeat_by_repeat(tmp_path: Path, concurrency: int):
    """So that a change of the endpoint lies between repeats, where the repeats gate looks for it."""
    repeat_of = {seed_of(0, task.id, repeat): repeat for task in TASKS for repeat in range(3)}
    with Endpoint(answering("3")) as endpoint:
        asyncio.run(collect_run(asked(tmp_path, endpoint.url, concurrency=concurrency)))
    repeats = [repeat_of[call.json["seed"]] for call in endpoint.calls]
    assert len(repeats) == 30
    # What is in flight at once may arrive in another order.
    assert all(max(repeats[:i]) <= min(repeats[i + concurrency - 1 :]) for i in range(1, 31 - concurrency))


def test_resuming_asks_only_what_is_owed_and_more_repeats_add_to_it(tmp_path: Path):
    with Endpoint(answering("3")) as endpoint:
        asyncio.run(collect_run(asked(tmp_path, endpoint.url, repeats=1)))
        again = asyncio.run(collect_run(asked(tmp_path, endpoint.url, repeats=1)))
        more = asyncio.run(collect_run(asked(tmp_path, endpoint.url, repeats=2)))
    assert (again.planned, more.planned, len(endpoint.calls)) == (0, 10, 20)


def test_a_failure_is_kept_as_one_and_retried_on_resume(tmp_path: Path):
    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(http(b"down", 500) if call.prompt == "4" and len(endpoint.calls) < 31 else http(chat_body("4")))

    with Endpoint(behave) as endpoint:
        first = asyncio.run(collect_run(asked(tmp_path, endpoint.url, concurrency=1)))
        assert (first.scored, first.failed, first.reward) == (27, 3, 0)
        second = asyncio.run(collect_run(asked(tmp_path, endpoint.url)))
    assert (second.planned, second.scored, second.reward) == (3, 3, 3)
    rows = [rollout for rollout in read_rollouts(tmp_path) if rollout.task == "t4"]
    assert [(row.attempt, type(row.outcome).__name__) for row in rows[:3]] == [(0, "Failure")] * 3
    assert [(row.attempt, type(row.outcome).__name__) for row in rows[3:]] == [(1, "Score")] * 3


def test_nothing_but_failures_stops_the_run_with_the_reason(tmp_path: Path):
    with Endpoint(lambda call, writer: _write(writer, http(b"no such model", 404))) as endpoint:
        with pytest.raises(StoppedEarly, match=r"all of the first 20 rollouts failed.*no such model") as told:
            asyncio.run(collect_run(asked(tmp_path, endpoint.url, concurrency=4)))
        assert "--no-early-stop" in str(told.value)
        assert len(endpoint.calls) < 30
        tally = asyncio.run(collect_run(asked(tmp_path, endpoint.url, early_stop=False)))
    assert (tally.scored, tally.failed) == (0, 30)
    assert keys(tmp_path) == []


async def _write(writer: asyncio.StreamWriter, answer: bytes) -> None:
    writer.write(answer)


def test_a_model_server_that_cannot_be_reached_says_so_early(tmp_path: Path):
    with pytest.raises(StoppedEarly, match="is the server running"):
        asyncio.run(collect_run(asked(tmp_path, "http://127.0.0.1:9/v1")))


def test_no_more_are_in_flight_than_allowed(tmp_path: Path):
    flying, most = 0, 0

    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(0.01)
        flying -= 1
        writer.write(http(chat_body("1")))

    with Endpoint(behave) as endpoint:
        asyncio.run(collect_run(asked(tmp_path, endpoint.url, concurrency=4)))
    assert most == 4


def test_stopping_finishes_what_is_in_flight_and_a_second_time_abandons_it(tmp_path: Path):
    async def main(url: str, times: int) -> int:
        interruption = Interruption()
        run = collect_run(asked(tmp_path, url, concurrency=5), interruption=interruption)
        work = asyncio.create_task(run)
        while not endpoint.calls:
            assert not work.done()
            await asyncio.sleep(0.01)
        for _ in range(times):
            interruption.stop()
        return (await asyncio.wait_for(work, 5)).done

    with Endpoint(answering("1", delay_s=0.3)) as endpoint:
        assert asyncio.run(main(endpoint.url, 1)) == 5
        endpoint.calls.clear()
        assert asyncio.run(main(endpoint.url, 2)) == 0
        assert asyncio.run(collect_run(asked(tmp_path, endpoint.url, concurrency=30))).done == 25
    assert sorted(keys(tmp_path)) == [(task.id, repeat) for task in TASKS for repeat in range(3)]


@given(
    st.integers(1, 7), st.integers(1, 4), st.sets(st.tuples(st.sampled_from([t.id for t in TASKS]), st.integers(0, 3)))
)
def test_shards_divide_the_plan_and_leave_out_what_is_scored(count: int, repeats: int, scored: set[tuple[str, int]]):
    shards = [
        {(p.task.id, p.repeat) for p in plan(TASKS, repeats, seed=0, scored=scored, attempts={}, shard=Shard(i, count))}
        for i in range(1, count + 1)
    ]
    whole = {(task.id, repeat) for task in TASKS for repeat in range(repeats)}
    assert set().union(*shards) == whole - scored
    assert sum(map(len, shards)) == len(whole - scored)


def test_seeds_are_the_same_everywhere_and_differ():
    assert seed_of(0, "t1", 2) == 985977870
    assert len({seed_of(run, f"t{i}", k) for run in range(3) for i in range(100) for k in range(10)}) == 3000


@pytest.mark.parametrize(
    ("answer", "where", "kind", "words"),
    [
        (lambda _: "broken", "verifier", "exception", r"ZeroDivisionError: the verifier broke \(test_collect.py, line"),
        (lambda _: "endless", "verifier", "exception", "reward nan; expected a finite number"),
        (lambda _: 1 / 0, "agent", "exception", "division by zero"),
    ],
)
def test_what_breaks_is_a_failure_with_its_place(answer: Any, where: str, kind: str, words: str):
    outcome = rolled(answer).outcome
    assert isinstance(outcome, Failure)
    assert (outcome.where, outcome.kind) == (where, kind)
    assert re.search(words, outcome.message), outcome.message


@pytest.mark.parametrize(
    ("score", "kept"),
    [
        (lambda: Score(reward=True), Score(reward=1.0)),  # type: ignore[arg-type]
        (lambda: Score(reward=np.float64(0.5)), Score(reward=0.5)),
        (lambda: Score(reward=1, metrics={"x": np.float32(2)}), Score(reward=1.0, metrics={"x": 2.0})),
        (lambda: Score(reward=1.0, answer=5), "the answer 5; expected text or None"),  # type: ignore[arg-type]
        (lambda: Score(reward=1.0, metrics={"x": float("inf")}), "the metric x inf; expected a finite number"),
        (lambda: Score(reward=1e200), "the reward 1e+200; expected a finite number, at most 1e+12"),
        (lambda: Score(reward=-(10**400)), "OverflowError"),
        (lambda: Score(reward="1"), "the reward '1'; expected a finite number"),  # type: ignore[arg-type]
        (lambda: 1.0, "returned 1.0; expected a Score"),
    ],
)
def test_what_a_verifier_returns_is_made_plain_or_refused(tmp_path: Path, score: Any, kept: Any):
    class Odd(Echo):
        def verify(self, task: Task, response: Response) -> Score:
            return score()

    server = ModelConfig(dialect="gold")
    plan = asked(tmp_path, "", benchmark=Benchmark(environment=Odd(), repeats=1), server=server, repeats=1)
    asyncio.run(collect_run(dataclasses.replace(plan, request=structs.replace(plan.request, early_stop=False))))
    outcomes = [rollout.outcome for rollout in read_rollouts(tmp_path)]
    assert len(outcomes) == 10
    if isinstance(kept, Score):
        assert outcomes[0] == kept
    else:
        assert isinstance(outcomes[0], Failure)
        assert kept in outcomes[0].message


def test_one_task_that_always_fails_does_not_stop_a_run_that_has_scores(tmp_path: Path):
    class Brittle(Echo):
        def verify(self, task: Task, response: Response) -> Score:
            return Score(reward=1.0 / (task.id != "t4"))

    server = ModelConfig(dialect="gold")
    plan = asked(tmp_path, "", benchmark=Benchmark(environment=Brittle(), repeats=1), server=server, repeats=1)
    assert asyncio.run(collect_run(plan)).failed == 1
    assert asyncio.run(collect_run(plan)).failed == 1


async def late(roll: Any, *arguments: Any) -> Rollout:
    with closing(Deadline(0.05)) as deadline:
        return await roll(*arguments, deadline=deadline)


def test_a_rollout_past_its_deadline_is_a_failure():
    class Slow(FunctionModel):
        async def respond(self, request: Request) -> Response:
            await asyncio.sleep(60)
            raise AssertionError

    rollout = asyncio.run(late(roll, ECHO, ToolLoop(), Slow(lambda _: ""), planned()))
    assert isinstance(rollout.outcome, Failure)
    assert (rollout.outcome.where, rollout.outcome.kind) == ("agent", "deadline")


def test_a_verifier_that_never_gives_the_loop_back_is_a_failure_and_the_others_are_scored(tmp_path: Path):
    class Spinning(Echo):
        def verify(self, task: Task, response: Response) -> Score:
            try:
                while task.id == "t1":
                    sum(range(1000))
            except Exception:
                return Score(reward=0.0)
            return super().verify(task, response)

    server = ModelConfig(dialect="gold", deadline_s=0.5)
    plan = asked(tmp_path, "", benchmark=Benchmark(environment=Spinning(), repeats=1), server=server, repeats=1)
    asyncio.run(collect_run(plan))
    outcomes = {rollout.task: rollout.outcome for rollout in read_rollouts(tmp_path)}
    spun = outcomes.pop("t1")
    assert isinstance(spun, Failure)
    assert (spun.where, spun.kind, spun.retryable) == ("verifier", "stalled", True)
    assert "test_collect.py, line" in spun.message
    assert outcomes and all(isinstance(outcome, Score) for outcome in outcomes.values())


class Adder(Echo):
    """One tool, which adds; the gold answer has to be found by it."""

    @asynccontextmanager
    async def _session(self, task: Task):
        yield self

    def open(self, task: Task, seed: int):
        return self._session(task)

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        return str(arguments["a"] + arguments["b"])

    async def score(self, turns: Sequence[Turn]) -> Score:
        return integer(turns[-1].response, 5)


def test_the_loop_carries_out_calls_and_each_turn_keeps_what_is_new():
    calls: list[Item] = [
        FunctionCall(call_id="c1", name="add", arguments='{"a": 2, "b": 3}'),
        FunctionCall(call_id="c2", name="add", arguments="{bad"),
    ]

    def answer(request: Request) -> str | Response:
        outputs = [item for item in request.input if isinstance(item, FunctionCallOutput)]
        return outputs[0].output if outputs else Response(output=calls)

    tool = Tool(name="add", parameters={})
    task = Task(id="t", input=[Message(role="user", content="2+3")], tools=[tool])
    rollout = rolled(answer, Benchmark(environment=Adder(), repeats=1), task)
    assert rollout.outcome == Score(reward=1.0, answer="5")
    first, second = rollout.turns
    assert (first.input, second.input[0]) == (task.input, FunctionCallOutput(call_id="c1", output="5"))
    assert "not a JSON object" in second.input[1].output  # type: ignore[union-attr]
    assert len(second.input) == 2


def test_the_loop_ends_at_its_limit_of_steps():
    call = FunctionCall(call_id="c", name="add", arguments='{"a": 1, "b": 1}')
    rollout = rolled(lambda _: Response(output=[call]), Benchmark(Adder(), 1, limits=RolloutLimits(steps=3)))
    assert (rollout.stop, len(rollout.turns)) == ("steps", 3)
    assert rollout.outcome == Score(reward=0.0, answer=None)


def test_a_tool_that_raises_is_the_environments_failure():
    call = FunctionCall(call_id="c", name="add", arguments='{"a": 1}')
    outcome = rolled(lambda _: Response(output=[call]), Benchmark(environment=Adder(), repeats=1)).outcome
    assert isinstance(outcome, Failure)
    assert (outcome.where, outcome.kind) == ("environment", "tool")
    assert "the tool add raised KeyError: 'b'" in outcome.message


@pytest.mark.parametrize("arguments", ["[" * 5000, '"\\ud800"', "[1]", "null"])
def test_arguments_that_are_none_go_back_to_the_model(arguments: str):
    def answer(request: Request) -> str | Response:
        last = request.input[-1]
        if isinstance(last, FunctionCallOutput):
            return "5" if "not a JSON object" in last.output else "0"
        return Response(output=[FunctionCall(call_id="c", name="add", arguments=arguments)])

    assert rolled(answer, Benchmark(environment=Adder(), repeats=1)).outcome == Score(reward=1.0, answer="5")


def test_turns_survive_an_agent_that_crashes():
    def answer(request: Request) -> Response:
        if len(request.input) > 1:
            raise ValueError("second call")
        return Response(output=[FunctionCall(call_id="c", name="add", arguments='{"a": 1, "b": 1}')])

    rollout = rolled(answer, Benchmark(environment=Adder(), repeats=1))
    assert isinstance(rollout.outcome, Failure)
    assert len(rollout.turns) == 1

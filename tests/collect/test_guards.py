"""What comes back from foreign code is checked before it is stored; a run whose folder is removed says so."""

import asyncio
import shutil
from pathlib import Path
from typing import Any, cast

import pytest

import assay
from assay import Failure, Message, Request, Response, Score, Text
from assay.benchmark import Session
from assay.errors import NothingScored, RemoteError, StoppedEarly
from assay.fidelity.results.results import read
from assay.fidelity.results.summary import summarise
from assay.model import Model
from assay.stats.paired import difference
from assay.stats.sample import sample
from assay.types import StopReason, Task


class Says:
    async def respond(self, request: Request) -> Response:
        return Response(output=[Message(role="assistant", content=[Text(text="12")])])


class Returns:
    """An agent that asks the model once and returns what it was given."""

    def __init__(self, stop: Any) -> None:
        self._stop = stop

    async def run(self, task: Task, model: Model, session: Session) -> StopReason:
        await model.respond(Request(input=task.input))
        return cast(StopReason, self._stop)


class NeverAsks:
    async def run(self, task: Task, model: Model, session: Session) -> StopReason:
        return "completed"


class DoesNothing(NeverAsks):
    needs_model = False


class OnlyFails:
    """An agent whose every call of the model fails, and which says nothing of it."""

    async def run(self, task: Task, model: Model, session: Session) -> StopReason:
        try:
            await model.respond(Request(input=task.input))
        except Exception:
            return "completed"
        return "completed"


class Down:
    async def respond(self, request: Request) -> Response:
        raise ConnectionError("nobody listens")


def outcomes(agent: Any, model: Any = None) -> list[Any]:
    made = asyncio.run(assay.rollouts("arithmetic", model=model or Says(), agent=agent, tasks=["sums-easy-01"]))
    return [one.outcome for one in made]


@pytest.mark.parametrize("stop", [None, "failed", "done", 0], ids=str)
def test_what_an_agent_returns_is_checked(stop: Any):
    [outcome] = outcomes(Returns(stop))
    assert isinstance(outcome, Failure) and (outcome.where, outcome.kind) == ("agent", "bad_return")
    assert repr(stop) in outcome.message and "completed" in outcome.message


def test_a_run_by_a_careless_agent_can_still_be_read(tmp_path: Path):
    folder = tmp_path / "runs/careless"
    with pytest.raises(NothingScored):
        asyncio.run(assay.run("arithmetic", model=Says(), agent=Returns(None), limit=3, repeats=1, out=folder))
    assert assay.Run(folder).failures == 3
    asyncio.run(assay.run("arithmetic", model=Says(), agent=Returns("completed"), limit=3, repeats=1, out=folder))
    assert assay.Run(folder).failures == 0


@pytest.mark.parametrize(("agent", "model"), [(NeverAsks(), Says()), (OnlyFails(), Down())], ids=["never", "fails"])
def test_an_agent_that_never_had_an_answer_is_a_failure_of_the_agent(agent: Any, model: Any):
    [outcome] = outcomes(agent, model)
    assert isinstance(outcome, Failure) and (outcome.where, outcome.kind) == ("agent", "no_model_call")


def test_an_agent_that_needs_no_model_is_scored():
    assert outcomes(DoesNothing()) == [Score(reward=0.0)]


class Lost:
    """A benchmark's verifier behind a server that is down."""

    def __init__(self, error: RemoteError) -> None:
        self._error = error

    async def run(self, task: Task, model: Model, session: Session) -> StopReason:
        await model.respond(Request(input=task.input))
        raise self._error


@pytest.mark.parametrize("retryable", [True, False])
def test_a_server_that_holds_the_environment_is_a_failure_of_the_environment(retryable: bool):
    [outcome] = outcomes(Lost(RemoteError("the server is down", retryable=retryable)))
    assert outcome == Failure("environment", "remote", "the server is down", retryable)


@pytest.mark.parametrize("removed", ["folder", "file"])
def test_a_run_whose_files_are_removed_while_it_writes_says_so(tmp_path: Path, removed: str):
    folder = tmp_path / "runs/gone"

    class Removes(Says):
        asked = 0

        async def respond(self, request: Request) -> Response:
            self.asked += 1
            await asyncio.sleep(0)
            if self.asked == 4:
                if removed == "folder":
                    shutil.rmtree(folder)
                else:
                    (folder / "rollouts.jsonl").unlink()
            return await super().respond(request)

    with pytest.raises(StoppedEarly, match="was removed while the run wrote to it"):
        asyncio.run(assay.run("arithmetic", model=Removes(), limit=10, repeats=1, concurrency=1, out=folder))


def test_an_interval_of_drifting_repeats_holds_no_score_that_cannot_be(tmp_path: Path):
    class Drifts(Says):
        """Right in the first repeat and wrong in the second, as where an endpoint was changed."""

        async def respond(self, request: Request) -> Response:
            gold = GOLD[str(request.task)] if request.repeat == 0 else "no idea"
            return Response(output=[Message(role="assistant", content=[Text(text=gold)])])

    run = asyncio.run(assay.run("arithmetic", model=Drifts(), limit=40, repeats=2, out=tmp_path / "runs/drifts"))
    summary = summarise(read(run.folder))
    assert summary.dependence and summary.interval_run == (0.0, 1.0)


GOLD = {task.id: str(task.gold) for task in assay.load("arithmetic").environment.tasks()}


def test_a_difference_of_rewards_is_at_most_one():
    for candidate in ([[1.0], [0.0], [1.0]], [[1.0], [0.2], [0.0]]):
        found = difference(sample([[0.0], [1.0], [0.0]]), sample(candidate)).over_tasks
        assert -1 <= found.lower <= found.upper <= 1

"""One rollout: opens a session, runs the agent, scores. Any error becomes a Failure."""

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, SupportsFloat, get_args

from assay.agent import Agent, ProgramEnd, needs_model
from assay.agent.limits import LimitedAgent
from assay.benchmark import Benchmark, relays, session_of
from assay.collect.deadline import Deadline, StallError
from assay.collect.plan import PlannedRollout, seed_of
from assay.errors import (
    AgentError,
    ModelError,
    RemoteError,
    SandboxError,
    ToolError,
    VerifierError,
)
from assay.model import BudgetReached, Model
from assay.model.wrappers.record import Recorder
from assay.model.wrappers.role import InRole, RoleError
from assay.types import LARGEST, Failure, Program, Rollout, Score, StopReason, Turn, Where

ENDS: tuple[str, ...] = tuple(reason for reason in get_args(StopReason) if reason != "failed")
"""What an agent may return."""


class TurnRecorder(Model, Protocol):
    """The model as one rollout's agent sees it, and the turns so far."""

    turns: list[Turn]


async def roll(
    benchmark: Benchmark, agent: Agent, model: Model, item: PlannedRollout, *, deadline: Deadline | None = None
) -> Rollout:
    """Returns one rollout. Here every error becomes a Failure.

    Passing the deadline is a failure too. Raises CancelledError, and BudgetReached if the model was not called yet:
    then there is no rollout, and it stays owed.
    """
    task = item.task
    recorder = Recorder(model, sampling=benchmark.sampling, seed=item.seed, task=task.id, repeat=item.repeat)
    return await roll_with(benchmark, agent, recorder, item, deadline)


async def roll_with(
    benchmark: Benchmark, agent: Agent, recorder: TurnRecorder, item: PlannedRollout, deadline: Deadline | None = None
) -> Rollout:
    """Returns one rollout as `roll` does, with the turns that the recorder keeps."""
    started = time.monotonic()
    roles = {
        role: InRole(role, named, seed=seed_of(item.seed, role, item.repeat), task=item.task.id, repeat=item.repeat)
        for role, named in benchmark.roles.items()
    }
    stage = _Stage()
    try:
        with deadline or nullcontext():
            stop, outcome = await _play(benchmark, agent, recorder, item, roles, stage)
    except (Exception, StallError) as error:
        if isinstance(error, BudgetReached) and not recorder.turns:
            raise
        stop, outcome = "failed", _failure(error, stage.where, time.monotonic() - started, deadline)
    return Rollout(
        task=item.task.id,
        task_digest=item.task_digest,
        repeat=item.repeat,
        attempt=item.attempt,
        seed=item.seed,
        turns=recorder.turns,
        stop=stop,
        outcome=outcome,
        wall_s=round(time.monotonic() - started, 6),
        roles={role: model.turns for role, model in roles.items() if model.turns},
        program=stage.program,
    )


@dataclass(slots=True)
class _Stage:
    """What a rollout is doing, which decides whose fault an error is."""

    where: Where = "environment"
    program: Program | None = None


async def _play(
    benchmark: Benchmark,
    agent: Agent,
    recorder: TurnRecorder,
    item: PlannedRollout,
    roles: Mapping[str, InRole],
    stage: _Stage,
) -> tuple[StopReason, Score]:
    """Returns why the rollout ended and its score. Raises whatever the environment, agent or verifier raises."""
    async with session_of(benchmark.environment, item.task, item.seed, roles) as session:
        stage.where = "agent"
        model = session.relay(recorder) if relays(session) else recorder
        result = await LimitedAgent(agent, benchmark.limits).run(item.task, model, session)
        if isinstance(result, ProgramEnd):
            stage.program, result = result.program, result.stop
        stop = _check_stop(agent, result, recorder)
        stage.where = "verifier"
        score = _check_score(await session.score(recorder.turns))
        stage.where = "environment"  # what still can raise is the session's end
    return stop, score


def _failure(error: BaseException, where: Where, seconds: float, deadline: Deadline | None) -> Failure:
    """Returns the Failure for an error. `where` is what the rollout was doing when it was raised."""
    # Outside the agent, a model that failed is a judge.
    of_model: Where = "model" if where == "agent" else where
    of_environment: Where = "environment" if where == "agent" else where
    match error:
        case RoleError():
            return Failure("environment", error.kind, str(error), error.retryable)
        case ModelError():
            return Failure(of_model, error.kind, str(error), error.retryable)
        case AgentError():
            return Failure("agent", error.kind, str(error), retryable=False)
        case VerifierError():
            return Failure("verifier", error.kind, str(error), retryable=False)
        case RemoteError():
            return Failure(of_environment, "remote", str(error), error.retryable)
        case SandboxError():
            return Failure("environment", "sandbox", str(error), retryable=True)
        case ToolError():
            return Failure("environment", "tool", f"{error}{_place(error)}", retryable=False)
        case TimeoutError():
            limit = f" (deadline {deadline.seconds:g} s)" if deadline else ""
            return Failure(where, "deadline", f"{str(error) or 'no end'} within {seconds:.0f} s{limit}", retryable=True)
        case StallError():
            return Failure(where, "stalled", str(error), retryable=True)
        case _:
            return Failure(where, "exception", f"{type(error).__name__}: {error}{_place(error)}", retryable=False)


def _check_stop(agent: Agent, stop: StopReason, recorder: TurnRecorder) -> StopReason:
    """Returns the stop reason. Raises AgentError for another value, or if a model was needed and never answered."""
    if stop not in ENDS:
        message = f"the agent returned {stop!r}; expected one of {', '.join(ENDS)}"
        raise AgentError("bad_return", message)
    if not recorder.turns and needs_model(agent):
        message = "the agent ended without an answer of the model; one that needs none says needs_model = False"
        raise AgentError("no_model_call", message)
    return stop


def _check_score(score: Score) -> Score:
    """Returns the score in plain Python values, which can be read back. Raises ValueError if it is no score."""
    if not isinstance(score, Score):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"the verifier returned {score!r}; expected a Score")
    if score.answer is not None and not isinstance(score.answer, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"the verifier returned the answer {score.answer!r}; expected text or None")
    metrics = {str(name): _number(value, f"metric {name}") for name, value in score.metrics.items()}
    return Score(reward=_number(score.reward, "reward"), metrics=metrics, answer=score.answer)


def _number(value: Any, what: str) -> float:
    # True, 1 and numpy's scalars are accepted too: a verifier returns them as easily as 1.0. The check of a protocol
    # takes as long as the rest of a rollout, so plain numbers come first.
    known = isinstance(value, (float, int, SupportsFloat))  # in this order
    if not known or not abs(number := float(value)) <= LARGEST:
        expected = f"a finite number, at most {LARGEST:g} in size"
        raise ValueError(f"the verifier returned the {what} {value!r}; expected {expected}")
    return number


def _place(error: BaseException) -> str:
    """Returns the file and line where the exception was raised. Its traceback is not kept."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f" ({trace.tb_frame.f_code.co_filename.rpartition('/')[2]}, line {trace.tb_lineno})" if trace else ""

"""Collecting: a plan of (task, repeat), bounded workers, one line in the store for each rollout as soon as it ends."""

import asyncio
import hashlib
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, closing, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol, SupportsFloat, get_args

from assay.agent import Agent, needs_model
from assay.agent.limits import Limited
from assay.benchmark import Benchmark, Session
from assay.collect.deadline import Deadline, Stalled, unstalled
from assay.config import Prices
from assay.digest import task_digest
from assay.errors import (
    AgentError,
    ModelError,
    NothingScored,
    RemoteError,
    SandboxError,
    ToolError,
    VerifierError,
)
from assay.model import BudgetReached, Model
from assay.model.wrappers.record import Recorder
from assay.model.wrappers.role import InRole, RoleError
from assay.store import Shard
from assay.types import Failure, Outcome, Rollout, Score, StopReason, Task, Turn, Where

FAILURES_BEFORE_STOP = 20
"""So many failures without one score among them, and the run stops: the cause is not the tasks'."""
ENDS: tuple[str, ...] = tuple(reason for reason in get_args(StopReason) if reason != "failed")
"""What an agent may return."""
STALL_S = 300.0
"""A verifier or tool may keep all other rollouts waiting for so long."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One rollout to be made."""

    task: Task
    task_digest: str
    repeat: int
    attempt: int
    seed: int


class Sink(Protocol):
    """Where finished rollouts go: a store, or whoever passes them on to one."""

    def append(self, rollout: Rollout) -> None: ...

    def flush(self) -> None:
        """Called once for all that were appended in one turn of the event loop."""
        ...


class Recording(Model, Protocol):
    """The model as one rollout's agent sees it, and the turns that it was asked for so far."""

    turns: list[Turn]


@dataclass(slots=True)
class Tally:
    """What has happened so far in this call: what a progress line shows."""

    planned: int
    """What this call has to make."""
    before: int = 0
    """Scores that earlier calls left."""
    scored: int = 0
    failed: int = 0
    reward: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    last_failure: Failure | None = None
    prices: Prices | None = None
    role_prices: Mapping[str, Prices] = field(default_factory=dict[str, Prices])
    usd: float = 0.0
    """What the rollouts cost, their models in roles included, where the prices are known."""
    struggling: Callable[[], int] = lambda: 0
    """How many requests failed or were turned away at least once and have not been answered yet."""
    level: Callable[[], int | None] = lambda: None
    """How many requests in flight the server takes, where these are fewer than were allowed."""
    started: float = field(default_factory=time.monotonic)

    @property
    def done(self) -> int:
        return self.scored + self.failed

    def add(self, rollout: Rollout) -> None:
        if isinstance(rollout.outcome, Score):
            self.scored += 1
            self.reward += rollout.outcome.reward
        else:
            self.failed += 1
            self.last_failure = rollout.outcome
        for turn in rollout.turns:
            usage = turn.response.usage
            self.input_tokens += usage.input_tokens
            self.output_tokens += usage.output_tokens
            if self.prices:
                self.usd += self.prices.cost(usage)
        for role, prices in self.role_prices.items():
            self.usd += sum(prices.cost(turn.response.usage) for turn in rollout.roles.get(role, ()))


class Interruption:
    """Asks a collection to end: `stop` lets what is in flight finish, a second one abandons it."""

    def __init__(self) -> None:
        self.stopping = False
        self._abandon: list[Callable[[], object]] = []

    def stop(self) -> None:
        if self.stopping:
            for abandon in self._abandon:
                abandon()
        self.stopping = True

    def on_abandon(self, abandon: Callable[[], object]) -> None:
        self._abandon.append(abandon)


def seed_of(run_seed: int, task_id: str, repeat: int) -> int:
    """The seed of one rollout, 0 to 2^31 - 1: a function of these three alone, the same on every machine."""
    text = f"{run_seed}/{task_id}/{repeat}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "big") & 0x7FFFFFFF


def plan(
    tasks: Sequence[Task],
    repeats: int,
    *,
    seed: int,
    scored: set[tuple[str, int]],
    attempts: dict[tuple[str, int], int],
    shard: Shard,
) -> Iterator[Planned]:
    """What is still owed, repeat by repeat: all tasks once before any a second time, so an early look is a fair one."""
    digests = [task_digest(task) for task in tasks]
    for index, repeat in owed(tasks, repeats, scored=scored, shard=shard):
        task = tasks[index]
        attempt = attempts.get((task.id, repeat), 0)
        yield Planned(task, digests[index], repeat, attempt, seed_of(seed, task.id, repeat))


def owed(
    tasks: Sequence[Task], repeats: int, *, scored: set[tuple[str, int]], shard: Shard
) -> Iterator[tuple[int, int]]:
    """(task's index, repeat) of what a shard's plan still lacks a score for."""
    for number in range(shard.index - 1, len(tasks) * repeats, shard.count):
        repeat, index = divmod(number, len(tasks))
        if (tasks[index].id, repeat) not in scored:
            yield index, repeat


async def collect(
    benchmark: Benchmark,
    agent: Agent,
    model: Model,
    planned: Iterable[Planned],
    store: Sink,
    tally: Tally,
    *,
    concurrency: int,
    deadline_s: float = 7200.0,
    early_stop: bool = True,
    interruption: Interruption | None = None,
    more: Callable[[], Awaitable[bool]] | None = None,
) -> None:
    """Make every planned rollout and append each to the store, at most `concurrency` at once.

    Memory follows what is in flight: the plan is drawn as workers are free. Where it comes piece by piece, `more` waits
    for the next one once `planned` has ended, and returns False where there is none.
    Raises NothingScored where nothing but failures comes in, and StoppedEarly where the store's disk is full. What was
    in flight then is owed, as after a kill. A model that says that the budget is reached ends it quietly.
    """
    source = iter(planned)
    interruption = interruption or Interruption()
    fresh = asyncio.Event()

    async def write() -> None:
        # One write for all that ended in one turn of the event loop: a write a rollout costs as much as its request.
        while await fresh.wait():
            fresh.clear()
            store.flush()

    async def work() -> None:
        with closing(Deadline(deadline_s)) as deadline:
            await make(deadline)
            while more and await more():
                await make(deadline)

    async def make(deadline: Deadline) -> None:
        for item in source:
            if interruption.stopping:
                return
            try:
                rollout = await roll(benchmark, agent, model, item, deadline=deadline)
            except BudgetReached:
                fresh.set()  # who takes from the store may want to know
                return
            store.append(rollout)
            fresh.set()
            tally.add(rollout)
            if early_stop and tally.scored == 0 and tally.failed >= too_many(tally):
                raise hopeless(tally)

    try:
        with unstalled(min(deadline_s, STALL_S), within=roll_recorded.__code__):
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(write())
                workers = [group.create_task(work()) for _ in range(min(concurrency, tally.planned))]
                for worker in workers:
                    interruption.on_abandon(worker.cancel)
                if workers:
                    await asyncio.wait(workers)
                writer.cancel()
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def roll(
    benchmark: Benchmark, agent: Agent, model: Model, item: Planned, *, deadline: Deadline | None = None
) -> Rollout:
    """One rollout, whatever happens in it: the boundary at which every error becomes a Failure.

    Passing the deadline is a failure too. Cancellation passes, and BudgetReached where nothing was asked yet: then
    there is no rollout, and it stays owed.
    """
    task = item.task
    recorder = Recorder(model, sampling=benchmark.sampling, seed=item.seed, task=task.id, repeat=item.repeat)
    return await roll_recorded(benchmark, agent, recorder, item, deadline)


async def roll_recorded(
    benchmark: Benchmark, agent: Agent, recorder: Recording, item: Planned, deadline: Deadline | None = None
) -> Rollout:
    """The same, with the turns as the recorder keeps them."""
    started = time.monotonic()
    task = item.task
    roles = {
        role: InRole(role, named, seed=seed_of(item.seed, role, item.repeat), task=task.id, repeat=item.repeat)
        for role, named in benchmark.roles.items()
    }
    stop: StopReason = "failed"
    outcome: Outcome
    where: Where = "environment"
    try:
        with deadline or nullcontext():
            async with _session(benchmark, item, roles) as session:
                where = "agent"
                reached = _ended(agent, await Limited(agent, benchmark.limits).run(task, recorder, session), recorder)
                where = "verifier"
                outcome = _sound(await session.score(recorder.turns))
                where = "environment"  # what still can raise is the session's end
        stop = reached
    except BudgetReached as error:
        if not recorder.turns:
            raise
        outcome = _failure(error, where, time.monotonic() - started, deadline)
    except (Exception, Stalled) as error:
        outcome = _failure(error, where, time.monotonic() - started, deadline)
    return Rollout(
        task=task.id,
        task_digest=item.task_digest,
        repeat=item.repeat,
        attempt=item.attempt,
        seed=item.seed,
        turns=recorder.turns,
        stop=stop,
        outcome=outcome,
        wall_s=round(time.monotonic() - started, 6),
        roles={role: model.turns for role, model in roles.items() if model.turns},
    )


def _failure(error: BaseException, where: Where, seconds: float, deadline: Deadline | None) -> Failure:
    """What an error says of the rollout in which it was raised. `where` is what the rollout was doing then."""
    # Outside of the agent, what could not answer or be read is a judge.
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
        case Stalled():
            return Failure(where, "stalled", str(error), retryable=True)
        case _:
            return Failure(where, "exception", f"{type(error).__name__}: {error}{_place(error)}", retryable=False)


def _ended(agent: Agent, stop: StopReason, recorder: Recording) -> StopReason:
    """Why the rollout ended, as the agent says. Raises AgentError for what an agent may not return or leave out."""
    if stop not in ENDS:
        message = f"the agent returned {stop!r}; expected one of {', '.join(ENDS)}"
        raise AgentError("bad_return", message)
    if not recorder.turns and needs_model(agent):
        message = "the agent ended without an answer of the model; one that needs none says needs_model = False"
        raise AgentError("no_model_call", message)
    return stop


def _session(benchmark: Benchmark, item: Planned, roles: Mapping[str, InRole]) -> AbstractAsyncContextManager[Session]:
    environment = benchmark.environment
    return environment.open_with(item.task, item.seed, roles) if roles else environment.open(item.task, item.seed)


def _sound(score: Score) -> Score:
    """The score as plain Python values, so that what is written can be read. Raises ValueError for what is no score."""
    if not isinstance(score, Score):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"the verifier returned {score!r}; expected a Score")
    if score.answer is not None and not isinstance(score.answer, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"the verifier returned the answer {score.answer!r}; expected text or None")
    metrics = {str(name): _number(value, f"metric {name}") for name, value in score.metrics.items()}
    return Score(reward=_number(score.reward, "reward"), metrics=metrics, answer=score.answer)


def _number(value: Any, what: str) -> float:
    # True, 1 and numpy's scalars are taken too: a verifier returns them as easily as 1.0. The check of a protocol is
    # as slow as the rest of a rollout, so plain numbers go past it.
    known = isinstance(value, (float, int, SupportsFloat))  # in this order
    if not known or not math.isfinite(number := float(value)):
        raise ValueError(f"the verifier returned the {what} {value!r}; expected a finite number")
    return number


def too_many(tally: Tally) -> int:
    """So many failures without one score, and the run stops."""
    return FAILURES_BEFORE_STOP if tally.before else min(FAILURES_BEFORE_STOP, tally.planned)


def hopeless(tally: Tally) -> NothingScored:
    """What is told then."""
    last = tally.last_failure
    assert last is not None
    how = "give the same command again to go on" if last.where == "model" else "start afresh, with another --out"
    return NothingScored(
        f"all of the first {tally.failed} rollouts failed, the last in the {last.where}: {last.kind}: {last.message}\n"
        f"  Mend the cause and {how}; or insist with --no-early-stop."
    )


def _place(error: BaseException) -> str:
    """Where the exception was raised, since its traceback is not kept."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f" ({trace.tb_frame.f_code.co_filename.rpartition('/')[2]}, line {trace.tb_lineno})" if trace else ""

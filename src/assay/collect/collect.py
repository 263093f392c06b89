"""Collecting: makes the rollouts of a plan, several at once, and stores each as soon as it ends."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from assay.agent import Agent
from assay.benchmark import Benchmark
from assay.collect.deadline import Deadline, stall_alarm
from assay.collect.plan import PlannedRollout
from assay.collect.roll import roll, roll_with
from assay.config import FROM_TASKS, Prices
from assay.errors import NothingScored
from assay.model import BudgetReached, Model
from assay.model.dialects import thinking
from assay.types import Failure, FunctionCall, Item, Message, Rollout, Score

FAILURES_BEFORE_STOP = 20
"""The run stops after this many failures without one score: the cause is not in the tasks."""
MANY_EMPTY, NEARLY_ALL = 10, 0.9
"""The user is warned where at least this many answers, and this share of all, are empty."""
STALL_S = 300.0
"""Seconds for which a verifier or tool may keep all other rollouts waiting."""


class Sink(Protocol):
    """Where finished rollouts go, such as a store."""

    def append(self, rollout: Rollout) -> None: ...

    def flush(self) -> None:
        """Called once after all that were appended in one turn of the event loop."""
        ...


@dataclass(slots=True)
class Tally:
    """The counts of a collection so far: what a progress line shows."""

    planned: int
    """Rollouts to make."""
    before: int = 0
    """Scores from earlier commands."""
    scored: int = 0
    failed: int = 0
    reward: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    empty: int = 0
    """Scored rollouts in which the model's last answer has no text and no call."""
    marked: int = 0
    """Answers that hold a mark of thinking, such as `</think>`."""
    mark: str | None = None
    """The last of these marks."""
    last_failure: Failure | None = None
    prices: Prices | None = None
    role_prices: Mapping[str, Prices] = field(default_factory=dict[str, Prices])
    usd: float = 0.0
    """The cost of the rollouts, with that of models in roles, where prices are known."""
    retrying: Callable[[], int] = lambda: 0
    """Returns how many requests failed or were refused at least once and have no answer yet."""
    level: Callable[[], int | None] = lambda: None
    """Returns how many requests in flight the server accepts, if these are fewer than the limit; else None."""
    started: float = field(default_factory=time.monotonic)
    ended: bool = False
    """Whether the collection has ended."""

    @property
    def done(self) -> int:
        return self.scored + self.failed

    def add(self, rollout: Rollout) -> None:
        if isinstance(rollout.outcome, Score):
            self.scored += 1
            self.reward += rollout.outcome.reward
            self._look_at_answer(rollout)
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

    def _look_at_answer(self, rollout: Rollout) -> None:
        if not rollout.turns:
            return
        response = rollout.turns[-1].response
        text = response.text
        if not text.strip():
            said_more = any(isinstance(item, FunctionCall) or _refuses(item) for item in response.output)
            self.empty += response.status == "completed" and not said_more
        elif mark := thinking.leftover(text):
            self.marked += 1
            self.mark = mark

    @property
    def mostly_empty(self) -> bool:
        """Whether nearly all answers are empty, so that the server may have lost their text."""
        return self.empty >= max(1, min(MANY_EMPTY, self.planned), NEARLY_ALL * self.scored)

    def warnings(self, model: str) -> Iterator[str]:
        """Yields warnings about the model's server that the answers give reason for. `model` is the model's name."""
        if self.mostly_empty and model not in FROM_TASKS:
            yield (
                f"{self.empty:,} of {self.scored:,} answers are empty, though the server calls them complete. It may "
                "lose what the model says, as a wrong reasoning parser does; see what `assay ping` says"
            )
        if self.marked:
            yield (
                f"{self.marked:,} of {self.scored:,} answers hold marks of thinking, such as {self.mark}; "
                f"{thinking.REMEDY}"
            )


def _refuses(item: Item) -> bool:
    return isinstance(item, Message) and bool(item.refusals)


class Interruption:
    """Asks a collection to end: after one `stop` rollouts in flight still finish, a second one abandons them."""

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


async def collect(
    benchmark: Benchmark,
    agent: Agent,
    model: Model,
    planned: Iterable[PlannedRollout],
    store: Sink,
    tally: Tally,
    *,
    concurrency: int,
    deadline_s: float = 7200.0,
    early_stop: bool = True,
    interruption: Interruption | None = None,
    more: Callable[[], Awaitable[bool]] | None = None,
    places: asyncio.Semaphore | None = None,
) -> None:
    """Makes every planned rollout and appends each to the store, at most `concurrency` at once.

    `places` are shared by several collections: each rollout takes one. Their owner then sets the alarm against stalls.
    The plan is read only as far as rollouts begin, so memory follows what is in flight. If it comes in pieces, `more`
    waits for the next piece once `planned` has ended, and returns False if there is none.
    Raises NothingScored if nothing but failures comes in, and StoppedEarly if the store's disk is full. What was in
    flight then is owed, as after a kill. It returns early when the model raises BudgetReached.
    """
    source = iter(planned)
    interruption = interruption or Interruption()
    fresh = asyncio.Event()
    watched = nullcontext() if places else rollout_stall_alarm(deadline_s)
    places = places or asyncio.Semaphore(concurrency)

    async def write() -> None:
        # One write for all that ended in one turn of the event loop: a write for each costs as much as its request.
        while await fresh.wait():
            fresh.clear()
            store.flush()

    async def work() -> None:
        with closing(Deadline(deadline_s)) as deadline:
            await make(deadline)
            while more and await more():
                await make(deadline)

    async def make(deadline: Deadline) -> None:
        while True:
            async with places:
                if interruption.stopping or (item := next(source, None)) is None:
                    return
                try:
                    rollout = await roll(benchmark, agent, model, item, deadline=deadline)
                except BudgetReached:
                    fresh.set()  # a worker's outbox closes its queue when the budget is reached
                    return
                store.append(rollout)
                fresh.set()
                tally.add(rollout)
            if early_stop and tally.scored == 0 and tally.failed >= failures_to_stop(tally):
                raise nothing_scored_error(tally)

    with watched:
        await _work_together(work, min(concurrency, tally.planned), write(), interruption)


def rollout_stall_alarm(deadline_s: float) -> AbstractContextManager[None]:
    """Returns a context that interrupts a verifier or tool that blocks the event loop. One at a time in a process."""
    return stall_alarm(min(deadline_s, STALL_S), within=roll_with.__code__)


async def _work_together(
    work: Callable[[], Coroutine[None, None, None]],
    count: int,
    write: Coroutine[None, None, None],
    interruption: Interruption,
) -> None:
    """Runs `count` coroutines to their end beside the writer. Raises the first error of any of them."""
    try:
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(write)
            workers = [group.create_task(work()) for _ in range(count)]
            for worker in workers:
                interruption.on_abandon(worker.cancel)
            if workers:
                await asyncio.wait(workers)
            writer.cancel()
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


def failures_to_stop(tally: Tally) -> int:
    """Returns after how many failures without one score the run stops."""
    return FAILURES_BEFORE_STOP if tally.before else min(FAILURES_BEFORE_STOP, tally.planned)


def nothing_scored_error(tally: Tally) -> NothingScored:
    """Returns the error of a run in which nothing but failures came in."""
    last = tally.last_failure
    assert last is not None
    how = "give the same command again to go on" if last.where == "model" else "start afresh, with another --out"
    return NothingScored(
        f"all of the first {tally.failed} rollouts failed, the last in the {last.where}: {last.kind}: {last.message}\n"
        f"  Mend the cause and {how}; or insist with --no-early-stop."
    )

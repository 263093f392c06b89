"""Collecting: a plan of (task, repeat), bounded workers, one line in the store for each rollout as soon as it ends."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from assay.agent import Agent
from assay.benchmark import Benchmark
from assay.collect.deadline import Deadline, unstalled
from assay.collect.plan import Planned
from assay.collect.roll import roll, roll_recorded
from assay.config import FROM_TASKS, Prices
from assay.errors import NothingScored
from assay.model import BudgetReached, Model
from assay.model.dialects import thinking
from assay.types import Failure, FunctionCall, Item, Message, Rollout, Score

FAILURES_BEFORE_STOP = 20
"""So many failures without one score among them, and the run stops: the cause is not the tasks'."""
MANY_EMPTY, NEARLY_ALL = 10, 0.9
"""Answers without a word: so many, and this share of all, and it is said."""
STALL_S = 300.0
"""A verifier or tool may keep all other rollouts waiting for so long."""


class Sink(Protocol):
    """Where finished rollouts go: a store, or whoever passes them on to one."""

    def append(self, rollout: Rollout) -> None: ...

    def flush(self) -> None:
        """Called once for all that were appended in one turn of the event loop."""
        ...


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
    empty: int = 0
    """How many were scored though the model ended its turn without a word and without a call."""
    marked: int = 0
    """How many answers hold a mark of thinking, such as `</think>`."""
    mark: str | None = None
    """The last of these marks."""
    last_failure: Failure | None = None
    prices: Prices | None = None
    role_prices: Mapping[str, Prices] = field(default_factory=dict[str, Prices])
    usd: float = 0.0
    """What the rollouts cost, their models in roles included, where the prices are known."""
    retrying: Callable[[], int] = lambda: 0
    """How many requests failed or were turned away at least once and have not been answered yet."""
    level: Callable[[], int | None] = lambda: None
    """How many requests in flight the server takes, where these are fewer than were allowed."""
    started: float = field(default_factory=time.monotonic)
    ended: bool = False
    """Whether nothing more is made."""

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
        """Whether nearly all answers say nothing: the server may drop them, rather than the model."""
        return self.empty >= max(1, min(MANY_EMPTY, self.planned), NEARLY_ALL * self.scored)

    def warnings(self, model: str) -> Iterator[str]:
        """Yields what the answers of a model, by its name, show of its server that scores do not."""
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
    places: asyncio.Semaphore | None = None,
) -> None:
    """Make every planned rollout and append each to the store, at most `concurrency` at once.

    `places` are those of several collections together: each rollout takes one, and who makes them looks after stalls.
    Memory follows what is in flight: the plan is drawn as workers are free. Where it comes piece by piece, `more` waits
    for the next one once `planned` has ended, and returns False where there is none.
    Raises NothingScored where nothing but failures comes in, and StoppedEarly where the store's disk is full. What was
    in flight then is owed, as after a kill. A model that says that the budget is reached ends it quietly.
    """
    source = iter(planned)
    interruption = interruption or Interruption()
    fresh = asyncio.Event()
    watched = nullcontext() if places else unstalled_rollouts(deadline_s)
    places = places or asyncio.Semaphore(concurrency)

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
        while True:
            async with places:
                if interruption.stopping or (item := next(source, None)) is None:
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

    with watched:
        await _work_together(work, min(concurrency, tally.planned), write(), interruption)


def unstalled_rollouts(deadline_s: float) -> AbstractContextManager[None]:
    """Returns what ends a verifier or tool that keeps all rollouts waiting: one at a time in a process."""
    return unstalled(min(deadline_s, STALL_S), within=roll_recorded.__code__)


async def _work_together(
    work: Callable[[], Coroutine[None, None, None]],
    count: int,
    write: Coroutine[None, None, None],
    interruption: Interruption,
) -> None:
    """Run `count` workers to their end beside the writer. Raises the first error of any of them."""
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

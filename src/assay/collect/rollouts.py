"""The service of a run's workers: makes the rollouts that the head hands out, and keeps them until the head takes them.

If rollouts end faster than a message goes to the head and back, a worker holds more than may be in flight: twice what
ended since the last message. So its requests never wait for the head, and long rollouts are handed out as late as
possible.
"""

import asyncio
import os
import sys
from collections import deque
from collections.abc import Coroutine, Iterator
from contextlib import suppress

import msgspec
from msgspec import Struct, structs

from assay.collect.collect import Interruption, Tally, collect
from assay.collect.plan import PlannedRollout, seed_of
from assay.collect.request import RunRequest
from assay.collect.run import OpenRun, RunPlan, open_run
from assay.collect.workers import plain
from assay.digest import task_digest
from assay.model.wrappers.budget import Budget
from assay.store import Lines, RunRecord
from assay.types import Failure, Rollout

BEAT_S = 1.0
"""Seconds within which a worker answers."""
GATHER_S = 0.1
"""Seconds for which finished rollouts wait for others. They don't wait if the worker has nothing to begin."""
ENOUGH = 256
"""This many finished rollouts don't wait for others."""
BATCH_BYTES = 2**20
"""A longer batch is sent in pieces, so that the head holds no more of one worker. One rollout may be longer."""


class Begin(Struct, frozen=True, array_like=True):
    """The first message to a worker."""

    run: RunRequest
    tokens: int | None
    """The most tokens that the worker may spend."""
    usd: float | None
    """The most US dollars that the worker may spend."""
    variables: dict[str, str]
    """Environment variables, with the models' keys."""


class Report(Struct, frozen=True):
    """A worker's tally so far."""

    scored: int = 0
    failed: int = 0
    reward: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0
    empty: int = 0
    marked: int = 0
    mark: str | None = None
    last_failure: Failure | None = None
    retrying: int = 0
    level: int | None = None
    spent_tokens: int = 0
    """Spent of the worker's budget, as `spent_usd`."""
    spent_usd: float = 0.0


class Work(Struct, frozen=True, array_like=True):
    """A slice that the head hands out."""

    numbers: list[tuple[int, int]]
    """(number in the plan, attempt)."""
    stopping: bool = False
    """Whether to begin no more, and to give back what has not begun."""


class Batch(Struct, frozen=True, array_like=True):
    """Finished rollouts on their way to the head."""

    lines: bytes
    numbers: list[int]
    """The number in the plan of each line."""
    report: Report
    """The worker's tally up to these rollouts."""
    unmade: list[int] = []
    """The numbers that the worker gives back."""
    ended: bool = False
    """Whether the worker makes no more: its share of the budget is spent, or its process was asked to stop."""
    stopped: bool = False
    """Whether the worker's process was asked to stop."""


class Queue(Iterator[PlannedRollout]):
    """The rollouts that a worker has to make, as they arrive."""

    def __init__(self) -> None:
        self._items: deque[PlannedRollout] = deque()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.closed = False

    @property
    def idle(self) -> int:
        """How many more rollouts could be in flight."""
        return len(self._waiting)

    def __next__(self) -> PlannedRollout:
        if not self._items or self.closed:
            raise StopIteration
        return self._items.popleft()

    def add(self, item: PlannedRollout) -> None:
        self._items.append(item)
        self._wake(1)

    def close(self) -> None:
        """Ends the queue: no more begins."""
        self.closed = True
        self._wake(self.idle)

    def clear(self) -> list[PlannedRollout]:
        """Removes and returns the rollouts that have not begun."""
        left, self._items = list(self._items), deque()
        return left

    async def more(self) -> bool:
        """Waits until there is a rollout to make. Returns False once the queue is closed."""
        while not self._items and not self.closed:
            self._waiting.append(waiting := asyncio.get_running_loop().create_future())
            await waiting
        return not self.closed

    def _wake(self, count: int) -> None:
        while count and self._waiting:
            if not (waiting := self._waiting.popleft()).done():
                waiting.set_result(None)
                count -= 1


class Outbox(Lines):
    """Finished rollouts, in batches."""

    def __init__(self, tally: Tally, budget: Budget | None, queue: Queue) -> None:
        super().__init__()
        self._tally = tally
        self._budget = budget
        self._queue = queue
        self._numbers: list[int] = []
        self._sealed: deque[Batch] = deque()
        self._some, self._enough = asyncio.Event(), asyncio.Event()
        self.open: dict[tuple[str, int], int] = {}
        """The numbers of the rollouts that were handed out and have not ended, by task and repeat."""

    def append(self, rollout: Rollout) -> None:
        # The tally has what was appended before, but not this one yet.
        if self.size >= BATCH_BYTES:
            self._seal()
        self._numbers.append(self.open.pop(rollout.key))
        super().append(rollout)

    def flush(self) -> None:
        """Wakes whoever waits in `take`."""
        if self._budget and self._budget.reached:
            self._queue.close()
        self._some.set()
        if self._sealed or self._queue.idle or self._queue.closed or len(self._numbers) >= ENOUGH:
            self._enough.set()

    @property
    def empty(self) -> bool:
        return not self._sealed and not self._numbers

    def end(self, *_: object) -> None:
        """Ends every wait in `take`: no more rollouts come."""
        self._some.set()
        self._enough.set()

    async def take(self) -> Batch:
        """Returns the next batch once it is large or old enough; an empty one if nothing finished for BEAT_S."""
        with suppress(TimeoutError):
            async with asyncio.timeout(BEAT_S):
                await self._some.wait()
            async with asyncio.timeout(GATHER_S):
                await self._enough.wait()
        if not self._sealed:
            self._seal()
        batch = self._sealed.popleft()
        if self.empty:
            self._some.clear()
            self._enough.clear()
        return batch

    def _seal(self) -> None:
        self._sealed.append(Batch(bytes(self.drain()), self._numbers, _report(self._tally, self._budget)))
        self._numbers = []


class Rollouts:
    """The service: one run's rollouts."""

    def __init__(self) -> None:
        self._queue = Queue()
        self._interruption = Interruption()
        self._closing = asyncio.Event()
        self._life: asyncio.Task[None] | None = None
        self._stopped = False

    async def begin(self, request: bytes) -> bytes:
        """Opens all that rollouts need. Returns the RunRecord that this worker would write: all have to be equal."""
        asked = msgspec.msgpack.decode(request, type=Begin)
        os.environ.update(asked.variables)
        ready: asyncio.Future[RunRecord] = asyncio.get_running_loop().create_future()
        self._life = asyncio.create_task(self._live(asked, ready))
        return msgspec.msgpack.encode(await ready)

    async def exchange(self, work: bytes) -> bytes:
        """Takes an encoded Work. Returns an encoded Batch."""
        asked, outbox = msgspec.msgpack.decode(work, type=Work), self._outbox
        for number, attempt in asked.numbers:
            item = self._planned(number, attempt)
            outbox.open[item.task.id, item.repeat] = number
            self._queue.add(item)
        unmade: list[int] = []
        if asked.stopping:
            unmade += [outbox.open.pop((item.task.id, item.repeat)) for item in self._queue.clear()]
        if self._making.done():
            self._making.result()  # raises its error
            outbox.end()
        batch = await outbox.take()
        if ended := self._making.done() and outbox.empty:
            unmade += outbox.open.values()
            outbox.open.clear()
        return msgspec.msgpack.encode(structs.replace(batch, unmade=unmade, ended=ended, stopped=self._stopped))

    async def close(self) -> None:
        self._closing.set()
        if self._life:
            if not self._ready.done():
                self._life.cancel()
            await asyncio.wait((self._life,))

    def stop(self) -> None:
        self._stopped = True
        self._queue.close()

    async def _live(self, asked: Begin, ready: "asyncio.Future[RunRecord]") -> None:
        self._ready = ready
        try:
            limited = asked.tokens is not None or asked.usd is not None
            budget = Budget(tokens=asked.tokens, usd=asked.usd) if limited else None
            plan = RunPlan(request=asked.run, benchmark=asked.run.benchmark.load(), budget=budget)
            async with open_run(plan) as made:
                self._making = asyncio.create_task(self._make(made, budget))
                self._making.add_done_callback(self._outbox.end)
                ready.set_result(made.record)
                await self._closing.wait()
                self._interruption.stop()
                self._interruption.stop()
                await asyncio.wait((self._making,))
        except Exception as error:
            if ready.done():
                raise
            ready.set_exception(error)

    def _make(self, ready: OpenRun, budget: Budget | None) -> Coroutine[None, None, None]:
        request, tally = ready.request, ready.tally(sys.maxsize)
        self._seed, self._tasks = request.seed, ready.tasks
        self._digests = [task_digest(task) for task in ready.tasks]
        self._outbox = Outbox(tally, budget, self._queue)
        return collect(
            ready.benchmark,
            ready.agent,
            ready.model,
            self._queue,
            self._outbox,
            tally,
            concurrency=request.concurrency,
            deadline_s=request.server.deadline_s,
            early_stop=False,  # the head decides that
            interruption=self._interruption,
            more=self._queue.more,
        )

    def _planned(self, number: int, attempt: int) -> PlannedRollout:
        repeat, index = divmod(number, len(self._tasks))
        task = self._tasks[index]
        return PlannedRollout(task, self._digests[index], repeat, attempt, seed_of(self._seed, task.id, repeat))


def _report(tally: Tally, budget: Budget | None) -> Report:
    """Returns the report of a tally."""
    failure = tally.last_failure
    return Report(
        scored=tally.scored,
        failed=tally.failed,
        reward=tally.reward,
        input_tokens=tally.input_tokens,
        output_tokens=tally.output_tokens,
        usd=tally.usd,
        empty=tally.empty,
        marked=tally.marked,
        mark=tally.mark,
        last_failure=failure and structs.replace(failure, message=plain(failure.message)),
        retrying=tally.retrying(),
        level=tally.level(),
        spent_tokens=budget.tokens if budget else 0,
        spent_usd=budget.usd if budget else 0.0,
    )

"""One actor: rollouts in flight on a node, and the finished ones until the head takes them."""

import asyncio
import os
import socket
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from contextvars import copy_context
from typing import NamedTuple

import msgspec
from msgspec import Struct

from assay.agent.loop import ToolLoop
from assay.collect.collect import Planned, Tally, collect, seed_of
from assay.collect.parts import Part, plan_of, report_of
from assay.collect.run import Ready, RunPlan, opened
from assay.digest import task_digest
from assay.errors import AssayError
from assay.model.wrappers.budget import Budget
from assay.sandbox import PLACE
from assay.store import Lines, RunRecord
from assay.types import Rollout

BEAT_S = 1.0
"""An actor says at least so often how it goes."""
GATHER_S = 0.1
"""Finished rollouts wait for others so long at most."""
ENOUGH = 256
"""So many wait for no others."""
BATCH_BYTES = 2**20
"""A batch that is longer is sent as several, so that the head never holds more of one actor; a rollout alone may be."""


class Batch(NamedTuple):
    """Finished rollouts on their way to the head."""

    lines: bytes
    numbers: list[int]
    """In the plan, a line each."""
    report: bytes
    """The actor's tally with these, and no more."""
    unmade: list[int]
    """What it won't make, for its share of the budget is spent."""


class Began(Struct, frozen=True, tag=True):
    """An actor is ready."""

    node: str
    record: RunRecord
    """What it would write of the run: all actors' have to be alike."""


class Unfit(Struct, frozen=True, tag=True):
    """No rollouts of the run can be made on a node."""

    node: str
    why: str


class Outbox(Lines):
    """Finished rollouts, in batches."""

    def __init__(self, tally: Tally, budget: Budget | None, enough: int) -> None:
        super().__init__()
        self._tally = tally
        self._budget = budget
        self._enough_count = enough
        self._numbers: list[int] = []
        self._unmade: list[int] = []
        self._sealed: deque[Batch] = deque()
        self._some, self._enough = asyncio.Event(), asyncio.Event()
        self.open: dict[tuple[str, int], int] = {}
        """The numbers of what is in flight, by task and repeat."""

    def append(self, rollout: Rollout) -> None:
        # The tally has what was appended before, but not this one yet.
        if self.size >= BATCH_BYTES:
            self._seal()
        self._numbers.append(self.open.pop(rollout.key))
        super().append(rollout)

    def leave(self, keys: Sequence[tuple[str, int]]) -> None:
        """A slice has ended: what of it was not made won't be."""
        self._unmade += [self.open.pop(key) for key in keys if key in self.open]
        self.flush()

    def flush(self) -> None:
        """Tell who waits that there is more."""
        if self._numbers or self._unmade:
            self._some.set()
        if self._sealed or self._unmade or not self.open or len(self._numbers) >= self._enough_count:
            self._some.set()
            self._enough.set()

    async def take(self) -> Batch:
        """The next batch, once there is enough of it or it has waited; empty where nothing has finished for a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(BEAT_S):
                await self._some.wait()
            async with asyncio.timeout(GATHER_S):
                await self._enough.wait()
        if not self._sealed:
            self._seal()
        batch = self._sealed.popleft()
        if not self._sealed and not self._numbers:
            self._some.clear()
            self._enough.clear()
        return batch

    def _seal(self) -> None:
        report = msgspec.json.encode(report_of(self._tally, self._budget))
        self._sealed.append(Batch(bytes(self.drain()), self._numbers, report, self._unmade))
        self._numbers, self._unmade = [], []


class Actor:
    """What Ray runs on a node. The head alone speaks to it."""

    async def begin(self, part: bytes, secrets: dict[str, str]) -> bytes:
        """Open all that rollouts need. Gives back a Began, or an Unfit, as JSON.

        Secrets come in a message: what an actor is made with is kept by the cluster.
        """
        os.environ.update(secrets)
        asked = msgspec.json.decode(part, type=Part)
        context = copy_context()
        context.run(PLACE.set, asked.place)
        ready: asyncio.Future[Began | Unfit] = asyncio.get_running_loop().create_future()
        self._closing = asyncio.Event()
        self._context = context
        self._life = asyncio.get_running_loop().create_task(self._live(asked, ready), context=context)
        return msgspec.json.encode(await ready)

    async def exchange(self, slice: list[tuple[int, int]]) -> Batch:
        """Begin these (number, attempt), and wait for a batch."""
        if slice:
            planned = [self._planned(number, attempt) for number, attempt in slice]
            keys = [(item.task.id, item.repeat) for item in planned]
            self._outbox.open.update(zip(keys, (number for number, _ in slice), strict=True))
            task = asyncio.get_running_loop().create_task(self._make(planned, keys), context=self._context)
            self._slices.add(task)
        batch = await self._outbox.take()
        for task in [task for task in self._slices if task.done()]:
            self._slices.discard(task)
            task.result()  # raises what broke it
        return batch

    async def close(self) -> None:
        """Give back what was opened."""
        self._closing.set()
        await self._life

    async def _live(self, part: Part, ready: "asyncio.Future[Began | Unfit]") -> None:
        try:
            budget = part.budget()
            asked = plan_of(part, budget)
            async with opened(asked) as made:
                self._begin(asked, made, budget)
                ready.set_result(Began(socket.gethostname(), made.record))
                await self._closing.wait()
        except AssayError as error:
            ready.set_result(Unfit(socket.gethostname(), str(error)))
        except Exception as error:
            if ready.done():
                raise
            ready.set_exception(error)

    def _begin(self, asked: RunPlan, ready: Ready, budget: Budget | None) -> None:
        model = ready.model
        self._asked, self._ready = asked, ready
        self._digests = [task_digest(task) for task in ready.tasks]
        self._slices: set[asyncio.Task[None]] = set()
        self._tally = Tally(
            planned=sys.maxsize,
            prices=asked.server.prices,
            role_prices={role: config.prices for role, config in asked.roles.items() if config.prices},
            struggling=lambda: model.struggling,
            level=lambda: model.level,
        )
        self._outbox = Outbox(self._tally, budget, max(1, min(ENOUGH, asked.concurrency // 4)))

    def _planned(self, number: int, attempt: int) -> Planned:
        repeat, index = divmod(number, len(self._ready.tasks))
        task = self._ready.tasks[index]
        return Planned(task, self._digests[index], repeat, attempt, seed_of(self._asked.seed, task.id, repeat))

    async def _make(self, planned: list[Planned], keys: list[tuple[str, int]]) -> None:
        """A slice: all of it at once, for the head hands out no more than may be in flight."""
        try:
            await collect(
                self._ready.benchmark,
                ToolLoop(),
                self._ready.model,
                planned,
                self._outbox,
                self._tally,
                concurrency=len(planned),
                deadline_s=self._asked.server.deadline_s,
                early_stop=False,
            )
        finally:
            self._outbox.leave(keys)

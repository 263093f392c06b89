"""Retracing of rollouts in this process, or in others if verifiers compute rather than wait."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec
from msgspec import Struct

from assay.benchmark import Benchmark
from assay.benchmark.catalog import BenchmarkRequest
from assay.collect.workers import LostWorker, Worker
from assay.collect.workers.process import Processes
from assay.errors import StoppedEarly
from assay.fidelity.rescore.retrace import retrace, with_run_limits
from assay.store import RunRecord
from assay.types import Rollout, Task

SERVICE = "assay.fidelity.rescore.retracers:Retracing"
TRIES = 2
"""A rollout is owed if its process dies this many times while it is alone there."""
Retraced = Rollout | str
"""A rollout with today's outcome, or why it has none."""
Retracer = Callable[[Sequence[Rollout]], Awaitable[list[Retraced]]]


class Work(Struct, frozen=True):
    """What retracing needs beside the benchmark's own code."""

    benchmark: BenchmarkRequest
    record: RunRecord
    """The run's."""
    tasks: list[Task]
    """Today's."""
    remembered: list[str]
    """The roles whose recorded answers are used."""


def here(benchmark: Benchmark, work: Work) -> Retracer:
    """Returns a function that retraces rollouts in this process."""
    tasks = {task.id: task for task in work.tasks}

    async def go(made: Sequence[Rollout]) -> list[Retraced]:
        begun = [retrace(benchmark, tasks[one.task], one, work.remembered) for one in made]
        # A single one gets no asyncio task, so that it is written before the next verifier starts.
        return [await begun[0]] if len(begun) == 1 else await asyncio.gather(*begun)

    return go


class Retracing:
    """The service that retraces rollouts in its process."""

    async def begin(self, request: bytes) -> bytes:
        work = msgspec.msgpack.decode(request, type=Work)
        benchmark = with_run_limits(work.benchmark.load(), work.record)
        await benchmark.environment.ready()
        self._retracer = here(benchmark, work)
        return b""

    async def exchange(self, work: bytes) -> bytes:
        return msgspec.msgpack.encode(await self._retracer(msgspec.msgpack.decode(work, type=list[Rollout])))

    async def close(self) -> None:
        return None

    def stop(self) -> None:
        """Does nothing: SIGTERM reaches all processes of a job, and the process that writes reacts to it."""


async def _begin(worker: Worker, request: bytes) -> None:
    try:
        await worker.begin(request)
    except LostWorker as error:
        raise StoppedEarly(f"a process that rescores died before it began: {error}") from None


@asynccontextmanager
async def elsewhere(count: int, work: Work) -> AsyncGenerator[Retracer]:
    """Yields a function that retraces rollouts in `count` other processes, which end with this one.

    A process that dies is replaced. Its rollouts are tried again in halves, until the one that kills processes is
    found, which is then owed.
    """
    request = msgspec.msgpack.encode(work)
    processes = Processes(count)
    running: set[Worker] = set()
    free: asyncio.Queue[Worker | None] = asyncio.Queue()
    for _ in range(count):
        free.put_nowait(None)  # started when it is needed

    async def send(made: Sequence[Rollout]) -> list[Retraced]:
        worker = await free.get()
        lost = False
        try:
            if worker is None:
                running.add(worker := processes.start(SERVICE))
                await _begin(worker, request)
            return msgspec.msgpack.decode(await worker.exchange(msgspec.msgpack.encode(made)), type=list[Retraced])
        except (LostWorker, asyncio.CancelledError):
            lost = True
            raise
        finally:
            free.put_nowait(None if lost else worker)

    async def go(made: Sequence[Rollout]) -> list[Retraced]:
        for left in reversed(range(TRIES if len(made) == 1 else 1)):
            try:
                return await send(made)
            except LostWorker as error:
                if len(made) == 1 and not left:
                    return [f"the process that rescored it died {TRIES} times: {error}"]
        half = len(made) // 2
        return [*await go(made[:half]), *await go(made[half:])]

    try:
        yield go
    finally:
        for worker in running:
            await worker.end()

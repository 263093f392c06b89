"""Rollouts gone through again here, or in other processes where verifiers compute rather than wait."""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process

import msgspec
import uvloop
from msgspec import Struct

from assay.benchmark import Benchmark
from assay.benchmark.catalog import load
from assay.errors import StoppedEarly
from assay.fidelity.rescore.retrace import as_run, retrace
from assay.sandbox import PLACE, Place
from assay.store import RunRecord
from assay.types import Rollout, Task

Found = Rollout | str
"""A rollout with today's outcome, or why it has none."""
Retracer = Callable[[Sequence[Rollout]], Awaitable[list[Found]]]


class Work(Struct, frozen=True):
    """What going through rollouts again rests on beside the benchmark's own code."""

    source: str
    """How the benchmark is named."""
    record: RunRecord
    """The run's."""
    tasks: list[Task]
    """Today's."""
    remembered: list[str]
    """The roles whose recorded answers may stand."""
    place: Place | None
    """Where sandboxes are opened."""


def here(benchmark: Benchmark, work: Work) -> Retracer:
    """Goes through rollouts in this process."""
    tasks = {task.id: task for task in work.tasks}

    async def go(made: Sequence[Rollout]) -> list[Found]:
        begun = [retrace(benchmark, tasks[one.task], one, work.remembered) for one in made]
        # One alone is no task of its own, so that it is written before the next one's verifier takes the processor.
        return [await begun[0]] if len(begun) == 1 else await asyncio.gather(*begun)

    return go


@contextlib.asynccontextmanager
async def elsewhere(count: int, work: Work) -> AsyncGenerator[Retracer]:
    """Goes through rollouts in so many other processes, which end with this one, however it ends."""
    loop = asyncio.get_running_loop()
    start = msgspec.msgpack.encode(work)
    pool = ProcessPoolExecutor(count, get_context("spawn"), _start, (start,))

    async def go(made: Sequence[Rollout]) -> list[Found]:
        try:
            found = await loop.run_in_executor(pool, _go, msgspec.msgpack.encode(made))
        except BrokenProcessPool:
            raise StoppedEarly(
                "a process that rescores ended by itself; what it wrote to the terminal says why.\n"
                "  The same command goes on from here, with fewer --processes where memory ran out."
            ) from None
        return msgspec.msgpack.decode(found, type=list[Found])

    try:
        yield go
    finally:
        pool.shutdown(cancel_futures=True)


_mine: list[tuple["asyncio.Runner", Retracer]] = []
"""In a process of `elsewhere`: its event loop, which outlives a batch as what benchmarks open on it does."""


def _start(data: bytes) -> None:
    # Ctrl-C reaches all processes of the terminal; the first one decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    work = msgspec.msgpack.decode(data, type=Work)
    PLACE.set(work.place)
    benchmark = as_run(load(work.source), work.record)
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    runner.run(benchmark.environment.ready())
    _mine.append((runner, here(benchmark, work)))


def _go(data: bytes) -> bytes:
    runner, retracer = _mine[0]
    return msgspec.msgpack.encode(runner.run(_await(retracer, msgspec.msgpack.decode(data, type=list[Rollout]))))


async def _await(retracer: Retracer, made: list[Rollout]) -> list[Found]:
    return await retracer(made)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)

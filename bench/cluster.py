"""Rollouts a second through a Ray cluster on this machine: `python -m bench.cluster`. What docs/scale.md plans from.

First whole runs on the instant endpoint, through actors and without; then the head alone, on actors that have
finished whatever they are handed at once: so many rollouts and bytes a second can it take in.
"""

import asyncio
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from assay.benchmark.catalog import load
from assay.collect.collect import Tally
from assay.collect.head import distribute
from assay.collect.rollouts import BATCH_BYTES, ENOUGH, Batch, Report, Rollouts, Work
from assay.collect.run import RunPlan
from assay.collect.workers import Worker
from assay.collect.workers.ray import Actor, Cluster, RayWorker, join_cluster
from assay.config import ModelConfig, RayConfig
from bench import endpoint

SOURCE = "arithmetic"
TASKS = 240


class Instant(Rollouts):
    """A service that has nothing to do: its rollouts have `size` bytes each."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._line = b"x" * (size - 1) + b"\n"
        self._waiting: deque[int] = deque()
        self._sent = 0

    async def exchange(self, work: bytes) -> bytes:
        self._waiting.extend(number for number, _ in msgspec.msgpack.decode(work, type=Work).numbers)
        most = max(1, min(ENOUGH, BATCH_BYTES // len(self._line)))
        numbers = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        self._sent += len(numbers)
        return msgspec.msgpack.encode(Batch(self._line * len(numbers), numbers, Report(scored=self._sent)))


class IdleActor(Actor):
    """An actor with such a service."""

    def __init__(self, size: int) -> None:
        self._service = Instant(size)


@dataclass(frozen=True, slots=True)
class Idle(Cluster):
    """A cluster of such actors."""

    size: int = 600

    def start(self, service: str) -> Worker:
        return RayWorker(self.ray, self.ray.remote(IdleActor).options(num_cpus=self.config.cpus).remote(self.size))


@contextmanager
def asking(url: str, count: int, in_flight: int) -> Iterator[RunPlan]:
    with tempfile.TemporaryDirectory() as folder:
        yield RunPlan.of(
            benchmark=load(SOURCE),
            name="fixed",
            server=ModelConfig(dialect="responses", id="fixed", base_url=url),
            folder=Path(folder) / "run",
            repeats=count // TASKS,
            concurrency=in_flight,
            early_stop=False,
        )


def measure(what: str, collect: Callable[..., Any], plan: RunPlan) -> None:
    """Print rollouts a second from the first that is handed out, and what else is known."""
    begun: list[float] = []
    started, cpu = time.monotonic(), time.process_time()

    def watch(_: Tally) -> None:
        begun.append(time.monotonic())

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        tally: Tally = runner.run(collect(plan, watch=watch, tell=print))
    ended = time.monotonic()
    size = sum(path.stat().st_size for path in plan.folder.glob("rollouts*.jsonl"))
    rate, own = tally.done / (ended - begun[0]), (time.process_time() - cpu) / tally.done
    print(
        f"{what:40} {rate:8,.0f} rollouts/s {size / (ended - begun[0]) / 1e6:7.1f} MB/s "
        f"{1e6 * own:6.0f} us CPU here each; first after {begun[0] - started:.1f} s",
        flush=True,
    )


def main() -> None:
    with endpoint.running() as urls, join_cluster(None, RayConfig(cpus=0.5)) as cluster:
        for actors in (1, 2):
            for in_flight in (64 * actors, 512 * actors):
                with asking(urls.instant, 48_000, in_flight) as asked:
                    measure(f"{actors} processes, {in_flight} in flight", _distribute(actors), asked)
                with asking(urls.instant, 48_000, in_flight) as asked:
                    measure(f"{actors} actors, {in_flight} in flight", _distribute(actors, cluster), asked)
        for size, count in ((600, 480_000), (3_000, 240_000), (12_000, 120_000), (130_000, 12_000)):
            for actors in (1, 2):
                with asking(urls.instant, count, 1000 * actors) as asked:
                    idle = Idle(cluster.ray, cluster.config, size=size)
                    measure(f"head, {size:,} bytes, {actors} idle actors", _distribute(actors, idle), asked)


def _distribute(count: int, cluster: Cluster | None = None) -> Callable[..., Any]:
    return lambda asked, **told: distribute(asked, count, cluster, **told)


if __name__ == "__main__":
    main()

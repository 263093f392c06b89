"""One measurement in a process of its own, printed as a JSON line: `python -m bench.measure KIND URL COUNT IN_FLIGHT`.

`floor` is the bare loop of the HTTP client with no Assay around it: the same bytes posted, the answer read, nothing
parsed. `assay` is a whole run: plan, agent, session, verification, a line in the store.
"""

import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import uvloop
from pyreqwest.client import ClientBuilder

from assay.config import ModelConfig
from assay.environment import Benchmark, Environment
from assay.environment.verify.integer import integer
from assay.run import RunPlan, collect_run
from assay.types import Message, Response, Score, Task

REPEATS = 10
BODY = (
    b'{"model":"fixed","input":[{"type":"message","role":"user","content":"What is 6 * 7, task 1234?"}],"store":false}'
)


class Fixed(Environment):
    """As many short questions as are wanted, each answered with 42."""

    name, version = "bench", "1"

    def __init__(self, count: int) -> None:
        self._count = count

    def tasks(self) -> Iterable[Task]:
        for number in range(self._count):
            yield Task(
                id=f"t{number}", input=[Message(role="user", content=f"What is 6 * 7, task {number}?")], gold="42"
            )

    def verify(self, task: Task, response: Response) -> Score:
        return integer(response, 42)


async def floor(url: str, count: int, in_flight: int) -> None:
    """`count` bare requests."""
    headers = {"content-type": "application/json"}
    client = ClientBuilder().default_headers(headers).timeout(timedelta(seconds=600)).max_connections(None).build()
    numbers = iter(range(count))

    async def work() -> None:
        for _ in numbers:
            answer = await client.post(f"{url}/responses").body_bytes(BODY).build().send()
            await answer.bytes()

    async with client, asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(work())


async def assay(url: str, count: int, in_flight: int, folder: Path) -> None:
    """A run of `count` rollouts, which has to score every one."""
    tally = await collect_run(
        RunPlan(
            benchmark=Benchmark(environment=Fixed(count // REPEATS), repeats=REPEATS),
            name="fixed",
            server=ModelConfig(dialect="responses", id="fixed", base_url=url),
            folder=folder,
            repeats=REPEATS,
            concurrency=in_flight,
        )
    )
    if tally.scored != count or tally.reward != count:
        raise SystemExit(f"{tally.scored} of {count} rollouts were scored, {tally.last_failure}")


def main() -> None:
    kind, url, count, in_flight = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core: the figure is per core
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65536)), hard))
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        cpu, clock = time.process_time(), time.perf_counter()
        work = floor(url, count, in_flight) if kind == "floor" else assay(url, count, in_flight, Path(folder))
        runner.run(work)
        wall_s, cpu_s = time.perf_counter() - clock, time.process_time() - cpu
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"wall_s": wall_s, "cpu_s": cpu_s, "peak_mib": peak_kib / 1024}))


if __name__ == "__main__":
    main()

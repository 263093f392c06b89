"""A sweep against its runs one after another: `python -m bench.sweep [--seconds 1]`, on one server of fixed delay.

Three benchmarks of 100 tasks on two models, at most 64 rollouts in flight. Nothing but the order of requests differs:
both ways run in this process, one directly after the other.
"""

import argparse
import asyncio
import time
from contextlib import asynccontextmanager

import assay
from assay.config import ModelConfig

BODY = b'{"choices": [{"message": {"content": "42"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
TASKS, CONCURRENCY = 100, 64


class Same(assay.Environment):
    """Tasks that all have the same answer."""

    version = "1"

    def __init__(self, name: str) -> None:
        self.name = name

    def tasks(self) -> list[assay.Task]:
        asked = [assay.Message(role="user", content=f"{self.name} {number}?") for number in range(TASKS)]
        return [assay.Task(id=str(number), input=[message], gold="42") for number, message in enumerate(asked)]

    def verify(self, task: assay.Task, response: assay.Response) -> assay.Score:
        return assay.Score(reward=float(response.text == task.gold))


@asynccontextmanager
async def server(delay_s: float):
    """Yields the URL of a server that answers after a fixed delay."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
                await reader.readexactly(int(length.partition(b":")[2]))
                await asyncio.sleep(delay_s)
                writer.write(ANSWER)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"


async def measure(delay_s: float) -> None:
    benchmarks = [assay.Benchmark(environment=Same(name), repeats=1) for name in ("a", "b", "c")]
    async with server(delay_s) as url:
        models = [ModelConfig(dialect="chat", id=name, base_url=url) for name in ("x", "y")]
        # The first run of a process loads what all runs need.
        await assay.run(benchmarks[0], model=models[0], limit=1)
        started = time.monotonic()
        for model in models:
            for benchmark in benchmarks:
                await assay.run(benchmark, model=model, concurrency=CONCURRENCY)
        apart_s = time.monotonic() - started
        started = time.monotonic()
        sweep = await assay.sweep(benchmarks, models=models, concurrency=CONCURRENCY)
        together_s = time.monotonic() - started
    assert len(sweep.runs) == 6
    assert all(run.score == 1.0 and not run.failures for run in sweep.runs.values())
    ideal_s = delay_s * len(sweep.runs) * TASKS / CONCURRENCY
    print(
        f"answers after {delay_s:g} s; 6 runs of {TASKS} rollouts, {CONCURRENCY} in flight; full server {ideal_s:.2f} s"
    )
    print(f"one after another {apart_s:.2f} s, sweep {together_s:.2f} s, ratio {together_s / apart_s:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="how long the server takes for an answer")
    asyncio.run(measure(parser.parse_args().seconds))

"""`python -m bench.engine WEIGHTS`: output tokens a second of an embedded model, and how far that is from its matmuls.

The floor is one step's matrix products with the weights and nothing else, timed in the same process: attention, norms,
sampling, Python and asyncio are all in the ratio, which takes the step's CPU time, since the machine may be busy.
"""

import argparse
import asyncio
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from assay.model.builtin.engine import Engine
from assay.model.builtin.engine.llama import ROWS, Llama

PROMPT, OUTPUT = 24, 104
"""Tokens of each request: a context of 76 in the mean."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    engine, model = unending(arguments.weights)
    print(f"{'batch':>5} {'tokens/s':>9} {'ms/step':>8} {'cpu ms':>7} {'floor ms':>9} {'ratio':>6}")
    for batch in (1, 16, 64):
        step, cpu = (each / OUTPUT for each in asyncio.run(decode(engine, batch, arguments.rounds)))
        floor = best(lambda rows=batch: products(model, rows), 50 * arguments.rounds)
        figures = f"{1e3 * step:>8.2f} {1e3 * cpu:>7.2f} {1e3 * floor:>9.2f} {cpu / floor:>6.1f}"
        print(f"{batch:>5} {batch / step:>9,.0f} {figures}")


def unending(folder: Path) -> tuple[Engine, Llama]:
    """Returns the engine without an end token, so that every request makes OUTPUT tokens; and its model."""
    model = Llama.load(folder, 64)
    model.shape = dataclasses.replace(model.shape, end_ids=frozenset())
    whole = Engine.load(folder)
    return Engine(model, whole.tokenizer, whole.template, 64), model


async def decode(engine: Engine, batch: int, rounds: int) -> tuple[float, float]:
    """Seconds and CPU seconds that `batch` requests take together, prefill included: each the least of the rounds."""
    seconds: list[float] = []
    cpu: list[float] = []
    for _ in range(rounds):
        prompts = [[(7 * row + i) % 300 for i in range(PROMPT)] for row in range(batch)]
        started, cpu_started = time.perf_counter(), time.process_time()
        await asyncio.gather(
            *(engine.generate(prompt, max_tokens=OUTPUT, seed=row) for row, prompt in enumerate(prompts))
        )
        seconds.append(time.perf_counter() - started)
        cpu.append(time.process_time() - cpu_started)
    return min(seconds), min(cpu)


def products(model: Llama, batch: int) -> None:
    """One step's products with the weights, in the tiles that the engine uses."""
    tiles = -(-batch // ROWS)
    x, inner = (np.ones((tiles, 1, ROWS, size), np.float32) for size in (model.shape.hidden, model.shape.inner))
    for layer in model.layers:
        for rows, matrix in ((x, layer.qkv), (x, layer.out), (x, layer.gate_up), (inner, layer.down)):
            np.matmul(rows, matrix)
    np.matmul(x, model.head)


def best(run: Callable[[], None], times: int) -> float:
    """Returns the least seconds of many runs."""
    seconds: list[float] = []
    for _ in range(times):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


if __name__ == "__main__":
    main()

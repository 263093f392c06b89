"""Benchmarks with a fault in their tasks or their verifier, which the gates that run the benchmark judge for real."""

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from random import Random

from assay.benchmark import Benchmark, Environment
from assay.benchmark.verify.choice import choice
from assay.benchmark.verify.integer import integer, read_integer
from assay.fidelity.gates import judge_benchmark
from assay.types import Message, Response, Score, Task

TASKS = 30
"""As many as AIME has. A larger benchmark has more tasks to probe."""
Verify = Callable[[Task, Response], Score]


class Sums(Environment):
    """Sums of three numbers, with a verifier and prompts to choose."""

    name, version = "sums", "1"

    def __init__(self, verify: Verify, prompt: str = "What is {}? Give the integer alone.") -> None:
        self._verify, self._prompt = verify, prompt

    def tasks(self) -> Iterable[Task]:
        draw = Random(0)
        for number in range(TASKS):
            terms = [draw.randint(100, 999) for _ in range(3)]
            asked = self._prompt.format(" + ".join(map(str, terms)), gold=sum(terms))
            yield Task(id=str(number), input=[Message(role="user", content=asked)], gold=str(sum(terms)))

    def verify(self, task: Task, response: Response) -> Score:
        return self._verify(task, response)


class Options(Environment):
    """Questions with four options, of which the first is right, as the authors wrote them."""

    name, version = "options", "1"

    def __init__(self, *, shuffled: bool) -> None:
        self._shuffled = shuffled

    def tasks(self) -> Iterable[Task]:
        draw = Random(0)
        for number in range(TASKS):
            a, b = draw.randint(100, 999), draw.randint(100, 999)
            options = [str(a + b + away) for away in (0, 1, 10, -1)]
            if self._shuffled:
                draw.shuffle(options)
            asked = "\n".join([f"What is {a} + {b}?", *map("{}) {}".format, "ABCD", options)])
            gold = "ABCD"[options.index(str(a + b))]
            yield Task(str(number), [Message(role="user", content=asked)], gold, data={"options": options})

    def verify(self, task: Task, response: Response) -> Score:
        return choice(response, task.data["options"], task.gold or "")


def _right(task: Task, response: Response) -> Score:
    return integer(response, int(task.gold or ""))


def _substring(task: Task, response: Response) -> Score:
    return Score(float((task.gold or "") in response.text), answer=response.text)


def _anything(task: Task, response: Response) -> Score:
    return Score(1.0, answer=response.text)


def _format_alone(task: Task, response: Response) -> Score:
    return Score(float(re.fullmatch(r"\s*-?\d+\s*", response.text) is not None), answer=response.text)


def _thinking(task: Task, response: Response) -> Score:
    read = read_integer(f"{response.reasoning}\n{response.text}")
    return Score(float(read == int(task.gold or "")), answer=str(read))


BROKEN: Mapping[str, Benchmark] = {
    "thinking scored as answer": Benchmark(Sums(_thinking), repeats=1),
    "substring verifier": Benchmark(Sums(_substring), repeats=1),
    "verifier accepts anything": Benchmark(Sums(_anything), repeats=1),
    "reward for the format alone": Benchmark(Sums(_format_alone), repeats=1),
    "gold leaked into the prompt": Benchmark(Sums(_right, "What is {}? The answer is {gold}."), repeats=1),
    "options not shuffled": Benchmark(Options(shuffled=False), repeats=1, chance=0.25),
}
SOUND = (Benchmark(Sums(_right), repeats=1), Benchmark(Options(shuffled=True), repeats=1, chance=0.25))


@cache
def stopped_by(name: str) -> tuple[str, ...]:
    """Returns the gates that stop a broken benchmark, of those that run it. Chance has no part in them."""
    return failing(BROKEN[name])


def failing(benchmark: Benchmark) -> tuple[str, ...]:
    """Returns the gates that run the benchmark and do not let it pass."""
    tasks = list(benchmark.environment.tasks())
    gates = asyncio.run(judge_benchmark(benchmark, tasks))
    return tuple(gate.name for gate in gates if gate.verdict != "pass")

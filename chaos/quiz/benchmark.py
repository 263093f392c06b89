"""Multiplications, and a verifier that does what an answer tells it to: hang, raise, die, grow, return what is none."""

import math
import os
import time
from collections.abc import Iterable
from typing import Any

from assay.benchmark import Benchmark, Environment
from assay.types import Message, Response, Score, Task
from chaos.script import gold, question

TASKS = 400
_LEAKED: list[bytearray] = []


class Quiz(Environment):
    name, version = "chaos-quiz", "1"

    def tasks(self) -> Iterable[Task]:
        for number in range(TASKS):
            yield Task(id=f"t{number}", input=[Message("user", question("quiz", number))], gold=gold(number))

    def verify(self, task: Task, response: Response) -> Score:
        said = response.text
        if said.startswith("!"):
            return trap(said[1:])
        return Score(reward=float(said == task.gold), answer=said)


def trap(word: str) -> Any:
    """What no verifier should do."""
    if word == "raise":
        raise KeyError("the verifier's own mistake")
    if word == "exit":
        os._exit(7)
    if word == "leak":
        _LEAKED.append(bytearray(os.urandom(2**20)))
        raise MemoryError("no more")
    if word == "spin":
        end = time.monotonic() + 3600
        while time.monotonic() < end:
            # As verifiers do that take every error for a wrong answer.
            try:
                sum(range(1000))
            except Exception:
                return Score(reward=0.0)
    return {"nan": Score(reward=math.nan), "none": None, "text": Score(reward="1.0")}[word]  # type: ignore[arg-type]


BENCHMARK = Benchmark(environment=Quiz(), repeats=4)

"""my-benchmark: a number to be found by guessing, with an answer after each guess. A row:

id      up-to-100-0
asks    I think of a number from 1 to 100. … You have 7 guesses.
data    secret 38, most 100
tags    level up-to-100
"""

import re
from collections.abc import Iterable, Sequence
from random import Random

from assay.benchmark import Benchmark
from assay.benchmark.tools import ToolEnvironment, ToolSession
from assay.types import Item, Message, Response, Score, Task, Turn

LEVELS = {"up-to-20": (20, 5), "up-to-100": (100, 7)}
"""By name: the largest number, and how many guesses there are."""
ASK = """\
I think of a number from 1 to {most}. Find it: say a number, and I say whether mine is higher or lower.
You have {guesses} guesses. Say one number at a time, and nothing else."""


class Game(ToolSession):
    """One game. It has no tools: the model and the environment speak in turn."""

    def __init__(self, task: Task, seed: int) -> None:
        super().__init__(task, seed)
        self._secret: int = task.data["secret"]
        self._left = LEVELS[task.tags["level"]][1]
        self._nearest: int | None = None

    async def reply(self, response: Response) -> list[Item] | None:
        """What is said after a guess; `None` where the game is over. What is no number is used up too."""
        self._left -= 1
        said = re.fullmatch(r"[^\w-]*(\d{1,6})\W*", response.text)
        if said is None:
            return self._say("That is not one number.")
        guess = int(said[1])
        if self._nearest is None or abs(guess - self._secret) < abs(self._nearest - self._secret):
            self._nearest = guess
        if guess == self._secret:
            return None
        return self._say("Mine is higher." if guess < self._secret else "Mine is lower.")

    def _say(self, words: str) -> list[Item] | None:
        return [Message(role="user", content=f"{words} {self._left} guesses left.")] if self._left else None

    async def score(self, turns: Sequence[Turn]) -> Score:
        """1 where the number was found. How near the nearest guess came is a metric: a near guess is no answer."""
        if self._nearest is None:
            return Score(reward=0.0)
        off = abs(self._nearest - self._secret)
        return Score(reward=float(off == 0), metrics={"off": off}, answer=str(self._nearest))


class MyBenchmark(ToolEnvironment):
    """Five games at each level. Halving finds every number in time."""

    name = "my-benchmark"
    version = "1"
    session = Game

    def tasks(self) -> Iterable[Task]:
        for level, (most, guesses) in LEVELS.items():
            secrets = Random(f"my-benchmark/{level}").sample(range(1, most + 1), 5)
            for number, secret in enumerate(secrets):
                yield Task(
                    id=f"{level}-{number}",
                    input=[Message(role="user", content=ASK.format(most=most, guesses=guesses))],
                    data={"secret": secret, "most": most},
                    tags={"level": level},
                )

    def solution(self, task: Task) -> Sequence[str]:
        """The guesses of a player who halves what is left."""
        low, high, guesses = 1, task.data["most"], list[str]()
        while not guesses or int(guesses[-1]) != task.data["secret"]:
            guess = (low + high) // 2
            guesses.append(str(guess))
            low, high = (guess + 1, high) if guess < task.data["secret"] else (low, guess - 1)
        return guesses


BENCHMARK = Benchmark(environment=MyBenchmark(), repeats=4, formats=("{}", "{}.", "**{}**"))

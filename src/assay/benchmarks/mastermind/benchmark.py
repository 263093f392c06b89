"""mastermind: 40 games in which a secret code is found by guessing, made by this repository. A row:

id      4-pegs-6-colours-00
asks    Find a secret code of 4 letters. Each is one of A, B, C, D, E, F, and a letter may stand in it more than once.
tool    guess(code="AABB") -> AABB: 1 black, 0 white. 7 guesses left.
data    secret EDCB
tags    category 4-pegs-6-colours
"""

from collections.abc import Iterable, Sequence
from random import Random

from assay.benchmark import Benchmark, Call, Defect
from assay.benchmark.tools import ToolEnvironment, ToolSession, tool
from assay.benchmarks.mastermind.game import LEVELS, Level, pegs, reference
from assay.digest import tasks_digest
from assay.types import Message, Sampling, Score, Task, Turn

DIGEST = "2bce628c755f66c697a39b18df49410052ae1999c9bd78cb4f9189b6f5e8d8c9"
ASK = """\
Find a secret code of {pegs} letters. Each is one of {letters}, and a letter may stand in it more than once.

Call the tool guess with a code. It answers with pegs: one black for each letter in its place, one white for each \
other letter that the secret has in another place. You have {guesses} guesses. One that is no code, or that you made \
before, is used up too."""


class Game(ToolSession):
    """One game. Every guess counts, also one that is no code or was made before."""

    def __init__(self, task: Task, seed: int) -> None:
        super().__init__(task, seed)
        self._level = next(level for level in LEVELS if level.name == task.tags["category"])
        self._secret: str = task.data["secret"]
        self._guesses: list[str] = []
        self._used = 0

    @tool
    def guess(self, code: str) -> str:
        """Guess the secret code.

        Args:
            code: The letters of the code, such as ABCA.
        """
        if self._secret in self._guesses:
            return "The code is found already. The game is over."
        if self._used == self._level.guesses:
            return "There are no guesses left. The game is over."
        self._used += 1
        code = code.strip().upper()
        return f"{self._answer(code)} {self._candidates()}"

    def _answer(self, code: str) -> str:
        level = self._level
        if len(code) != level.pegs or not set(code) <= set(level.letters):
            return f"{code[:20]} is no code: a code is {level.pegs} of the letters {', '.join(level.letters)}."
        if code in self._guesses:
            black, white = pegs(self._secret, code)
            return f"{code}: guessed before, {black} black, {white} white."
        self._guesses.append(code)
        if code == self._secret:
            return f"{code}: {level.pegs} black. The code is found."
        black, white = pegs(self._secret, code)
        return f"{code}: {black} black, {white} white."

    def _candidates(self) -> str:
        left = self._level.guesses - self._used
        if self._secret in self._guesses:
            return "The game is over."
        return f"{left} guess{'es' if left != 1 else ''} left." if left else "No guesses left. The game is over."

    async def score(self, turns: Sequence[Turn]) -> Score:
        """1 where the code was found; else half the square of the share of black pegs in the best guess."""
        best = max(self._guesses, key=lambda code: pegs(self._secret, code), default=None)
        solved = best == self._secret
        black = pegs(self._secret, best)[0] if best else 0
        return Score(
            reward=1.0 if solved else 0.5 * (black / self._level.pegs) ** 2,
            metrics={
                "solved": float(solved),
                "guesses": float(self._used),
                "wasted": float(self._used - len(self._guesses)),
            },
            answer=best,
        )


class Mastermind(ToolEnvironment):
    """Ten games at each of four levels."""

    name = "mastermind"
    version = "1"
    session = Game

    def tasks(self) -> Iterable[Task]:
        tasks = [self._task(level, index, secret) for level in LEVELS for index, secret in enumerate(_secrets(level))]
        if tasks_digest(tasks) != DIGEST:
            raise AssertionError(f"mastermind's tasks are not the frozen ones: digest {tasks_digest(tasks)}")
        return tasks

    def _task(self, level: Level, index: int, secret: str) -> Task:
        ask = ASK.format(pegs=level.pegs, letters=", ".join(level.letters), guesses=level.guesses)
        return Task(
            id=f"{level.name}-{index:02}",
            input=[Message(role="user", content=ask)],
            data={"secret": secret},
            tools=self.tools,
            tags={"category": level.name},
        )

    def solution(self, task: Task) -> Sequence[Call | str]:
        level = next(level for level in LEVELS if level.name == task.tags["category"])
        guesses = reference(level, task.data["secret"])
        return [*(Call("guess", {"code": code}) for code in guesses), f"The code is {guesses[-1]}."]


def _secrets(level: Level) -> list[str]:
    return Random(f"mastermind/{level.name}").sample(level.codes(), 10)


BENCHMARK = Benchmark(
    environment=Mastermind(),
    repeats=4,
    sampling=Sampling(temperature=1.0, top_p=1.0),
    chance=0.13,  # of naming random codes until the guesses are used up
    defects=(
        Defect(
            what="A game that is not won gets up to a half, by the black pegs of its best guess.",
            why="Models of the size that plays here win too rarely to be told apart. `solved` counts won games alone.",
            probes=("last step left out", "another task's solution"),
        ),
    ),
)

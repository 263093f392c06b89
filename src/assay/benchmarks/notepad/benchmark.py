"""notepad: 120 requests for a note pad, for tools and many turns, made for the embedded models. A row:

id      change-01
asks    Notes: apples, cups, pears, toys. 69 toys come in. Correct the note.
pad     apples: 978, cups: 109, pears: 393, toys: 916
calls   read {"note": "toys"}, calculate {"expression": "916 + 69"}, write {"note": "toys", "number": 985}
tags    category change, steps 3
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from random import Random

from assay.benchmark import Benchmark, Call
from assay.benchmark.tools import Rejected, ToolEnvironment, ToolSession, tool
from assay.benchmarks.notepad.problems import KINDS, Problem, calculated, draw, test_problems
from assay.digest import tasks_digest
from assay.types import Message, RolloutLimits, Sampling, Score, Task, Turn

DIGEST = "e9256d06076a3cee0637aeadb4cd0f38ea3ea84feff9960b256735ad7071091c"


class NotePad(ToolSession):
    """A note pad of the rollout's own, and a calculator."""

    def __init__(self, task: Task, seed: int) -> None:
        super().__init__(task, seed)
        self._pad: dict[str, str] = dict(task.data["pad"])

    @tool
    def read(self, note: str) -> str:
        """Read a note.

        Args:
            note: Its name.
        """
        if note not in self._pad:
            raise Rejected(f"there is no note {note[:20]}")
        return self._pad[note]

    @tool
    def write(self, note: str, number: int) -> str:
        """Write a number into a note, a new one or one that is there.

        Args:
            note: Its name.
            number: What it then says.
        """
        self._pad[note] = str(number)
        return "written"

    @tool
    def calculate(self, expression: str) -> str:
        """Work out an expression.

        Args:
            expression: Numbers with +, - or * between them.
        """
        try:
            return str(calculated(expression))
        except ValueError as error:
            raise Rejected(str(error)) from None

    async def score(self, turns: Sequence[Turn]) -> Score:
        """1 where the pad is as it should be, and nothing else has changed."""
        before: dict[str, str] = self.task.data["pad"]
        changed = [f"{name} = {text}" for name, text in sorted(self._pad.items()) if before.get(name) != text]
        right = self._pad == before | self.task.data["written"]
        return Score(reward=float(right), answer=", ".join(changed) or None)


class NotePads(ToolEnvironment):
    """Twenty problems of each of six kinds."""

    name = "notepad"
    version = "1"
    session = NotePad

    def tasks(self) -> Iterable[Task]:
        tasks = [
            self._task(f"{problem.kind}-{number % 20:02}", problem) for number, problem in enumerate(test_problems())
        ]
        if tasks_digest(tasks) != DIGEST:
            raise AssertionError(f"notepad's tasks are not the frozen ones: digest {tasks_digest(tasks)}")
        return tasks

    def training(self, rng: Random) -> Iterator[Task]:
        tests = {problem.identity for problem in test_problems()}
        for number in count():
            problem = draw(rng, rng.choice(KINDS))
            if problem.identity not in tests:
                yield self._task(f"training-{number}", problem)

    def solution(self, task: Task) -> Sequence[Call | str]:
        return [*(Call(name, arguments) for name, arguments in task.data["calls"]), "Done."]

    def _task(self, name: str, problem: Problem) -> Task:
        return Task(
            id=name,
            input=[Message(role="user", content=problem.request)],
            data={
                "pad": problem.pad,
                "written": problem.written,
                "calls": [[call.name, dict(call.arguments)] for call in problem.calls],
            },
            tools=self.tools,
            tags={"category": problem.kind, "steps": str(len(problem.calls))},
        )


BENCHMARK = Benchmark(
    environment=NotePads(),
    repeats=4,
    sampling=Sampling(temperature=1.0, top_p=1.0),
    limits=RolloutLimits(steps=12, tool_s=10.0),
)

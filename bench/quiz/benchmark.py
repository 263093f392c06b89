"""Ten thousand short questions, all answered with 42: for what is measured through the command line."""

from collections.abc import Iterable

from assay.benchmark import Benchmark, Environment
from assay.benchmark.verify.integer import integer
from assay.types import Message, Response, Score, Task


class Quiz(Environment):
    """As many questions as are wanted."""

    name, version = "quiz", "1"

    def __init__(self, count: int) -> None:
        self._count = count

    def tasks(self) -> Iterable[Task]:
        for number in range(self._count):
            question = f"What is 6 * 7, task {number}?"
            yield Task(id=f"t{number}", input=[Message(role="user", content=question)], gold="42")

    def verify(self, task: Task, response: Response) -> Score:
        return integer(response, 42)


BENCHMARK = Benchmark(environment=Quiz(10_000), repeats=1)

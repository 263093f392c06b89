"""arithmetic: 240 problems with integer answers, made for the embedded models. A row:

id     two-step-medium-03
asks   What is 3 * 49 + 55?
gold   202
tags   category two-step, level medium
"""

from collections.abc import Iterable, Iterator
from itertools import count
from random import Random

from assay.benchmark import Benchmark, Environment
from assay.benchmark.verify.integer import integer
from assay.benchmarks.arithmetic.problems import CATEGORIES, LEVELS, Problem, draw, test_problems
from assay.digest import tasks_digest
from assay.types import Message, Response, Sampling, Score, Task

DIGEST = "7d8d15ded1cbbf079e0af6d633a6fb5e559b2f2f82a336724f993aea333b6ef0"


class Arithmetic(Environment):
    """Sums, differences, products, two-step expressions and one-sentence word problems, in three levels each."""

    name = "arithmetic"
    version = "1"

    def tasks(self) -> Iterable[Task]:
        tasks = [
            _task(f"{problem.category}-{problem.level}-{number % 16:02}", problem)
            for number, problem in enumerate(test_problems())
        ]
        if tasks_digest(tasks) != DIGEST:
            raise AssertionError(f"arithmetic's tasks are not the frozen ones: digest {tasks_digest(tasks)}")
        return tasks

    def training(self, rng: Random) -> Iterator[Task]:
        tests = {problem.identity for problem in test_problems()}
        for number in count():
            problem = draw(rng, rng.choice(CATEGORIES), rng.choice(LEVELS))
            if problem.identity not in tests:
                yield _task(f"training-{number}", problem)

    def verify(self, task: Task, response: Response) -> Score:
        return integer(response, int(task.gold or ""))

    def guess(self, task: Task, rng: Random) -> str:
        """A number of as many digits as the answer has: more than somebody could know who did not read the task."""
        digits = len(task.gold or "")
        return str(rng.randint(10 ** (digits - 1), 10**digits - 1))


def _task(name: str, problem: Problem) -> Task:
    return Task(
        id=name,
        input=[Message(role="user", content=problem.question)],
        gold=str(problem.answer),
        tags={"category": problem.category, "level": problem.level},
    )


BENCHMARK = Benchmark(
    environment=Arithmetic(),
    repeats=4,
    sampling=Sampling(temperature=1.0, top_p=1.0),
    chance=0.007,  # of guessing a number of the right length: the mean over tasks of 1 / (9 * 10^(digits - 1))
    formats=("{}", "{}.", "The answer is {}.", "**{}**", "\\boxed{{{}}}", "= {}"),
)

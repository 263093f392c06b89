"""What the benchmarks of the bench ask: next to nothing, so that what is measured is everything around it."""

from collections.abc import Callable, Iterable, Sequence

from assay.benchmark import Benchmark, Environment
from assay.benchmark.tools import ToolEnvironment, ToolSession, tool
from assay.benchmark.verify import maths
from assay.benchmark.verify.code import LIMITS, check_code, code_in
from assay.types import Message, Response, RolloutLimits, Score, Task, Turn
from bench import texts
from bench.quiz.benchmark import Quiz


class Shelf(ToolSession):
    """One tool that always says the same."""

    @tool
    def look_up(self, page: int) -> str:
        """What stands on a page.

        Args:
            page: Its number.
        """
        return texts.PAGE

    async def score(self, turns: Sequence[Turn]) -> Score:
        return Score(reward=1.0)


class Library(ToolEnvironment):
    """Questions over which a model calls a tool until it may not any more."""

    name, version, session = "library", "1", Shelf

    def __init__(self, count: int) -> None:
        self._count = count

    def tasks(self) -> Iterable[Task]:
        for number in range(self._count):
            yield Task(id=f"t{number}", input=[Message(role="user", content=texts.question(number))], tools=self.tools)


class Sums(Environment):
    """Mathematics, judged by math-verify in processes."""

    name, version = "sums", "1"

    def __init__(self, count: int) -> None:
        self._count = count

    def tasks(self) -> Iterable[Task]:
        for number in range(self._count):
            yield Task(
                id=f"t{number}",
                input=[Message(role="user", content=texts.question(number))],
                gold=texts.maths_gold(number),
            )

    async def verify(self, task: Task, response: Response) -> Score:
        return await maths.verify(task.gold or "", response.text)


class Functions(Environment):
    """Tiny programs, judged by their tests in the sandbox."""

    name, version, sandbox = "functions", "1", LIMITS

    def __init__(self, count: int) -> None:
        self._count = count

    def tasks(self) -> Iterable[Task]:
        for number in range(self._count):
            yield Task(id=f"t{number}", input=[Message(role="user", content=texts.question(number))])

    async def verify(self, task: Task, response: Response) -> Score:
        code = code_in(response.text, "add")
        checked = await check_code([[code]], entry_point="add", tests=texts.CODE_TESTS, limits=self.sandbox)
        return Score(reward=float(checked.passed), answer=code)


ENVIRONMENTS: dict[str, Callable[[int], Environment]] = {
    "quiz": Quiz,
    "library": Library,
    "sums": Sums,
    "functions": Functions,
}
"""By name: an environment of so many tasks."""


def benchmark(name: str, tasks: int) -> Benchmark:
    return Benchmark(environment=ENVIRONMENTS[name](tasks), repeats=1, limits=RolloutLimits(steps=texts.STEPS))

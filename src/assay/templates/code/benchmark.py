"""my-benchmark: Python functions to be written, judged by tests in a sandbox. A row of tasks.jsonl:

id        middle
asks      Write a function middle(numbers) that returns the median of a non-empty list of numbers: …
function  middle
solution  def middle(numbers): …
tests     def check(candidate): assert candidate([3, 1, 2]) == 2 …
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from assay.benchmark import Benchmark, Environment
from assay.benchmark.verify.code import check_code, code_in
from assay.sandbox import SandboxConfig
from assay.types import Message, Response, Score, Task

LIMITS = SandboxConfig(memory_mb=512, processes=16, cpu_s=3, disk_mb=64)
"""What a solution may use. It has no network and sees no files."""
ROWS = Path(__file__).with_name("tasks.jsonl")
ASK = "{question}\n\nAnswer with the whole function, in one block of code."
GOLD = "```python\n{solution}\n```"


class Row(Struct, frozen=True, forbid_unknown_fields=True):
    """A line of tasks.jsonl."""

    id: str
    question: str
    function: str
    """The name by which the tests are given it."""
    solution: str
    tests: str
    """Python that defines `check(candidate)`, which asserts."""


class MyBenchmark(Environment):
    """Functions that have to pass all of their tests."""

    name = "my-benchmark"
    version = "1"
    sandbox = LIMITS

    def tasks(self) -> Iterable[Task]:
        for row in (msgspec.json.decode(line, type=Row) for line in ROWS.read_bytes().splitlines()):
            yield Task(
                id=row.id,
                input=[Message(role="user", content=ASK.format(question=row.question))],
                gold=GOLD.format(solution=row.solution),
                data={"function": row.function, "tests": row.tests},
            )

    async def verify(self, task: Task, response: Response) -> Score:
        code = code_in(response.text, task.data["function"])
        if not code.strip():
            return Score(reward=0.0)
        function, tests = task.data["function"], task.data["tests"]
        checked = await check_code([[code]], entry_point=function, tests=tests, limits=self.sandbox)
        return Score(reward=float(checked.passed), metrics={"stopped": float(checked.stopped)}, answer=code)


BENCHMARK = Benchmark(environment=MyBenchmark(), repeats=4, formats=("{}", "Here it is.\n\n{}\n\nIt sorts first."))

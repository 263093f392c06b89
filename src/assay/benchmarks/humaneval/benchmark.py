"""humaneval: 164 Python functions to be written from their docstrings, judged by tests (Chen et al. 2021). A row:

id      HumanEval/53
asks    def add(x: int, y: int):
            \"\"\"Add two numbers x and y
            >>> add(2, 3)
            5
            >>> add(5, 7)
            12
            \"\"\"
gold    return x + y
tests   assert candidate(0, 1) == 1 …
"""

import gzip
import textwrap
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from assay.benchmark import Benchmark, Defect, Environment
from assay.benchmark.data import Source, prepared
from assay.benchmark.verify.code import LIMITS, CheckResult, check_code, code_in, defines
from assay.digest import digest
from assay.types import Message, Response, Score, Task

FILE = Source(
    url="https://raw.githubusercontent.com/openai/human-eval/6d43fb980f9fee3c892a914eda09951f772ad10d/"
    "data/HumanEval.jsonl.gz",
    sha256="b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef",
    size=44877,
)
ASK = "Complete this Python function. Answer with the whole function, in one block of code.\n\n```python\n{prompt}```"
GOLD = "```python\n{prompt}{solution}```"
REMEMBERED = 10_000
"""Verdicts at most that are kept: the gates ask for that of one solution some twenty times."""


class Row(Struct, frozen=True):
    """A line of the file."""

    task_id: str
    prompt: str
    """The beginning of the program, to the end of the docstring."""
    entry_point: str
    canonical_solution: str
    """The rest of the program."""
    test: str
    """Defines `check(candidate)`."""


class HumanEval(Environment):
    """Functions to be completed. Solutions run in a sandbox, their tests in another process than they do."""

    name = "humaneval"
    version = "1"
    sandbox = LIMITS

    def __init__(self) -> None:
        self._results: dict[str, CheckResult] = {}

    def tasks(self) -> Iterable[Task]:
        lines = gzip.decompress(prepared(self.name, FILE).read_bytes()).splitlines()
        for row in (msgspec.json.decode(line, type=Row) for line in lines):
            yield Task(
                id=row.task_id,
                input=[Message(role="user", content=ASK.format(prompt=row.prompt))],
                gold=GOLD.format(prompt=row.prompt, solution=row.canonical_solution),
                data={"prompt": row.prompt, "entry_point": row.entry_point, "tests": row.test},
            )

    async def verify(self, task: Task, response: Response) -> Score:
        code = code_in(response.text, task.data["entry_point"])
        if not code.strip():
            return Score(reward=0.0)
        checked = await self._check(task, readings(task.data["prompt"], code, task.data["entry_point"]))
        return Score(reward=float(checked.passed), metrics={"stopped": float(checked.stopped)}, answer=code)

    async def _check(self, task: Task, read: list[list[str]]) -> CheckResult:
        key = digest([task.id, read, self.sandbox])
        if key not in self._results:
            checked = await check_code(
                read,
                entry_point=task.data["entry_point"],
                setup=task.data["prompt"],
                tests=task.data["tests"],
                limits=self.sandbox,
            )
            if checked.stopped:  # which may have been the machine's doing
                return checked
            if len(self._results) >= REMEMBERED:
                self._results.clear()
            self._results[key] = checked
        return self._results[key]


def readings(prompt: str, code: str, entry_point: str) -> list[list[str]]:
    """The programs that an answer may be meant as: a whole function, or what comes after the prompt.

    The prompt comes first in each, so that its imports and helpers are there; its function without a body returns None.
    """
    if defines(code, entry_point):
        return [[prompt, code]]
    indented = textwrap.indent(textwrap.dedent(code), "    ")
    return [[prompt + code], [prompt + indented], [f"{prompt}    {code.lstrip()}"]]


BENCHMARK = Benchmark(
    environment=HumanEval(),
    repeats=4,
    defects=(
        Defect(
            what="The tests of some problems let a changed solution pass: 15 of 150 mutants of the reference.",
            why="They are the original's tests, by which all published scores were made.",
            probes=("mutant",),
        ),
        Defect(
            what="GPT-4's recorded outputs were judged in one namespace, in which earlier imports help one of them.",
            why="Here each solution runs alone, as in the original harness.",
            tasks=("HumanEval/133",),
            outputs=1,
            incomparable=True,
        ),
    ),
    formats=("{}", "Here is the function.\n\n{}", "{}\n\nIt was tested with the examples."),
    data=(FILE,),
)

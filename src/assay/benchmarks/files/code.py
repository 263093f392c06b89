"""code: Python functions to be written, of any data set, judged by tests in a sandbox, as `code:FILE`. A row:

{"problem": "Write a function that adds two numbers.", "entry_point": "add", "tests": ["assert add(1, 2) == 3"]}
"""

import re
import textwrap
from collections.abc import Mapping
from typing import ClassVar

from msgspec import Struct

from assay.benchmark import NO_MODELS, Benchmark
from assay.benchmark.verify.code import LIMITS, check_code, code_in, defines
from assay.benchmarks.files.family import Family
from assay.gyms.rows import Row
from assay.model import Model
from assay.types import Item, Message, Response, Score, Task

BEGUN = "Complete this Python function. Answer with all of it, in one block of code.\n\n```python\n{problem}\n```"


class Tests(Struct, frozen=True, forbid_unknown_fields=True):
    """All tests pass."""

    timeout_s: float = 20.0


class Code(Family):
    """Python functions to be written, of any data set."""

    family = "code"
    roles: ClassVar = {
        "problem": ("problem", "prompt", "question", "text"),
        "tests": ("tests", "test", "test_list"),
        "entry_point": ("entry_point",),
        "answer": ("answer", "canonical_solution", "solution", "code"),
        "setup": ("setup", "test_setup_code"),
    }
    optional = frozenset({"id", "entry_point", "answer", "setup"})
    verifiers: ClassVar = {"tests": Tests}
    prompt = "{problem}\n\nCall the Python function `{entry_point}`. Answer with it in one block of code."
    formats = ("{}", "Here is the function.\n\n{}", "{}\n\nIt was tested with the examples.")
    sandbox = LIMITS

    def template(self, row: Row) -> str:
        begun = defines(self.text(row, "problem"), self._entry_point(row)) and not self.settings.prompt
        return BEGUN if begun else super().template(row)

    def values(self, row: Row) -> dict[str, str]:
        return {"entry_point": self._entry_point(row)}

    def answer(self, row: Row) -> str:
        """Returns the reference solution in a block of code. It may go on where the problem ends."""
        problem, code, name = self.text(row, "problem"), str(self.value(row, "answer")), self._entry_point(row)
        whole = code if defines(code, name) else f"{problem}\n{code}"
        return f"```python\n{whole}\n```"

    def task(self, id: str, row: Row, items: list[Item]) -> Task:
        problem, name = self.text(row, "problem"), self._entry_point(row)
        setup = "\n".join(self.texts(row, "setup")) if self.has("setup") and self.value(row, "setup") else ""
        return Task(
            id=id,
            input=[*items, Message(role="user", content=self.asks(row))],
            gold=self.answer(row) if self.has("answer") and self.value(row, "answer") else None,
            data={
                "entry_point": name,
                "tests": self._tests(row, name),
                "setup": "\n".join(filter(None, (problem if defines(problem, name) else "", setup))),
            },
            tags=self.tags(row),
        )

    async def verify(self, task: Task, response: Response, models: Mapping[str, Model] = NO_MODELS) -> Score:
        name, setup = task.data["entry_point"], task.data["setup"]
        code = code_in(response.text, name)
        if not code.strip():
            return Score(reward=0.0)
        checked = await check_code(
            [[setup, code]],
            entry_point=name,
            setup=setup,
            tests=task.data["tests"],
            limits=self.sandbox,
            timeout_s=self.verifier.timeout_s,
        )
        return Score(reward=float(checked.passed), metrics={"stopped": float(checked.stopped)}, answer=code)

    def _tests(self, row: Row, name: str) -> str:
        """The row's tests as a function `check`, which they may be already."""
        tests = "\n".join(self.texts(row, "tests"))
        return tests if defines(tests, "check") else f"def check({name}):\n{textwrap.indent(tests, '    ')}"

    def _entry_point(self, row: Row) -> str:
        """The function that is asked for: the stated one, else the last of the reference solution that tests call."""
        if self.has("entry_point"):
            return self.text(row, "entry_point")
        tests = "\n".join(self.texts(row, "tests"))
        named = re.findall(r"^def\s+(\w+)", _text(self.value(row, "answer")), re.MULTILINE)
        called = [name for name in named if re.search(rf"\b{name}\(", tests)]
        if not called:
            raise row.error("no column is the entry_point", "the name of the function that the tests call")
        return called[-1]


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def load(request: str) -> Benchmark:
    """Returns the benchmark of `code:FILE`. Raises UsageError and InputError."""
    return Code(request).benchmark()

"""maths: problems of any data set whose answers are compared as mathematics, as `maths:FILE`. A row:

{"problem": "What is the sum of the roots of $x^2 - 5x + 6 = 0$?", "answer": "5"}
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from msgspec import Struct

from assay.benchmark import Benchmark, Call
from assay.benchmark.verify import maths
from assay.benchmark.verify.integer import integer
from assay.benchmark.verify.number import numeric
from assay.benchmarks.files.family import Family
from assay.gyms.rows import Row
from assay.model import Model
from assay.types import Item, Message, Response, Score, Task


class Equal(Struct, frozen=True, forbid_unknown_fields=True):
    """Equal as mathematics."""

    deadline_s: float = 10.0

    async def score(self, task: Task, response: Response, models: Mapping[str, Model]) -> Score:
        return await maths.verify(task.gold or "", response.text, deadline_s=self.deadline_s)


class Number(Struct, frozen=True, forbid_unknown_fields=True):
    """The same number, up to a tolerance."""

    absolute: float = 0
    relative: float = 0

    async def score(self, task: Task, response: Response, models: Mapping[str, Model]) -> Score:
        return numeric(response, task.gold or "", absolute=self.absolute, relative=self.relative)


class Integer(Struct, frozen=True, forbid_unknown_fields=True):
    """The same whole number."""

    async def score(self, task: Task, response: Response, models: Mapping[str, Model]) -> Score:
        return integer(response, int(task.gold or ""))


class Maths(Family):
    """Problems with a formula or a number as the answer, of any data set."""

    family = "maths"
    roles: ClassVar = {
        "problem": ("problem", "question", "prompt"),
        "answer": ("answer", "final_answer", "expected_answer", "gold", "target"),
    }
    verifiers: ClassVar = {"maths": Equal, "number": Number, "integer": Integer}
    prompt = "{problem}\n\nPlease reason step by step, and put your final answer within \\boxed{}."
    formats = ("{}", "It follows.\n\n{}", "The answer is {}.")

    async def ready(self) -> None:
        if isinstance(self.verifier, Equal):  # without its library, nothing begins
            await maths.verify("x + 1", "\\boxed{1 + x}")

    def answer(self, row: Row) -> str:
        return f"\\boxed{{{', '.join(self.texts(row, 'answer'))}}}"

    def task(self, id: str, row: Row, items: list[Item]) -> Task:
        gold = ", ".join(self.texts(row, "answer"))
        if isinstance(self.verifier, Integer) and not gold.lstrip("+-").isdecimal():
            raise row.error(f"{self.of('answer')} is {gold!r}", "a whole number, for the verifier integer")
        asked = Message(role="user", content=self.asks(row))
        return Task(id=id, input=[*items, asked], gold=gold, tags=self.tags(row))

    def solution(self, task: Task) -> Sequence[Call | str]:
        return [f"\\boxed{{{task.gold}}}"]


def load(request: str) -> Benchmark:
    """Returns the benchmark of `maths:FILE`. Raises UsageError and InputError."""
    return Maths(request).benchmark()

"""gsm8k: 1,319 word problems of school arithmetic with a number as the answer (Cobbe et al. 2021). A row:

id      test-0001
asks    A robe takes 2 bolts of blue fiber and half that much white fiber.  How many bolts in total does it take?
gold    3
"""

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from assay.benchmark import Benchmark, Environment
from assay.benchmark.data import Source, prepared
from assay.benchmark.verify.number import numeric
from assay.types import Message, Response, Score, Task

TEST = Source(
    url="https://raw.githubusercontent.com/openai/grade-school-math/3101c7d5072418e28b9008a6636bde82a006892c/"
    "grade_school_math/data/test.jsonl",
    sha256="3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
    size=749738,
)
ASK = "{question}\n\nSolve it step by step. End with a line that holds #### and the answer, a number without its unit."


class Row(Struct, frozen=True):
    """A line of the file. The answer is a worked solution, whose last line is `#### 3`."""

    question: str
    answer: str

    @property
    def number(self) -> str:
        """The gold answer alone."""
        return self.answer.rpartition("#### ")[2]


def rows(benchmark: str) -> list[Row]:
    """Returns the rows of the file that is prepared for a benchmark, in their order."""
    return msgspec.json.Decoder(Row).decode_lines(prepared(benchmark, TEST).read_bytes())


class GSM8K(Environment):
    """Grade school maths word problems, of which the last number counts."""

    name = "gsm8k"
    version = "1"

    def tasks(self) -> Iterable[Task]:
        for index, row in enumerate(rows(self.name)):
            asked = Message(role="user", content=ASK.format(question=row.question))
            yield Task(id=f"test-{index:04}", input=[asked], gold=row.number)

    def verify(self, task: Task, response: Response) -> Score:
        return numeric(response, task.gold or "")


BENCHMARK = Benchmark(
    environment=GSM8K(),
    repeats=2,
    chance=0.031,  # of always answering 5: 40 of 1,319; the question's last number is right in 28
    formats=("{}", "#### {}", "So it is 7 in all.\n#### {}", "The answer is {}.", "**{}**", "\\boxed{{{}}}", "${}"),
    data=(TEST,),
)

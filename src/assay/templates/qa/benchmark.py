"""my-benchmark: questions with a short answer. A row of tasks.jsonl:

id        oxygen
question  Which chemical element has the atomic number 8?
answers   oxygen, O
category  chemistry
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from assay.benchmark import Benchmark, Environment
from assay.benchmark.verify.text import normalised
from assay.types import Message, Response, Score, Task

ROWS = Path(__file__).with_name("tasks.jsonl")
ASK = "{question}\n\nGive the answer alone."


class Row(Struct, frozen=True, forbid_unknown_fields=True):
    """A line of tasks.jsonl."""

    id: str
    question: str
    answers: list[str]
    """All that are right. The first is the gold answer."""
    category: str


class MyBenchmark(Environment):
    """Questions with a short answer, compared without case, articles and punctuation."""

    name = "my-benchmark"
    version = "1"

    def tasks(self) -> Iterable[Task]:
        for row in (msgspec.json.decode(line, type=Row) for line in ROWS.read_bytes().splitlines()):
            yield Task(
                id=row.id,
                input=[Message(role="user", content=ASK.format(question=row.question))],
                gold=row.answers[0],
                data={"answers": row.answers},
                tags={"category": row.category},
            )

    def verify(self, task: Task, response: Response) -> Score:
        return normalised(response, task.data["answers"])


BENCHMARK = Benchmark(environment=MyBenchmark(), repeats=4, formats=("{}", "{}.", "**{}**"))

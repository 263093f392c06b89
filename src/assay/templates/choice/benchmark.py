"""my-benchmark: multiple-choice questions. A row of tasks.jsonl:

id        tides
question  What causes the tides of the sea, for the greater part?
options   the wind, the Moon, the rotation of the Earth, the seasons
answer    B
category  physics
"""

from collections.abc import Iterable
from pathlib import Path
from random import Random
from string import ascii_uppercase

import msgspec
from msgspec import Struct

from assay.benchmark import Benchmark, Environment
from assay.benchmark.verify.choice import choice
from assay.types import Message, Response, Score, Task

ROWS = Path(__file__).with_name("tasks.jsonl")
ASK = "{question}\n\n{options}\n\nEnd with a line such as: Answer: A"


class Row(Struct, frozen=True, forbid_unknown_fields=True):
    """A line of tasks.jsonl."""

    id: str
    question: str
    options: list[str]
    answer: str
    """The letter of the right option."""
    category: str


class MyBenchmark(Environment):
    """Questions with four options, of which one is right."""

    name = "my-benchmark"
    version = "1"

    def tasks(self) -> Iterable[Task]:
        for row in (msgspec.json.decode(line, type=Row) for line in ROWS.read_bytes().splitlines()):
            options = "\n".join(f"{letter}. {text}" for letter, text in zip(ascii_uppercase, row.options, strict=False))
            yield Task(
                id=row.id,
                input=[Message(role="user", content=ASK.format(question=row.question, options=options))],
                gold=row.answer,
                data={"options": row.options},
                tags={"category": row.category},
            )

    def verify(self, task: Task, response: Response) -> Score:
        return choice(response, task.data["options"], task.gold or "")

    def guess(self, task: Task, rng: Random) -> str:
        return rng.choice(ascii_uppercase[: len(task.data["options"])])


BENCHMARK = Benchmark(
    environment=MyBenchmark(),
    repeats=4,
    chance=0.25,
    formats=("{}", "({})", "Answer: {}", "**{}**", "\\boxed{{{}}}", "The answer is ({})."),
)

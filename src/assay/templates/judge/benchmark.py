"""my-benchmark: explanations in a few sentences, judged by a model. A row of tasks.jsonl:

id         inflation
question   What is inflation?
reference  Inflation is a rise of prices in general over time, so that the same money buys less.
rubric     The answer says that prices rise in general, not the price of one thing.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from assay.benchmark import Benchmark, Environment
from assay.benchmark.verify.judge import judge
from assay.model import Model
from assay.types import Message, Response, Score, Task

ROWS = Path(__file__).with_name("tasks.jsonl")
ASK = "{question}\n\nAnswer in at most three sentences."


class Row(Struct, frozen=True, forbid_unknown_fields=True):
    """A line of tasks.jsonl."""

    id: str
    question: str
    reference: str
    rubric: list[str]
    """Statements about an answer, each true or not. The reward is the share that is true."""


class MyBenchmark(Environment):
    """Explanations, held against a rubric."""

    name = "my-benchmark"
    version = "1"

    def tasks(self) -> Iterable[Task]:
        for row in (msgspec.json.decode(line, type=Row) for line in ROWS.read_bytes().splitlines()):
            yield Task(
                id=row.id,
                input=[Message(role="user", content=ASK.format(question=row.question))],
                gold=row.reference,
                data={"question": row.question, "rubric": row.rubric},
            )

    async def verify(self, task: Task, response: Response, models: Mapping[str, Model]) -> Score:
        answer = response.text.strip()
        if not answer:
            return Score(reward=0.0)
        judgement = await judge(
            models["judge"],
            question=task.data["question"],
            reference=task.gold,
            answer=answer,
            rubric=task.data["rubric"],
        )
        return judgement.score(answer)


BENCHMARK = Benchmark(environment=MyBenchmark(), repeats=4, roles={"judge": None}, formats=("{}", "{}\n\nThat is all."))

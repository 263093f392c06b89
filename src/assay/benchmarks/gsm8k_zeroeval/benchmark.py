"""gsm8k-zeroeval: the 1,319 problems of gsm8k as ZeroEval asks them, with the answer in JSON (Lin 2024). A row:

id      gsm8k-main-test-#1
asks    … A robe takes 2 bolts of blue fiber and half that much white fiber.  How many bolts in total does it take? …
        Please show your final answer in the `answer` field, e.g.,`"answer": "42"`. …
gold    3
"""

from collections.abc import Iterable

from assay.benchmark import Benchmark, Environment
from assay.benchmark.verify.number import numeric
from assay.benchmarks import zeroeval
from assay.benchmarks.gsm8k.benchmark import TEST, rows
from assay.types import Message, Response, Score, Task


class GSM8KZeroEval(Environment):
    """School arithmetic; the model answers in JSON, and its `answer` field is compared as a number."""

    name = "gsm8k-zeroeval"
    version = "1"

    def tasks(self) -> Iterable[Task]:
        for index, row in enumerate(rows(self.name)):
            prompt = zeroeval.PROMPT.format(question=row.question)
            yield Task(id=f"gsm8k-main-test-#{index}", input=[Message(role="user", content=prompt)], gold=row.number)

    def verify(self, task: Task, response: Response) -> Score:
        answer = Message(role="assistant", content=zeroeval.answer(response.text) or "")
        return numeric(Response(output=[answer]), task.gold or "")


BENCHMARK = Benchmark(
    environment=GSM8KZeroEval(),
    repeats=2,
    chance=0.031,  # of always answering 5: 40 of 1,319
    formats=zeroeval.FORMATS,
    data=(TEST,),
    original=zeroeval.original,
)

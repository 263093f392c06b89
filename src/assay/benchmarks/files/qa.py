"""qa: questions of any data set with a short answer, by its text or by a judge, as `qa:FILE`. A row:

{"question": "Who wrote The Trial?", "answer": ["Franz Kafka", "Kafka"]}
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from msgspec import Struct

from assay.benchmark import Benchmark
from assay.benchmark.verify.judge import judge
from assay.benchmark.verify.text import exact, normalised
from assay.benchmarks.files.family import Family
from assay.gyms.rows import Row
from assay.model import Model
from assay.types import Item, Message, Response, Score, Task


class Normalised(Struct, frozen=True, forbid_unknown_fields=True):
    """The same text, but for case, articles and punctuation."""

    similar: float = 1.0

    async def score(self, task: Task, response: Response, models: Mapping[str, Model]) -> Score:
        return normalised(response, task.data["accepted"], similar=self.similar)


class Exact(Struct, frozen=True, forbid_unknown_fields=True):
    """The same text."""

    async def score(self, task: Task, response: Response, models: Mapping[str, Model]) -> Score:
        return exact(response, task.data["accepted"])


class Judged(Struct, frozen=True, forbid_unknown_fields=True):
    """What the model in the role `judge` finds true: that the answer agrees with the reference, or a rubric."""

    rubric: tuple[str, ...] = ()
    samples: int = 1

    async def score(self, task: Task, response: Response, models: Mapping[str, Model]) -> Score:
        answer = response.text.strip()
        if not answer:
            return Score(reward=0.0)
        judgement = await judge(
            models["judge"],
            question=task.data["question"],
            reference=" or: ".join(task.data["accepted"]),
            answer=answer,
            rubric=self.rubric,
            samples=self.samples,
        )
        return judgement.score(answer)


class QA(Family):
    """Questions with a short answer, of any data set."""

    family = "qa"
    roles: ClassVar = {
        "problem": ("question", "problem", "prompt"),
        "answer": ("answer", "answers", "final_answer", "expected_answer", "gold", "target"),
    }
    verifiers: ClassVar = {"text": Normalised, "exact": Exact, "judge": Judged}

    prompt = "{problem}\n\nAnswer with the answer alone, as short as possible."
    formats = ("{}", "{}.", "**{}**")

    def template(self, row: Row) -> str:
        judged = isinstance(self.verifier, Judged) and not self.settings.prompt
        return "{problem}" if judged else super().template(row)

    def answer(self, row: Row) -> str:
        return self.texts(row, "answer")[0]

    def task(self, id: str, row: Row, items: list[Item]) -> Task:
        asked = Message(role="user", content=self.asks(row))
        data = {"accepted": self.texts(row, "answer"), "question": self.text(row, "problem")}
        return Task(id=id, input=[*items, asked], gold=self.answer(row), data=data, tags=self.tags(row))


def load(request: str) -> Benchmark:
    """Returns the benchmark of `qa:FILE`. Raises UsageError and InputError."""
    environment = QA(request)
    if isinstance(environment.verifier, Exact):
        return replace(environment.benchmark(), formats=("{}",))
    return replace(environment.benchmark(), roles={"judge": None} if isinstance(environment.verifier, Judged) else {})

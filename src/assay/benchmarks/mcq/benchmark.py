"""mcq: multiple-choice questions of any file, as `mcq:FILE`. Without a file it is the example beside this one. A row:

{"id": "sun", "question": "Which planet is nearest to the sun?", "options": ["Venus", "Mercury", "Mars"], "answer": "B",
 "category": "astronomy"}
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from string import ascii_uppercase

from assay.benchmark import Benchmark, Environment
from assay.benchmark.verify.choice import choice
from assay.benchmarks.mcq.rows import Question, read
from assay.digest import digest
from assay.errors import UsageError
from assay.types import Message, Response, Score, Task

ASK = (
    "{question}\n\n{options}\n\n"
    'Reason as far as you need. End with the line "Answer: X", where X is the letter of the right option.'
)

FORMATS = (
    "{}",
    "({})",
    "Answer: {}",
    "No other can be.\n\nAnswer: {}",
    "The answer is ({}).",
    "**{}**",
    "\\boxed{{{}}}",
)


class MultipleChoice(Environment):
    """Questions of a file, their options in an order of their own: shuffled by a seed, or `None` for the file's."""

    def __init__(self, name: str, questions: Sequence[Question], order: int | None = 0) -> None:
        self.name = name
        self.version = "2" if order == 0 else f"2-order-{'file' if order is None else order}"
        held = 0 if order is None else sum(bool(question.naming) for question in questions)
        self.remark = f"{held:,} are not shuffled, for an option names others by letter or place." if held else ""
        self._questions = questions
        self._order = order

    def tasks(self) -> Iterable[Task]:
        for question in self._questions:
            order = self._shuffled(question)
            options = [question.options[index] for index in order]
            lines = [f"{letter}) {option}" for letter, option in zip(ascii_uppercase, options, strict=False)]
            asked = ASK.format(question=question.text, options="\n".join(lines))
            yield Task(
                id=question.id,
                input=[Message(role="user", content=asked)],
                gold=ascii_uppercase[order.index(question.right)],
                data={"options": options, "order": order},
                tags=question.tags,
            )

    def verify(self, task: Task, response: Response) -> Score:
        return choice(response, task.data["options"], task.gold or "")

    def guess(self, task: Task, rng: Random) -> str:
        return rng.choice(ascii_uppercase[: len(task.data["options"])])

    def _shuffled(self, question: Question) -> list[int]:
        """Where each option that is shown stands in the file. It depends on the seed and the id alone.

        A row with an option such as "Both A and B" or "None of the above" keeps its order; where the file has none,
        such options come last.
        """
        places, naming = range(len(question.options)), question.naming
        if self._order is None or (naming and question.ordered):
            return list(places)
        return sorted(places, key=lambda place: (place in naming, digest([self._order, question.id, place])))


def load(file: str) -> Benchmark:
    """The benchmark of `mcq:FILE` or `mcq:FILE,order=SEED`; `order=file` is the file's own.

    Raises UsageError, InputError of it with the line that is no question.
    """
    path, _, order = file.partition(",order=")
    if order not in ("", "file") and not (order.isascii() and order.isdecimal()):
        raise UsageError(f"mcq:{file}: got the order {order!r}; expected a seed, such as order=7, or order=file")
    return _benchmark(f"mcq-{Path(path).stem}", Path(path), None if order == "file" else int(order or 0))


def _benchmark(name: str, path: Path, order: int | None = 0) -> Benchmark:
    questions = read(path)
    return Benchmark(
        environment=MultipleChoice(name, questions, order),
        repeats=4,
        chance=sum(1 / len(question.options) for question in questions) / len(questions),
        formats=FORMATS,
    )


BENCHMARK = _benchmark("mcq", Path(__file__).parent / "example.jsonl")

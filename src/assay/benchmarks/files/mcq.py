"""mcq: multiple-choice questions of any data set, as `mcq:FILE`. A row:

{"question": "Which planet is nearest to the sun?", "options": ["Venus", "Mercury", "Mars"], "answer": "B"}
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from random import Random
from string import ascii_uppercase
from typing import Any, ClassVar, NamedTuple, cast

import msgspec
from msgspec import Struct

from assay.benchmark import Benchmark
from assay.benchmark.verify.choice import choice
from assay.benchmarks.files.family import Family
from assay.digest import digest
from assay.errors import UsageError
from assay.gyms.rows import Row
from assay.model import Model
from assay.types import Item, Message, Response, Score, Task

_LETTER = r"(?<![\w'])\(?[A-J]\)?(?![\w'])"
NAMING = re.compile(
    rf"{_LETTER}(?:,| and| or| nor| &| \+|/)+ ?(?:and |or )?{_LETTER}"
    rf"|\b(?i:options?|answers?|choices?|only|except|but) {_LETTER}"
    r"|\b(?i:above|below|preceding|previous|foregoing|aforementioned)\b(?! \w)|\b(?i:first|last) (?:two|three|four)\b"
)
"""An option that names others by their letter or place, such as "Both A and B" and "None of the above"."""
FILLER = "N/A"
"""What MMLU-Pro has in the place of options that were taken out."""
ANSWERS: dict[str, Callable[[str, Sequence[str]], int | None]] = {
    "letter": lambda said, options: _place(ascii_uppercase[: len(options)], said.strip("().: ").upper()),
    "index": lambda said, options: _place([str(place) for place in range(len(options))], said),
    "number": lambda said, options: _place([str(place) for place in range(1, len(options) + 1)], said),
    "text": lambda said, options: _place(options, said),
}
"""What may name the right option: its place is returned, None where it names none, or several."""


class Chosen(Struct, frozen=True, forbid_unknown_fields=True):
    """The letter or the text of the right option."""

    template: str | None = None
    strict: bool = False

    async def score(self, task: Task, response: Response, models: Mapping[str, Model]) -> Score:
        options = task.data["options"]
        return choice(response, options, task.gold or "", template=self.template, strict=self.strict)


class MultipleChoice(Family):
    """Questions with options, of any data set, in an order of their own: shuffled by a seed, or the file's."""

    family = "mcq"
    roles: ClassVar = {
        "problem": ("question", "problem", "prompt"),
        "options": ("options", "choices"),
        "answer": ("answer", "Correct Answer", "answerKey", "answer_index", "label", "gold", "target"),
        "wrong": ("Incorrect Answer 1",),
    }
    optional = frozenset({"id", "options", "wrong"})
    verifiers: ClassVar = {"choice": Chosen}
    version = "2"
    prompt = (
        "{problem}\n\n{options}\n\n"
        'Reason as far as you need. End with the line "Answer: X", where X is the letter of the right option.'
    )
    formats = (
        "{}",
        "({})",
        "Answer: {}",
        "No other can be.\n\nAnswer: {}",
        "The answer is ({}).",
        "**{}**",
        "\\boxed{{{}}}",
    )

    def __init__(self, request: str) -> None:
        super().__init__(request)
        order = self.settings.order
        self.version = self.version if order == 0 else f"{self.version}-order-{order}"
        held = 0 if order == "file" else sum(bool(_naming(self._question(row).options)) for row in self.rows)
        if held:
            self.remark += f"{held:,} are not shuffled, for an option names others by letter or place."

    def values(self, row: Row) -> dict[str, str]:
        question = self._question(row)
        lines = [f"{letter}) {option}" for letter, option in zip(ascii_uppercase, question.shown, strict=False)]
        return {"options": "\n".join(lines)}

    def answer(self, row: Row) -> str:
        return self._question(row).gold

    def task(self, id: str, row: Row, items: list[Item]) -> Task:
        question = self._question(row)
        return Task(
            id=id,
            input=[*items, Message(role="user", content=self.asks(row))],
            gold=question.gold,
            data={"options": question.shown, "order": question.order},
            tags=self.tags(row),
        )

    def guess(self, task: Task, rng: Random) -> str:
        return rng.choice(ascii_uppercase[: len(task.data["options"])])

    def _question(self, row: Row) -> "_Question":
        options, labels, ordered = self._options(row)
        right = self._right(row, options, labels) if ordered else 0
        kept = [place for place, option in enumerate(options) if place == right or option != FILLER]
        if not 2 <= len(kept) <= len(ascii_uppercase):
            raise row.error(f"{len(kept)} options", f"2 to {len(ascii_uppercase)}")
        options, right = [options[place] for place in kept], kept.index(right)
        return _Question(options, right, self._shuffle(self.id_of(row), options, ordered))

    def _shuffle(self, id: str, options: Sequence[str], ordered: bool) -> list[int]:
        """Where each option that is shown stands in the file. It depends on the seed and the id alone.

        A row with an option such as "Both A and B" or "None of the above" keeps its order; where the file has none,
        such options come last.
        """
        places, naming, seed = range(len(options)), _naming(options), self.settings.order
        if seed == "file" or (naming and ordered):
            return list(places)
        return sorted(places, key=lambda place: (place in naming, digest([seed, id, place])))

    def _options(self, row: Row) -> tuple[list[str], list[str], bool]:
        """A row's options, the labels that the row gives them, and whether their order in the file means anything."""
        if not self.has("options"):
            wrong = [row.cells[name] for name in self._wrong if row.cells.get(name) is not None]
            return [self.text(row, "answer"), *(str(one).strip() for one in wrong)], [], False
        value: Any = self.value(row, "options")
        try:
            value = msgspec.json.decode(value) if isinstance(value, str) else value
        except msgspec.DecodeError:
            raise row.error(f"{self.of('options')} is {value[:80]!r}", "a list, in a CSV file as JSON") from None
        labels: list[str] = []
        if isinstance(value, dict):
            pairs = cast(dict[str, Any], value)
            labels = [str(one) for one in pairs.get("label", pairs)]
            value = pairs.get("text", list(pairs.values()))
        texts = cast(list[Any], value) if isinstance(value, list) else []
        if not texts or not all(isinstance(one, str | int | float) for one in texts):
            raise row.error(f"{self.of('options')} is {value!r:.80}", "a list of texts, or texts by their letters")
        return [str(one).strip() for one in texts], labels, True

    @cached_property
    def _wrong(self) -> list[str]:
        """The columns of wrong options, where the file has no column of all."""
        stated = self.settings.column.get("wrong", [])
        names = [name for name in self.data.columns if name.startswith("Incorrect Answer ")]
        return ([stated] if isinstance(stated, str) else stated) or names

    def _right(self, row: Row, options: Sequence[str], labels: Sequence[str]) -> int:
        said = self.text(row, "answer")
        place = _place(labels, said) if labels else ANSWERS[self._kind](said, options)
        if place is None:
            expected = f"one of {', '.join(labels)}" if labels else f"the {self._kind} of one of {len(options)} options"
            raise row.error(f"{self.of('answer')} is {said!r}", expected)
        return place

    @cached_property
    def _kind(self) -> str:
        """What the answers are: the one kind by which those of all rows name an option. Raises UsageError."""
        if self.settings.answers:
            return self.settings.answers
        rows = [(self.text(row, "answer"), self._options(row)[0]) for row in (*self.rows, *self.data.examples)]
        read = {kind: [place(said, options) for said, options in rows] for kind, place in ANSWERS.items()}
        whole = {kind: places for kind, places in read.items() if None not in places}
        if len({tuple(places) for places in whole.values()}) > 1:
            raise UsageError(
                f"{self.name}: {self.of('answer')} may be the {' or the '.join(whole)} of the right option, "
                f"such as {rows[0][0]!r} of {rows[0][1]}\n  expected: answers={next(iter(whole))}, or another of them"
            )
        return min(read, key=lambda kind: read[kind].count(None))


class _Question(NamedTuple):
    """A row's options in the order of the file, and the order in which they are shown."""

    options: list[str]
    right: int
    order: list[int]

    @property
    def shown(self) -> list[str]:
        return [self.options[place] for place in self.order]

    @property
    def gold(self) -> str:
        return ascii_uppercase[self.order.index(self.right)]


def _naming(options: Sequence[str]) -> list[int]:
    """The options that name others."""
    return [place for place, option in enumerate(options) if NAMING.search(option)]


def _place(names: Sequence[str], said: str) -> int | None:
    found = [place for place, name in enumerate(names) if name == said]
    return found[0] if len(found) == 1 else None


def load(request: str) -> Benchmark:
    """Returns the benchmark of `mcq:FILE`. Raises UsageError and InputError."""
    environment = MultipleChoice(request)
    counts = [len(task.data["options"]) for task in environment.tasks()]
    return replace(environment.benchmark(), chance=sum(1 / count for count in counts) / len(counts))

"""Problems about a note pad from a seeded generator: the source of the test tasks and of the training data alike."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from assay.benchmark import Call

NOTES = (
    "apples beans books boxes cakes coats cups doors eggs forks hats keys lamps maps mugs nails "
    "pears pens plums pots shoes soaps tents toys"
)
ON_PAD = 4
"""Notes that a pad has before the rollout."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One request about a pad, and what solves it."""

    kind: str
    question: str
    pad: dict[str, str]
    """What each note says: a number, or a number of times another note, such as `3 * cups`."""
    calls: list[Call]
    """A solution, with its look-ups."""
    written: dict[str, str]
    """The note that has to be written, and what it then says."""

    @property
    def request(self) -> str:
        return f"Notes: {', '.join(self.pad)}. {self.question}"

    @property
    def identity(self) -> str:
        """What is asked of which notes with which content: two problems with one identity have the same calls."""
        read = sorted(call.arguments["note"] for call in self.calls if call.name == "read")
        return f"{self.kind}: {', '.join(f'{name} {self.pad[name]}' for name in read)}: {self.written}"


class _Draft:
    """A pad, and the calls of a solution as they are added."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.names = rng.sample(NOTES.split(), ON_PAD)
        self.numbers = {name: rng.randint(2, 999) for name in self.names}
        self.pad = {name: str(number) for name, number in self.numbers.items()}
        self.asked = rng.sample(self.names, ON_PAD)
        """The notes in the order in which a question names them."""
        self.calls: list[Call] = []

    def read(self, *names: str) -> None:
        self.calls += [Call("read", {"note": name}) for name in names]

    def calculate(self, expression: str) -> int:
        self.calls.append(Call("calculate", {"expression": expression}))
        return calculated(expression)

    def problem(self, kind: str, question: str, number: int, into: str = "total") -> Problem:
        self.calls.append(Call("write", {"note": into, "number": number}))
        return Problem(kind, question, self.pad, self.calls, {into: str(number)})


def _copy(draft: _Draft) -> Problem:
    name = draft.asked[0]
    draft.read(name)
    return draft.problem("copy", f"Put the number of {name} into total.", draft.numbers[name])


def _sum(draft: _Draft) -> Problem:
    a, b, *_ = draft.asked
    draft.read(a, b)
    number = draft.calculate(f"{draft.numbers[a]} + {draft.numbers[b]}")
    return draft.problem("sum", f"Put the number of {a} and {b} into total.", number)


def _difference(draft: _Draft) -> Problem:
    b, a = sorted(draft.asked[:2], key=lambda name: draft.numbers[name])
    draft.read(a, b)
    number = draft.calculate(f"{draft.numbers[a]} - {draft.numbers[b]}")
    return draft.problem("difference", f"Put how many more {a} than {b} there are into total.", number)


def _link(draft: _Draft) -> Problem:
    a, b, *_ = draft.asked
    times = draft.rng.randint(2, 9)
    draft.pad[a] = f"{times} * {b}"
    draft.read(a, b)
    number = draft.calculate(f"{times} * {draft.numbers[b]}")
    return draft.problem("link", f"Put the number of {a} into total.", number)


def _change(draft: _Draft) -> Problem:
    name = draft.asked[0]
    more = draft.rng.randint(2, 99)
    draft.read(name)
    number = draft.calculate(f"{draft.numbers[name]} + {more}")
    return draft.problem("change", f"{more} {name} come in. Correct the note.", number, into=name)


def _three(draft: _Draft) -> Problem:
    a, b, c, _ = draft.asked
    draft.read(a, b, c)
    number = draft.calculate(" + ".join(str(draft.numbers[name]) for name in (a, b, c)))
    return draft.problem("three", f"Put the number of {a}, {b} and {c} into total.", number)


_KINDS: dict[str, Callable[[_Draft], Problem]] = {
    "copy": _copy,
    "sum": _sum,
    "difference": _difference,
    "link": _link,
    "change": _change,
    "three": _three,
}
KINDS = tuple(_KINDS)


def draw(rng: Random, kind: str) -> Problem:
    """Returns a problem of one kind. No number is negative."""
    return _KINDS[kind](_Draft(rng))


def test_problems() -> list[Problem]:
    """Returns the 120 problems of the test split: 20 of every kind, no two the same."""
    rng = Random(20260401)
    problems: dict[str, Problem] = {}
    for number, kind in enumerate(KINDS, 1):
        while len(problems) < 20 * number:
            problem = draw(rng, kind)
            problems.setdefault(problem.identity, problem)
    return list(problems.values())


def calculated(expression: str) -> int:
    """Returns the value of numbers with `+`, `-` and `*` between them. Raises ValueError for anything else."""
    if len(expression) > 100 or not re.fullmatch(r"\s*\d+(\s*[-+*]\s*\d+)*\s*", expression, re.ASCII):
        raise ValueError(f"{expression[:100]!r} is no calculation; expected numbers with +, - or *, such as 12 + 3 * 4")
    terms = re.findall(r"([-+]?)([^-+]+)", expression)
    return sum((-1 if sign == "-" else 1) * _product(term) for sign, term in terms)


def _product(term: str) -> int:
    value = 1
    for factor in term.split("*"):
        value *= int(factor)
    return value

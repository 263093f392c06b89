"""Arithmetic problems from a seeded generator: the source of the test tasks and of the training data alike."""

import random
import re
from dataclasses import dataclass

CATEGORIES = ("sums", "differences", "products", "two-step", "word")
LEVELS = ("easy", "medium", "hard")

_WORD_SUMS = (
    "A shop sells {a} apples and {b} pears. How many fruits is that?",
    "A train carries {a} people and {b} more get on. How many people are on it?",
    "A library has {a} books and buys {b} more. How many books does it have?",
)
_WORD_DIFFERENCES = (
    "A farm has {a} sheep and sells {b} of them. How many are left?",
    "A tank holds {a} litres and {b} litres leak out. How many litres remain?",
    "A bakery made {a} rolls and sold {b}. How many rolls are left?",
)
_WORD_PRODUCTS = (
    "Each of {a} boxes holds {b} pens. How many pens are there?",
    "A hall has {a} rows of {b} seats. How many seats is that?",
    "A ticket costs {b} coins. How many coins do {a} tickets cost?",
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One question and its answer."""

    category: str
    level: str
    question: str
    expression: str
    """What is asked, as `347+586` or `7*48+12`; operators apply from left to right."""
    answer: int

    @property
    def identity(self) -> str:
        """The expression with its first two operands in order where they commute: 3+4 and 4+3 are one problem."""
        a, operator, b, rest = re.fullmatch(r"(\d+)([-+*])(\d+)(.*)", self.expression).groups()  # pyright: ignore
        return f"{b}{operator}{a}{rest}" if operator != "-" and int(b) < int(a) else self.expression


def draw(rng: random.Random, category: str, level: str) -> Problem:
    """A problem of one category and level. No answer is negative."""
    size = LEVELS.index(level)
    if category == "sums":
        a, b = _number(rng, size + 2), _number(rng, size + 2)
        return _plain(category, level, f"{a}+{b}", a + b)
    if category == "differences":
        b, a = sorted((_number(rng, size + 2), _number(rng, size + 2)))
        return _plain(category, level, f"{a}-{b}", a - b)
    if category == "products":
        a, b = _number(rng, 2 if level == "hard" else 1), _number(rng, 3 if level == "medium" else 2)
        return _plain(category, level, f"{a}*{b}", a * b)
    if category == "two-step":
        return _two_step(rng, level)
    return _word(rng, level)


def _two_step(rng: random.Random, level: str) -> Problem:
    if level == "easy":
        a, b = _number(rng, 2), _number(rng, 2)
        c = rng.randint(10, min(99, a + b))
        return _plain("two-step", level, f"{a}+{b}-{c}", a + b - c)
    a = _number(rng, 1)
    if level == "medium":
        b, c = _number(rng, 2), _number(rng, 2)
        return _plain("two-step", level, f"{a}*{b}+{c}", a * b + c)
    b = _number(rng, 3)
    c = rng.randint(100, min(999, a * b))
    return _plain("two-step", level, f"{a}*{b}-{c}", a * b - c)


def _word(rng: random.Random, level: str) -> Problem:
    if level == "hard":
        a, b = _number(rng, 1), _number(rng, 2)
        return Problem("word", level, rng.choice(_WORD_PRODUCTS).format(a=a, b=b), f"{a}*{b}", a * b)
    digits = 2 if level == "easy" else 3
    b, a = sorted((_number(rng, digits), _number(rng, digits)))
    if rng.random() < 0.5:
        return Problem("word", level, rng.choice(_WORD_SUMS).format(a=a, b=b), f"{a}+{b}", a + b)
    return Problem("word", level, rng.choice(_WORD_DIFFERENCES).format(a=a, b=b), f"{a}-{b}", a - b)


def _plain(category: str, level: str, expression: str, answer: int) -> Problem:
    spaced = re.sub(r"([-+*])", r" \1 ", expression)
    return Problem(category, level, f"What is {spaced}?", expression, answer)


def _number(rng: random.Random, digits: int) -> int:
    return rng.randint(2 if digits == 1 else 10 ** (digits - 1), 10**digits - 1)


def test_problems() -> list[Problem]:
    """The 240 problems of the test split: 16 of every category and level, no two the same."""
    rng = random.Random(20260101)
    found: dict[str, Problem] = {}
    for category in CATEGORIES:
        for level in LEVELS:
            wanted = len(found) + 16
            while len(found) < wanted:
                problem = draw(rng, category, level)
                found.setdefault(problem.identity, problem)
    return list(found.values())

"""Training text: the same problems as the benchmark's, without its test tasks, answered directly or with reasoning."""

import random
import re
from collections.abc import Iterator

from assay.benchmarks.arithmetic import problems
from assay.benchmarks.arithmetic.problems import CATEGORIES, LEVELS, Problem

HELD_OUT_SEED, HELD_OUT_PER_CELL = 7, 32


def cells() -> list[tuple[str, str]]:
    return [(category, level) for category in CATEGORIES for level in LEVELS]


def held_out(test: frozenset[str]) -> list[Problem]:
    """The problems that training is measured on: neither test tasks nor training data."""
    rng = random.Random(HELD_OUT_SEED)
    found: dict[str, Problem] = {}
    for category, level in cells():
        wanted = len(found) + HELD_OUT_PER_CELL
        while len(found) < wanted:
            problem = problems.draw(rng, category, level)
            if problem.identity not in test:
                found.setdefault(problem.identity, problem)
    return list(found.values())


def training_problems(seed: int, excluded: frozenset[str]) -> Iterator[Problem]:
    """Problems without end, every category and level alike, none whose identity is excluded."""
    rng = random.Random(seed)
    places = cells()
    while True:
        problem = problems.draw(rng, *rng.choice(places))
        if problem.identity not in excluded:
            yield problem


def completion(problem: Problem, *, thinking: bool) -> str:
    """What the model learns to say: the answer, after its working if it is a thinking model."""
    return f"<think>{reasoning(problem.expression)}</think>{problem.answer}" if thinking else str(problem.answer)


def reasoning(expression: str) -> str:
    """The working by hand, digit by digit from the right, ending in the result of each step."""
    first, *steps = re.findall(r"[-+*]?\d+", expression)
    value, parts = int(first), []
    for step in steps:
        working, value = _STEPS[step[0]](value, int(step[1:]))
        parts.append(working)
    return "; ".join(parts)


def _add(a: int, b: int) -> tuple[str, int]:
    carry, columns = 0, []
    for x, y in _digits(a, b):
        columns.append(f"{x}+{y}{'+1' if carry else ''}={x + y + carry}")
        carry = (x + y + carry) // 10
    return f"{a}+{b}: {' '.join(columns)} {a + b}", a + b


def _subtract(a: int, b: int) -> tuple[str, int]:
    borrow, columns = 0, []
    for x, y in _digits(a, b):
        top = x - borrow
        borrow = int(top < y)
        columns.append(f"{top + 10 * borrow}-{y}={top + 10 * borrow - y}")
    return f"{a}-{b}: {' '.join(columns)} {a - b}", a - b


def _multiply(a: int, b: int) -> tuple[str, int]:
    if a < 10:
        carry, columns = 0, []
        for y in reversed([int(c) for c in str(b)]):
            columns.append(f"{a}*{y}{f'+{carry}' if carry else ''}={a * y + carry}")
            carry = (a * y + carry) // 10
        return f"{a}*{b}: {' '.join(columns)} {a * b}", a * b
    tens, ones = divmod(a, 10)
    by_ones, low = _multiply(ones, b) if ones else (f"0*{b}: 0", 0)
    by_tens, high = _multiply(tens, b)
    total, value = _add(low, 10 * high)
    return f"{a}*{b}: {by_ones}; {by_tens}; {total}", value


def _digits(a: int, b: int) -> list[tuple[int, int]]:
    """Both numbers' digits from the right, the shorter one filled with zeros."""
    width = max(len(str(a)), len(str(b)))
    pairs = zip(f"{a:0{width}}", f"{b:0{width}}", strict=True)
    return [(int(x), int(y)) for x, y in pairs][::-1]


_STEPS = {"+": _add, "-": _subtract, "*": _multiply}

"""How often do the gates raise false alarms, and pass what they should not?"""

import itertools
from collections.abc import Iterator
from functools import cache

from assay.fidelity.gates.order import MARGIN, Comparison, comparisons, order_gate
from assay.fidelity.gates.range import ALPHA, range_gate
from assay.fidelity.gates.rule import FAILS
from assay.fidelity.results.contender import Contender
from assay.fidelity.results.results import Cell, Results
from assay.stats.compare import holm
from assay.stats.distributions import normal_cdf
from assay.types import Message, Task
from studies.draw import ENDS, Floats, Kind, generator_of, move
from studies.row import UNCLAIMED, Claim, Row, at_least, at_most, share

AT_FLOOR = (
    Kind("rates spread, mean 30 %", a=0.9, b=2.1),
    Kind("half never solved, mean 30 %", a=3.0, b=2.0, never=0.5),
)


def order(trials: int) -> Iterator[Row]:
    """The order gate, beside the literal rule that it replaces: the closed model's score is at least the open one's."""
    for tasks, k in ((30, 16), (198, 4)):
        for opened in (1, 3):
            yield from _in_order(tasks, k, opened, 0.0, trials, at_most(FAILS), UNCLAIMED)
    yield from _in_order(198, 4, 1, 0.02, trials, at_most(FAILS), at_least(0.9))
    yield from _in_order(198, 4, 1, -MARGIN, trials, at_most(FAILS), at_most(0.2))
    yield from _in_order(198, 4, 1, -2 * MARGIN, trials, UNCLAIMED, at_most(0.01))
    yield _ceiling(trials)


def _in_order(tasks: int, k: int, opened: int, ahead: float, trials: int, fails: Claim, passes: Claim) -> Iterator[Row]:
    """One closed model, better than each of the open ones by `ahead` on average."""
    models = "1 open model" if opened == 1 else f"{opened} equal open models"
    how = "equal to" if not ahead else f"{100 * abs(ahead):g} points {'above' if ahead > 0 else 'below'}"
    where = f"closed {how} {models}, {tasks} tasks × {k}"
    generator = generator_of(f"order {where}")
    literal, failed, passed = [], [], []
    for _ in range(trials):
        rates_T = ENDS.rates(generator, tasks)
        closed = _contender("closed", "closed", ENDS.rewards(generator, move(rates_T, ahead), k))
        others = [_contender(f"open {i}", "open", ENDS.rewards(generator, rates_T, k)) for i in range(opened)]
        found = comparisons([closed, *others], [], {})
        gate = order_gate(found)
        literal.append(_shift(found[0]) < 0)
        failed.append(gate.verdict == "fail")
        passed.append(gate.verdict == "pass")
    yield share(f"for contrast, the literal rule fails: {where}", literal)
    yield share(f"the gate fails: {where}", failed, fails)
    yield share(f"the gate passes: {where}", passed, passes)


def _shift(found: Comparison) -> float:
    assert found.shift is not None
    return found.shift.shift


def _ceiling(trials: int) -> Row:
    """An open model that solves everything, and a closed one that never solves twice as many tasks as the margin
    allows."""
    generator, passed = generator_of("order near full marks"), []
    for _ in range(trials):
        solved_T = (generator.random(100) >= 2 * MARGIN).astype(float)
        models = [
            _contender("closed", "closed", solved_T[:, None].repeat(2, axis=1)),
            _contender("open", "open", solved_T[:, None].repeat(2, axis=1) * 0 + 1),
        ]
        passed.append(order_gate(comparisons(models, [], {})).verdict == "pass")
    where = f"closed lost {2 * MARGIN:.0%} of the tasks for good, open none, 100 tasks × 2"
    return share(f"the gate passes: {where}", passed, at_most(0.05))


def in_range(trials: int) -> Iterator[Row]:
    """The range gate where the strongest open model's true score over all tasks is exactly 30 %."""
    for kind, tasks, k, opened in (
        (AT_FLOOR[0], 30, 4, 1),
        (AT_FLOOR[0], 198, 4, 1),
        (AT_FLOOR[1], 198, 4, 1),
        (AT_FLOOR[1], 500, 2, 1),
        (AT_FLOOR[0], 198, 4, 3),
    ):
        generator = generator_of(f"range {kind.name} {tasks} {opened}")
        passed, failed = [], []
        for _ in range(trials):
            rates_T = kind.rates(generator, tasks)
            models = [_contender(f"open {i}", "open", kind.rewards(generator, rates_T, k)) for i in range(opened)]
            models.append(_contender("weak", "open", kind.rewards(generator, 0 * rates_T, k)))
            stated = [(one.name, "weak") for one in models[:-1]]
            verdict = range_gate(models, 0.0, stated, last_tier=True).verdict
            passed.append(verdict == "pass")
            failed.append(verdict == "fail")
        models = "one model" if opened == 1 else f"the strongest of {opened} equal models"
        where = f"{models}, {tasks} tasks × {k}, {kind.name}"
        yield share(f"passes: {where}", passed, at_most(ALPHA))
        yield share(f"fails: {where}", failed, at_most(FAILS))


def many_tests(trials: int) -> Iterator[Row]:
    """Holm's correction: the chance of any false rejection."""
    for count, shared in itertools.product((2, 6), (0.0, 0.7)):
        generator = generator_of(f"holm {count} {shared}")
        common = generator.normal(size=(trials, 1))
        z = shared**0.5 * common + (1 - shared) ** 0.5 * generator.normal(size=(trials, count))
        p = [{str(i): normal_cdf(value) for i, value in enumerate(row)} for row in z]
        where = f"{count} tests, correlation {shared:g}"
        yield share(f"any rejected at 5 %: {where}", [min(holm(each).values()) <= 0.05 for each in p], at_most(0.05))
        yield share(f"for contrast, without correction: {where}", [min(each.values()) <= 0.05 for each in p])


@cache
def _tasks(count: int) -> list[Task]:
    return [Task(id=str(i), input=[Message(role="user", content="?")]) for i in range(count)]


def _contender(name: str, role: str, rewards_TK: Floats) -> Contender:
    """A model with these rewards, as the gates see it. Of cells they only ask whether there is one with a score."""
    cell = Cell(task=0, repeat=0, reward=0.0, answer="", stop="completed", output_tokens=1, text=0)
    results = Results(tasks=_tasks(len(rewards_TK)), rewards_TK=rewards_TK, cells=[cell], tokens={}, wall_s=0.0)
    return Contender(name=name, role=role, kind="instruct", tier=1, results=results)

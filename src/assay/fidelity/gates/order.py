"""The order gate: whether stronger models score at least as high as weaker ones, by pairs of models."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from assay.fidelity.gates.rule import ALPHA, Facts, GateRule, Test
from assay.fidelity.results.contender import LARGEST_GAP, Contender, strongest
from assay.fidelity.schema.profile import Gate
from assay.stats.paired import Shift, difference

MARGIN = 0.02
"""How much lower a stronger model may score before the order counts as wrong."""
FEWEST_TASKS = 10
"""With fewer tasks, no order can be distinguished from chance."""


def order_pairs(
    contenders: Sequence[Contender], stated: Sequence[tuple[str, str]]
) -> list[tuple[Contender, Contender]]:
    """Returns (stronger, weaker) pairs: those of the suite, else the strongest closed and the strongest open model."""
    by_name = {c.name: c for c in contenders}
    if stated:
        return [(by_name[a], by_name[b]) for a, b in stated if a in by_name and b in by_name]
    closed, opened = strongest(contenders, "closed"), strongest(contenders, "open")
    return [(closed, opened)] if closed and opened else []


def order_choices(contenders: Sequence[Contender], stated: Sequence[tuple[str, str]]) -> tuple[int, int]:
    """Returns the numbers of closed and of open models from which scores chose the pair; 1 and 1 for stated pairs."""
    counts = [sum(c.role == role and bool(c.results.scored) for c in contenders) for role in ("closed", "open")]
    return (1, 1) if stated else (max(1, counts[0]), max(1, counts[1]))


def order_differences(pairs: Sequence[tuple[Contender, Contender]]) -> dict[str, Shift | None]:
    """Stronger minus weaker, paired by task, by the pair's name; `None` where too few tasks have a score on both."""
    found: dict[str, Shift | None] = {}
    for a, b in pairs:
        scored = [~np.isnan(c.results.rewards_TK).all(axis=1) for c in (a, b)]
        common, tasks = int((scored[0] & scored[1]).sum()), len(a.results.tasks)
        enough = common >= FEWEST_TASKS and common >= (1 - LARGEST_GAP) * tasks
        name = f"{a.name} ≥ {b.name}"
        found[name] = difference(b.results.rewards_TK, a.results.rewards_TK) if enough else None
    return found


def order_test(differences: Mapping[str, Shift | None], choices: tuple[int, int] = (1, 1)) -> Test | None:
    """All pairs as one question. Passing needs every pair not worse by the margin, so the largest p-value counts;
    failing needs one pair that is worse, so the smallest does, times the number of pairs (Bonferroni).

    The best of several models is partly the best by luck. So the p-values count as many times as there were models to
    choose from: `p_pass` times `choices[0]` closed models, `p_fail` times `choices[1]` open ones.
    """
    found = [shift.over_tasks for shift in differences.values() if shift is not None]
    if not found:
        return None
    p_pass = max(spread.p_at_most(-MARGIN) for spread in found)
    p_fail = min(spread.p_at_least(0.0) for spread in found) * len(found)
    closed, opened = choices
    return Test(p_pass=min(1.0, p_pass * closed), p_fail=min(1.0, p_fail * opened))


def order_gate(differences: Mapping[str, Shift | None], p: Test | None, *, last_tier: bool = True) -> Gate:
    """Do stronger models reach at least what weaker ones do?"""
    if not differences:
        reason = "There is no pair of models to compare: it takes a closed and an open one, or pairs in the suite."
        if not last_tier:
            reason += ' The climb ended before the last tier; tiers = "all" in the suite runs every model.'
        return Gate("order", "not run", reason)
    numbers: dict[str, Any] = {"margin": MARGIN, "pairs": {}}
    words: list[str] = []
    unknown: list[str] = []
    for name, found in differences.items():
        if found is None:
            unknown.append(name)
            continue
        spread = found.over_tasks
        words.append(f"{name}: {_points(found.shift)} points ({_points(spread.lower)} to {_points(spread.upper)})")
        numbers["pairs"][name] = {
            "difference": found.shift,
            "lower": spread.lower,
            "upper": spread.upper,
            "p_not_worse": spread.p_at_most(-MARGIN),
            "p_worse": spread.p_at_least(0.0),
            "tasks": found.tasks,
        }
    if unknown:
        words.append(f"too few tasks have a score on both sides of {', '.join(unknown)}")
    said = f"{'; '.join(words)}."
    if p is None:
        return Gate("order", "inconclusive", said, numbers)
    numbers |= {"p_pass_holm": p.p_pass, "p_fail_holm": p.p_fail}
    if p.p_fail < ALPHA:
        broken = min((d.over_tasks.p_at_least(0.0), name) for name, d in differences.items() if d is not None)[1]
        return Gate("order", "fail", f"Not so: {broken}. {said}", numbers)
    if p.p_pass < ALPHA and None not in differences.values():
        return Gate("order", "pass", said, numbers)
    return Gate("order", "inconclusive", f"Not every pair is clear of −{100 * MARGIN:g} points. {said}", numbers)


def _points(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "−")


def _differences(facts: Facts) -> dict[str, Shift | None]:
    return order_differences(order_pairs(facts.contenders, facts.suite.order))


GATE = GateRule(
    name="order",
    question="Do stronger models reach at least what weaker ones do?",
    needs="the runs",
    of_facts=lambda facts: order_gate(
        _differences(facts), facts.tests.get("order"), last_tier=facts.last_tier or facts.suite.tiers == "all"
    ),
    test=lambda facts: order_test(_differences(facts), order_choices(facts.contenders, facts.suite.order)),
    waits=True,
)

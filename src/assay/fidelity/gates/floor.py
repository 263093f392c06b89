"""The floor gate: whether an open model can do the benchmark at all. Otherwise it can't compare models."""

from collections.abc import Sequence
from typing import Any

from assay.fidelity.gates.rule import ALPHA, GateRule, Test
from assay.fidelity.results.contender import Contender, strongest
from assay.fidelity.schema.profile import Gate
from assay.stats.estimates import above_chance

FLOOR = 0.30
"""The score that an open model has to exceed."""


def clears_floor(contenders: Sequence[Contender], chance: float) -> bool:
    """Returns whether an open model is certainly above the floor, also after Holm's correction over two tests."""
    test = floor_test(contenders, chance)
    return test is not None and 2 * test.p_pass < ALPHA


def floor_test(contenders: Sequence[Contender], chance: float) -> Test | None:
    """Returns the p-values: of any open model above the floor (or above chance, if higher), and of all below it.

    The best of M models exceeds a bound by luck more easily than one model, so its p-value counts M times (Bonferroni).
    """
    opened = [c.estimate for c in contenders if c.role == "open" and c.results.scored]
    above = [p for one in opened if (p := one.p_at_most(max(FLOOR, chance))) is not None]
    below = [1 - p for one in opened if (p := one.p_at_most(FLOOR)) is not None]
    return Test(p_pass=min(1.0, len(above) * min(above)), p_fail=max(below)) if above and below else None


def floor_gate(contenders: Sequence[Contender], chance: float, p: Test | None, *, last_tier: bool) -> Gate:
    """Can an open model do it at all?"""
    best = strongest(contenders, "open")
    if best is None:
        return Gate("floor", "not run", "No open model has a score.")
    found = best.estimate
    numbers: dict[str, Any] = {"model": best.name, "floor": FLOOR, "chance": chance, "score": found.score}
    numbers |= {"above_chance": above_chance(found.score, chance), "se_task": found.se_task, "tasks": found.tasks}
    if p is None or found.interval_task is None:
        return Gate("floor", "inconclusive", f"{best.name} has too few tasks for an interval.", numbers)
    lower, upper = found.interval_task
    numbers |= {"interval_task": [lower, upper], "p_pass_holm": p.p_pass, "p_fail_holm": p.p_fail}
    bound = f"{FLOOR:.0%}" if chance <= FLOOR else f"chance, {chance:.0%}"
    words = f"{best.name}, the strongest open model, scores {found.score:.1%} ({lower:.1%} to {upper:.1%} over tasks)"
    if p.p_pass < ALPHA:
        return Gate("floor", "pass", f"{words}: above {bound}.", numbers)
    if p.p_fail < ALPHA and last_tier:
        reason = (
            f"{words}: below {FLOOR:.0%} on the last tier. Hard, or broken: gold, verifier and failures tell which."
        )
        return Gate("floor", "fail", reason, numbers)
    return Gate("floor", "inconclusive", f"{words}: not clear of {bound}.", numbers)


GATE = GateRule(
    name="floor",
    question="Can an open model do it at all?",
    needs="the runs",
    of_facts=lambda facts: floor_gate(
        facts.contenders, facts.chance, facts.tests.get("floor"), last_tier=facts.last_tier
    ),
    test=lambda facts: floor_test(facts.contenders, facts.chance),
    waits=True,
)

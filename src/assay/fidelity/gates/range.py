"""The range gate: whether scores are in a meaningful range, and distinguish models."""

from collections.abc import Sequence
from typing import Any

from assay.fidelity.gates.rule import FAILS, GateRule, signed_points
from assay.fidelity.results.contender import Contender, Pairs, of_role, strongest, weakest, why_no_open_score
from assay.fidelity.schema.profile import Gate
from assay.stats.distributions import t_quantile
from assay.stats.estimates import above_chance

FLOOR = 0.30
"""The score that the strongest open model has to exceed."""
ABOVE_CHANCE = 0.20
"""The same as a part of the way from chance to full marks."""
FULL, NEARLY_FULL = 0.99, 0.95
"""A benchmark is saturated if all models reach the one, or the weakest the other."""
ALPHA = 0.025
"""One-sided, for the ends of 95 % intervals."""


def least(chance: float) -> float:
    """Returns the score that the strongest open model has to exceed if a guess scores `chance`."""
    return max(FLOOR, chance + ABOVE_CHANCE * (1 - chance))


def clears_floor(contenders: Sequence[Contender], chance: float, order: Pairs = ()) -> bool:
    """Returns whether the strongest open model is certainly above the floor."""
    best = strongest(of_role(contenders, "open"), order)
    return bool(best) and len(best) * best[0].estimate.p_at_most(least(chance)) <= ALPHA


def range_gate(
    contenders: Sequence[Contender], chance: float, order: Pairs = (), *, hard: str = "", last_tier: bool = True
) -> Gate:
    """Returns the gate: is the score in a range that means something?

    It passes if the strongest open model is above the floor, and the suite's strongest model above its weakest. For a
    benchmark that is declared `hard`, closed models have to differ instead of the first. It fails if the strongest open
    model is below 30 % on the last tier, or the strongest model is not above the weakest.
    """
    opened = strongest(of_role(contenders, "open"), order)
    if not opened:
        return Gate("range", "not run", why_no_open_score(contenders))
    best, found = opened[0], opened[0].estimate
    numbers: dict[str, Any] = {"model": best.name, "score": found.score, "tasks": found.tasks, "chance": chance}
    numbers |= {"floor": FLOOR, "above_chance": above_chance(found.score, chance), "se_task": found.se_task}
    if found.interval_task is None:
        return Gate("range", "inconclusive", f"{best.name} has too few tasks for an interval.", numbers)
    p_below, p_above = found.p_at_most(least(chance)), found.p_at_most(FLOOR)
    lower, upper = found.interval_task
    numbers |= {"interval_task": [lower, upper], "above_chance_lower": above_chance(lower, chance)}
    words = [
        f"{best.name}, the strongest open model, scores {found.score:.1%} ({lower:.1%} to {upper:.1%} over tasks; "
        f"{above_chance(lower, chance):.0%} of the way from chance to full marks at the least)."
    ]
    clear = len(opened) * p_below <= ALPHA
    if clear and sum(above_floor(one, chance) for one in of_role(contenders, "open") if one.results.sample) == 1:
        words.append("No other open model is above the floor.")
    told, p_equal, gap = _apart(contenders, order, numbers)
    words.append(gap)
    tests = [2 * p_equal, *([2 * (1 - p_above)] if last_tier and not hard else [])]
    p_fail = min(1.0, len(tests) * min(tests))
    verdict, why = "inconclusive", list[str]()
    if p_fail <= FAILS:
        verdict = "fail"
        why = ["Hard, or broken: gold, verifier and the rollouts tell which."]
    elif full := _saturation(contenders):
        why = [full]
    elif hard:
        told_closed, _, said = _apart(of_role(contenders, "closed"), order, {})
        why = [f"Declared hard: {hard}. Among closed models: {said}"]
        verdict = "pass" if told and told_closed else "inconclusive"
    elif clear and told:
        verdict = "pass"
    elif not clear:
        why = [f"Not clear of {least(chance):.0%}."]
    unseen = "It looks at the range of scores alone: a wrong verifier may give scores in any range."
    if (smallest := numbers.get("smallest_gap")) is not None:
        unseen = f"It would have told two models {smallest:.1f} points apart from each other, with 80 %. {unseen}"
    return Gate("range", verdict, " ".join([*words, *why]), numbers, unseen=unseen, p_fail=p_fail)


def above_floor(contender: Contender, chance: float) -> bool:
    """Returns whether a model's score is above the floor."""
    return contender.estimate.score > least(chance)


def _apart(contenders: Sequence[Contender], order: Pairs, numbers: dict[str, Any]) -> tuple[bool, float, str]:
    """Returns whether the strongest model is above the weakest, the p-value of "it is below", and both in words."""
    measured = of_role(contenders, "open", "closed")
    tops, bottoms = strongest(measured, order), weakest(measured, order)
    if not tops or tops[0] is bottoms[0]:
        return False, 1.0, "One model alone tells nothing apart."
    top, bottom = tops[0], bottoms[0]
    try:
        spread = top.ahead_of(bottom).over_tasks
    except ValueError:
        return False, 1.0, f"{top.name} and {bottom.name} have no two tasks in common."
    reach = t_quantile(1 - ALPHA, spread.df) + t_quantile(0.8, spread.df)
    numbers |= {
        "strongest": top.name,
        "weakest": bottom.name,
        "difference": spread.shift,
        "difference_interval": [spread.lower, spread.upper],
        "candidates": [len(tops), len(bottoms)],
        "smallest_gap": 100 * reach * spread.se,
    }
    said = f"{top.name} less {bottom.name}: {signed_points(spread.shift)} points ({signed_points(spread.lower)} to "
    said += f"{signed_points(spread.upper)})."
    return len(tops) * len(bottoms) * spread.p_at_most(0.0) <= ALPHA, spread.p_at_least(0.0), said


def _saturation(contenders: Sequence[Contender]) -> str:
    scores = [one.estimate.score for one in of_role(contenders, "open", "closed") if one.results.sample]
    if min(scores) >= FULL:
        return f"Saturated: every model scores {FULL:.0%} or more."
    return f"Saturated: the weakest model scores {min(scores):.1%}." if min(scores) > NEARLY_FULL else ""


GATE = GateRule(
    name="range",
    question="Is the score in a range that means something?",
    needs="the runs",
    of_facts=lambda facts: range_gate(
        facts.contenders, facts.chance, facts.suite.order, hard=facts.hard, last_tier=facts.last_tier
    ),
    waits=True,
)

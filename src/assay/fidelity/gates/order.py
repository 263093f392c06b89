"""The order gate: whether stronger models score at least as high as weaker ones, by pairs of models."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from assay.fidelity.gates.rule import FAILS, Facts, GateRule, signed_points
from assay.fidelity.results.contender import LARGEST_GAP, Contender, Pairs, of_role, strongest
from assay.fidelity.schema.profile import Gate
from assay.stats.compare import rerun_noise
from assay.stats.distributions import normal_cdf, normal_quantile
from assay.stats.paired import Shift
from assay.stats.sample import common

MARGIN = 0.06
"""How much lower a stronger model may score, in addition to a published reversal of the pair."""
FEWEST_TASKS = 10
"""With fewer tasks, no order can be distinguished from chance."""
_Z80 = normal_quantile(0.8)


@dataclass(frozen=True)
class Comparison:
    """A stronger model and a weaker one."""

    name: str
    shift: Shift | None
    """Stronger less weaker, paired by task. None where too few tasks have a score on both sides."""
    se: float | None
    """Over re-runs. None where there is no shift."""
    margin: float
    tests: int = 1
    """The number of tests, by which alpha is divided: pairs, times the models from which scores chose the weaker
    one."""

    @cached_property
    def p_fail(self) -> float:
        """The p-value of "the stronger model is no more than the margin below the weaker one", and not below it over
        other tasks."""
        if self.shift is None or self.se is None:
            return 1.0
        room = self.shift.shift + self.margin
        p_rerun = normal_cdf(room / self.se if self.se else math.copysign(math.inf, room))
        return min(1.0, max(self.tests * p_rerun, self.shift.over_tasks.p_at_least(0.0)))

    @property
    def holds(self) -> bool:
        return self.shift is not None and self.se is not None and self.shift.shift - _Z80 * self.se >= -self.margin


def comparisons(
    contenders: Sequence[Contender], stated: Pairs, reversals: Mapping[tuple[str, str], float]
) -> list[Comparison]:
    """Returns the suite's pairs, and the strongest closed and the strongest open model.

    `reversals` has by how much the published score of a pair's weaker model is higher, as a share.
    """
    by_name = {one.name: one for one in contenders}
    pairs = [(by_name[a], by_name[b], 1) for a, b in stated if a in by_name and b in by_name]
    closed, opened = (strongest(of_role(contenders, role), stated) for role in ("closed", "open"))
    if closed and opened and (closed[0].name, opened[0].name) not in stated:
        pairs.append((closed[0], opened[0], len(opened)))
    return [
        _comparison(a, b, MARGIN + reversals.get((a.name, b.name), 0.0), count * len(pairs)) for a, b, count in pairs
    ]


def _comparison(a: Contender, b: Contender, margin: float, tests: int) -> Comparison:
    name = f"{a.name} ≥ {b.name}"
    one, two = a.results.sample, b.results.sample
    shared = int((one.scored_N & two.scored_N).sum()) if one and two else 0
    if not one or not two or shared < max(FEWEST_TASKS, (1 - LARGEST_GAP) * len(a.results.tasks)):
        return Comparison(name, None, None, margin, tests)
    se = math.sqrt(sum(rerun_noise(side).variance for side in common(one, two)[:2]))
    return Comparison(name, a.ahead_of(b), se, margin, tests)


def order_gate(found: Sequence[Comparison], *, last_tier: bool = True) -> Gate:
    """Returns the gate: do stronger models reach at least what weaker ones do?

    It passes if each pair's D - .84 SE is at least -margin, SE being over re-runs. It fails if D + z(.05 / pairs) SE is
    below -margin in one, and the 95 % bound of D over tasks below 0.
    """
    if not found:
        reason = "There is no pair of models with a score: it takes a closed and an open one, or pairs in the suite."
        if not last_tier:
            reason += ' The climb ended before the last tier; tiers = "all" in the suite runs every model.'
        return Gate("order", "not run", reason)
    known = [(one, one.shift) for one in found if one.shift is not None]
    numbers: dict[str, Any] = {
        "margin": MARGIN,
        "pairs": {
            one.name: {
                "difference": shift.shift,
                "se_run": one.se,
                "interval_task": [shift.over_tasks.lower, shift.over_tasks.upper],
                "margin": one.margin,
                "p_fail": one.p_fail,
                "tasks": shift.tasks,
            }
            for one, shift in known
        },
    }
    words = [f"{one.name}: {signed_points(shift.shift)} points" + _again(one) for one, shift in known]
    if unknown := [one.name for one in found if one.shift is None]:
        words.append(f"too few tasks have a score on both sides of {', '.join(unknown)}")
    said = f"{'; '.join(words)}."
    if not known:
        return Gate("order", "inconclusive", said, numbers)
    p_fail = min(one.p_fail for one in found)
    unseen = (
        "It would have noticed, with 80 %, a stronger model that scores "
        f"{100 * max(one.margin for one in found):.1f} points less than a weaker one; it can miss smaller losses, and "
        "those that all models share."
    )
    if p_fail <= FAILS:
        worst = min(found, key=lambda one: one.p_fail).name
        return Gate("order", "fail", f"Not so: {worst}. {said}", numbers, unseen=unseen, p_fail=p_fail)
    open_pairs = [one.name for one in found if not one.holds]
    if not open_pairs:
        return Gate("order", "pass", said, numbers, unseen=unseen, p_fail=p_fail)
    reason = f"Not clear of its margin: {', '.join(open_pairs)}. {said}"
    return Gate("order", "inconclusive", reason, numbers, unseen=unseen, p_fail=p_fail)


def _again(one: Comparison) -> str:
    """Returns the error, and the margin if it is not the default one."""
    error = "" if one.se is None else f" ± {100 * one.se:.1f}"
    return error + (f" (margin {100 * one.margin:.1f}, for the published scores)" if one.margin != MARGIN else "")


def _order(facts: Facts) -> Gate:
    suite = facts.suite
    found = comparisons(facts.contenders, suite.order, suite.reversals_on(facts.benchmark))
    return order_gate(found, last_tier=facts.last_tier or suite.tiers == "all")


GATE = GateRule(
    name="order",
    question="Do stronger models reach at least what weaker ones do?",
    needs="the runs",
    of_facts=_order,
    waits=True,
)

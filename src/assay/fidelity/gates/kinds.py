"""The kinds gate: whether the benchmark works for instruct and thinking models by configuration alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from assay.fidelity.gates.rule import SHOWN, GateRule
from assay.fidelity.results.contender import RATE_LIMIT, Contender, measured_models
from assay.fidelity.results.results import Results
from assay.fidelity.schema.profile import Gate, RolloutRef
from assay.stats.estimates import estimate


def kinds_gate(contenders: Sequence[Contender], suite_kinds: set[str]) -> Gate:
    """Does it work for instruct and thinking models alike?"""
    if not contenders:
        return Gate("kinds", "not run", "No instruct or thinking model has run.")
    rates = {c.name: _rates(c.results) for c in contenders if c.results.scored}
    silent = [c.name for c in contenders if not c.results.scored]
    kinds = {c.kind for c in contenders if c.results.scored}
    numbers: dict[str, Any] = {"limit": RATE_LIMIT, "kinds": sorted(kinds), "rates": {}}
    above: list[tuple[Contender, str]] = []
    unsure: list[tuple[Contender, str]] = []
    for c in contenders:
        for what, (rate, lower, upper) in rates.get(c.name, {}).items():
            numbers["rates"].setdefault(c.name, {})[what] = {"rate": rate, "lower": lower, "upper": upper}
            if lower > RATE_LIMIT:
                above.append((c, what))
            elif upper >= RATE_LIMIT:
                unsure.append((c, what))

    def words(pairs: list[tuple[Contender, str]]) -> str:
        return "; ".join(
            f"{c.name} ({c.kind}): {what.replace('_', ' ')} {rates[c.name][what][0]:.1%}" for c, what in pairs
        )

    shown = [
        RolloutRef(c.name, c.results.tasks[task].id, repeat)
        for c, what in above + unsure
        for task, repeat in np.argwhere(c.results.figures_TK(what) == 1).tolist()[:SHOWN]
    ][:SHOWN]
    if above:
        return Gate("kinds", "fail", f"Unexplained, above {RATE_LIMIT:.0%}: {words(above)}.", numbers, shown)
    if silent:
        reason = f"Nothing is known of {', '.join(silent)}: no rollout has a score, only failures."
        return Gate("kinds", "inconclusive", reason, numbers)
    if unsure:
        seen = [(c, what) for c, what in unsure if rates[c.name][what][0] > 0]
        upper = max(rates[c.name][what][2] for c, what in unsure)
        happened = words(seen) if seen else "none happened"
        reason = (
            f"With so few tasks, rates of failures, missing answers or token caps may be up to {upper:.1%}, "
            f"which is not clear of {RATE_LIMIT:.0%} ({happened})."
        )
        return Gate("kinds", "inconclusive", reason, numbers, shown)
    missing = {"instruct", "thinking"} - kinds
    if missing:
        why = "is not in the suite" if missing - suite_kinds else "has not run"
        return Gate("kinds", "inconclusive", f"No {' or '.join(sorted(missing))} model: that kind {why}.", numbers)
    worst = max(upper for found in rates.values() for _, _, upper in found.values())
    reason = (
        "Both kinds ran by configuration alone. Failures, missing answers and token caps are each below "
        f"{RATE_LIMIT:.0%} for every model: at most {worst:.1%} (upper 95 % bound)."
    )
    return Gate("kinds", "pass", reason, numbers)


def _rates(results: Results) -> dict[str, tuple[float, float, float]]:
    """Returns (rate, lower, upper 95 % bound over tasks) of failures, token caps and missing answers."""
    rates: dict[str, tuple[float, float, float]] = {}
    for what in ("failures", "token_cap", "no_answer"):
        happened_TK = results.figures_TK(what)
        if not np.isnan(happened_TK).all():
            rate = estimate(happened_TK)
            lower, upper = rate.interval_task or (0.0, 1.0)
            rates[what] = (rate.score, max(0.0, lower), min(1.0, upper))
    return rates


GATE = GateRule(
    name="kinds",
    question="Does it work for instruct and thinking models alike?",
    needs="the runs",
    # How the gates' own models fail says nothing of the kinds: null gives no answer on purpose.
    of_facts=lambda facts: kinds_gate(
        measured_models(facts.suite, facts.contenders), {member.kind for member in facts.suite.models.values()}
    ),
    waits=True,
)

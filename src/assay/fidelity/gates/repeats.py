"""The repeats gate: whether the score of the strongest open model is stable."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from assay.fidelity.gates.rule import GateRule
from assay.fidelity.results.contender import Contender, Pairs, of_role, strongest
from assay.fidelity.results.repeats import TARGET_POINTS
from assay.fidelity.schema.profile import Gate, Repeats
from assay.stats.repeats import RepeatsNeeded, repeats_needed


def repeats_gate(contenders: Sequence[Contender], order: Pairs = ()) -> tuple[Gate, Repeats | None]:
    """Is the score stable? And the figures behind it, of the strongest open model."""
    opened = strongest(of_role(contenders, "open"), order)
    if not opened:
        return Gate("repeats", "not run", "No open model has a score."), None
    best = opened[0]
    rewards_TK = best.results.rewards_TK
    needed = repeats_needed(rewards_TK, TARGET_POINTS)
    if needed is None:
        return Gate("repeats", "inconclusive", f"{best.name} has no task with two scores: run 2 repeats or more."), None
    found = best.results.independence
    effect = found.effect
    record = _repeats(best, needed)
    numbers: dict[str, Any] = {
        "model": best.name,
        "target_points": TARGET_POINTS,
        "k_set": record.k_set,
        "k_star": record.k_star,
        "k_upper": record.k_upper,
        "sd_run": record.sd_run,
        "sd_run_lower": needed.sd_now_lower,
        "sd_run_upper": record.sd_run_upper,
        "within_variance": needed.within,
        "run_effect_f": effect.f if effect else None,
        "run_effect_p_high": effect.p_high if effect else None,
        "run_effect_p_low": effect.p_low if effect else None,
        "repeats_copied": found.copied,
    }
    words = f"SD of avg@{record.k_set} on {best.name}: {record.sd_run:.2f} points, at most {record.sd_run_upper:.2f}"
    if found.verdict != "independent":
        verdict, reason = "fail" if found.verdict == "dependent" else "inconclusive", f"{best.name}: {found.reason}"
    elif record.sd_run_upper <= TARGET_POINTS:
        enough = "1 repeat is" if record.k_upper == 1 else f"{record.k_upper} repeats are"
        verdict, reason = "pass", f"{words}; {enough} enough for {TARGET_POINTS:g} point."
    else:
        verdict = "fail" if needed.sd_now_lower > TARGET_POINTS else "inconclusive"
        reason = f"{words}. Run {record.k_upper} repeats for {TARGET_POINTS:g} point."
    return Gate("repeats", verdict, reason, numbers), record


def _repeats(best: Contender, needed: RepeatsNeeded) -> Repeats:
    k_set = best.results.repeats
    last = max(2 * needed.k_upper, 2 * k_set, 8)
    spaced = {round(k) for k in np.geomspace(1, last, 24)} | {k_set, needed.k_star, needed.k_upper}
    curve = [(k, needed.sd_at(k), needed.sd_upper_at(k)) for k in sorted(spaced)]
    return Repeats(
        model=best.name,
        k_set=k_set,
        k_star=needed.k_star,
        k_upper=needed.k_upper,
        sd_run=needed.sd_now,
        sd_run_upper=needed.sd_now_upper,
        curve=curve,
    )


GATE = GateRule(
    name="repeats",
    question="Is the score stable within one point?",
    needs="the runs",
    of_facts=lambda facts: repeats_gate(facts.contenders, facts.suite.order)[0],
    waits=True,
)

"""The repeats gate: whether the score is stable when the same tasks are run again."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from assay.fidelity.gates.rule import FAILS, GateRule
from assay.fidelity.results.contender import Contender, Pairs, of_role, strongest, why_no_open_score
from assay.fidelity.results.independence import DRIFT, LONG_COPIES, Independence
from assay.fidelity.results.repeats import TARGET_POINTS, without_estimate
from assay.fidelity.schema.profile import Gate, Repeats
from assay.stats.distributions import normal_quantile
from assay.stats.repeats import RepeatsNeeded

FAR_LESS = 0.5
"""A model varies within tasks far less than the others if its share is below this part of their median."""
_Z80 = normal_quantile(0.8)


def repeats_gate(contenders: Sequence[Contender], order: Pairs = ()) -> Gate:
    """Returns the gate: does the score stand still?

    It passes if the upper 90 % bound of the score's SD is at most one point on the strongest open model, and no model
    shows dependent repeats: no run effect at .005 / models, no change point, no copies. It fails if the lower bound is
    above one point, or repeats are dependent. Identical outputs of greedy decoding pass.
    """
    opened = strongest(of_role(contenders, "open"), order)
    if not opened:
        return Gate("repeats", "not run", why_no_open_score(contenders))
    best, needed = opened[0], opened[0].needed
    several = [one for one in contenders if one.results.repeats > 1 and one.results.scored]
    found = {one.name: one.results.independence_at(DRIFT / len(several)) for one in several}
    numbers = _numbers(best, several, found)
    greedy = [one.name for one in several if one.greedy and found[one.name].identical]
    apart = [name for name, one in found.items() if one.verdict == "dependent" and name not in greedy]
    shifts = _shifts(best, contenders)
    unseen = _blind_spots(best, found.get(best.name), one_instance=not shifts)
    words = [f"{name}: {found[name].reason}" for name in apart]
    if needed is None:
        reason = f"{best.name}: {without_estimate(best.results).reason}"
        return Gate("repeats", "inconclusive", " ".join([reason, *words]), numbers, unseen=unseen)
    p_fail = min([needed.p_above / 2, *(min(1.0, 10 * len(several) * _p(found[name])) for name in apart)])
    verdict = "inconclusive"
    if best.name in greedy:
        verdict = "pass"
        words.insert(
            0, f"{best.name} decodes greedily, and its repeats are word for word the same: it stands still by design."
        )
        p_fail = min([1.0, *(min(1.0, 10 * len(several) * _p(found[name])) for name in apart)])
    else:
        words.insert(0, _spread(best, needed))
        if needed.sd_now_upper <= TARGET_POINTS and found[best.name].verdict == "independent":
            verdict = "pass"
        elif found[best.name].verdict == "unclear":
            words.append(f"{best.name}: {found[best.name].reason}")
    if p_fail <= FAILS:
        verdict = "fail"
    elif apart:
        verdict = "inconclusive"
    shares = within_shares(several)
    words += [*shifts, *alone(shares), *of_servers(shares)]
    return Gate("repeats", verdict, " ".join(words), numbers, unseen=unseen, p_fail=p_fail)


def repeats_record(contenders: Sequence[Contender], order: Pairs = ()) -> Repeats | None:
    """Returns how stable the score of the strongest open model is; None below two scores of two tasks."""
    opened = strongest(of_role(contenders, "open"), order)
    needed = opened[0].needed if opened else None
    if needed is None:
        return None
    k_set = opened[0].results.repeats
    last = max(2 * needed.k_upper, 2 * k_set, 8)
    spaced = {round(k) for k in np.geomspace(1, last, 24)} | {k_set, needed.k_star, needed.k_upper}
    return Repeats(
        model=opened[0].name,
        k_set=k_set,
        k_star=needed.k_star,
        k_upper=needed.k_upper,
        sd_run=needed.sd_now,
        sd_run_upper=needed.sd_now_upper,
        curve=[(k, needed.sd_at(k), needed.sd_upper_at(k)) for k in sorted(spaced)],
    )


def _spread(best: Contender, needed: RepeatsNeeded) -> str:
    words = f"SD of avg@{best.results.repeats} on {best.name}: {needed.sd_now:.2f} points, at most "
    words += f"{needed.sd_now_upper:.2f}"
    if needed.sd_now_upper > TARGET_POINTS:
        return f"{words}. Run {_repeats(best, needed)} repeats for {TARGET_POINTS:g} point."
    enough = "1 repeat is" if needed.k_upper == 1 else f"{_repeats(best, needed)} repeats are"
    return f"{words}; {enough} enough for {TARGET_POINTS:g} point."


def _repeats(best: Contender, needed: RepeatsNeeded) -> int:
    """Returns the repeats to run: several for each needed measurement if that takes several attempts."""
    return max(needed.k_upper, round(needed.k_upper * max(1.0, best.results.repeats // max(1.0, needed.k_now))))


def _p(found: Independence) -> float:
    """Returns the p-value of dependence: 0 if texts show it, which chance never does."""
    tests = [found.effect.p_high, found.effect.p_low] if found.effect else []
    tests += [found.change.p] if found.change else []
    copies = found.copied or found.identical or (found.long_copies or 0.0) > LONG_COPIES
    return 0.0 if copies or not tests else min(tests)


def _numbers(best: Contender, several: Sequence[Contender], found: dict[str, Independence]) -> dict[str, Any]:
    numbers: dict[str, Any] = {"model": best.name, "target_points": TARGET_POINTS, "k_set": best.results.repeats}
    if needed := best.needed:
        numbers |= {
            "k_star": needed.k_star,
            "k_upper": needed.k_upper,
            "sd_run": needed.sd_now,
            "sd_run_lower": needed.sd_now_lower,
            "sd_run_upper": needed.sd_now_upper,
            "within_variance": needed.within,
        }
    numbers["others"] = {
        one.name: {"sd_run": other.sd_now, "sd_run_upper": other.sd_now_upper}
        for one in several
        if one is not best and (other := one.needed)
    }
    numbers["independence"] = {
        name: {
            "run_effect_f": one.effect and one.effect.f,
            "run_effect_p_high": one.effect and one.effect.p_high,
            "run_effect_p_low": one.effect and one.effect.p_low,
            "change_point_p": one.change and one.change.p,
            "smallest_change": one.change and one.change.smallest,
            "repeats_copied": one.copied,
            "long_copies": one.long_copies,
        }
        for name, one in found.items()
    }
    shares = within_shares(several)
    return numbers | {"within_share": {name: share for name, (_, share) in shares.items()}}


def within_shares(contenders: Sequence[Contender]) -> dict[str, tuple[str, float]]:
    """Returns each model's server and its W / (p (1 - p)), by name.

    That is 1 if tasks are equally hard, and low if they are very easy or very hard, or if repeats are copies.
    """
    return {
        one.name: (one.server, one.needed.within / (p * (1 - p)))
        for one in contenders
        if one.needed and 0 < (p := one.estimate.score) < 1
    }


def alone(shares: Mapping[str, tuple[str, float]]) -> list[str]:
    """Returns findings on models that vary within tasks far less than the others, as with caching."""
    if len(shares) < 3:
        return []
    found: list[str] = []
    for name, (_, share) in shares.items():
        others = float(np.median([other for one, (_, other) in shares.items() if one != name]))
        if share < FAR_LESS * others:
            found.append(
                f"Finding: within tasks, {name} varies by {share:.0%} of p (1 - p), the others by {others:.0%}."
            )
    return found


def of_servers(shares: Mapping[str, tuple[str, float]]) -> list[str]:
    """Returns findings on servers whose models vary far less than those on other servers."""
    found: list[str] = []
    for server in dict.fromkeys(server for server, _ in shares.values() if server):
        here = [share for at, share in shares.values() if at == server]
        elsewhere = [share for at, share in shares.values() if at != server]
        if len(here) > 1 and len(elsewhere) > 1 and np.median(here) < FAR_LESS * np.median(elsewhere):
            words = (
                f"Finding: within tasks, the {len(here)} models at {server} vary by {np.median(here):.0%} of p (1 - p)"
            )
            found.append(f"{words}, those elsewhere by {np.median(elsewhere):.0%}.")
    return found


def _shifts(best: Contender, contenders: Sequence[Contender]) -> list[str]:
    """Returns the shift between the strongest open model and the same model on another server."""
    found: list[str] = []
    for one in contenders:
        same = one is not best and best.id and (one.id, one.kind) == (best.id, best.kind)
        if same and one.server != best.server and one.results.scored:
            shift = best.ahead_of(one)
            error = "" if shift.over_reruns is None else f" ± {100 * shift.over_reruns.se:.2f}"
            found.append(f"Two instances: {best.name} less {one.name} is {100 * shift.shift:+.2f}{error} points.")
    return found


def _blind_spots(best: Contender, found: Independence | None, *, one_instance: bool) -> str:
    words: list[str] = []
    if found and found.change:
        smallest = 100 * found.change.smallest
        words.append(f"It would have noticed, with 80 %, a change of {best.name} by {smallest:.1f} points halfway.")
    words.append(
        f"It can miss gradual changes, and copies of short outputs or on less than {LONG_COPIES:.0%} of tasks."
    )
    if one_instance:
        words.append("One instance: another start of the server may score otherwise.")
    return " ".join(words)


GATE = GateRule(
    name="repeats",
    question="Does the score stand still?",
    needs="the runs",
    of_facts=lambda facts: repeats_gate(facts.contenders, facts.suite.order),
    waits=True,
)

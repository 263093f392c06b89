"""The gates that models' rollouts answer: each asks one question, with its numbers and the rollouts that show it.

Floor and order are tests: their p-values are corrected together (Holm). Kinds compares
bounds of rates with a limit, repeats bounds of the SD of avg@k with the target.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from msgspec import structs

from assay.fidelity.results.repeats import TARGET_POINTS, independence
from assay.fidelity.results.results import Cell, Results
from assay.fidelity.results.summary import reports_answers
from assay.fidelity.schema.profile import Gate, GateName, Repeats, RolloutRef
from assay.stats.compare import holm
from assay.stats.estimates import Estimate, above_chance, estimate
from assay.stats.paired import Shift, difference
from assay.stats.repeats import RepeatsNeeded, repeats_needed

GATE_ORDER: tuple[GateName, ...] = get_args(GateName)
ABSENT: tuple[GateName, ...] = ("reproduced", "parity")
"""The gates that an original benchmark need not pass: there is no other code to compare it with."""
FLOOR = 0.30
"""An open model has to be above this for a benchmark to tell models apart."""
MARGIN = 0.02
"""The order gate's: how much worse the stronger model may be before the order counts as broken."""
RATE_LIMIT = 0.05
"""The kinds gate's: of failures, of missing answers and of token caps."""
ALPHA = 0.025
"""One-sided, so that a test passes where the 95 % interval's end is beyond the bound (before Holm's correction)."""
FEWEST_TASKS = 10
"""Below this, no order can be told from chance."""
LARGEST_GAP = 0.1
"""The share of tasks that may lack a score on one side of a pair."""
SHOWN = 12
"""Tasks or rollouts that one gate names at most."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A model that ran, as the gates see it."""

    name: str
    role: str
    kind: str
    tier: int
    results: Results

    @property
    def estimate(self) -> Estimate:
        return estimate(self.results.rewards_TK)


@dataclass(frozen=True, slots=True)
class Test:
    """A question put to data: the p-values of "not so" and of "the opposite", and what it says without correction."""

    p_pass: float
    p_fail: float


def applicable(gates: Sequence[Gate], *, original: bool) -> list[Gate]:
    """The gates that a profile has to pass, in their order. One that is missing was not run.

    Where the benchmark states that it is the original, those of ABSENT that were not run don't apply.
    """
    found = {gate.name: gate for gate in gates}
    whole = [
        found.get(name) or Gate(name, "not run", "The profile says nothing about this gate.") for name in GATE_ORDER
    ]
    return [gate for gate in whole if not (original and gate.name in ABSENT and gate.verdict == "not run")]


def strongest(contenders: Sequence[Contender], role: str) -> Contender | None:
    """The model of a role with the highest score; `None` where none has one."""
    scored = [c for c in contenders if c.role == role and c.results.scored]
    return max(scored, key=lambda c: c.estimate.score, default=None)


def clears_floor(contenders: Sequence[Contender], chance: float) -> bool:
    """Whether an open model so far is above the floor for certain: also after Holm's correction over both tests."""
    test = floor_test(contenders, chance)
    return test is not None and 2 * test.p_pass < ALPHA


def floor_test(contenders: Sequence[Contender], chance: float) -> Test | None:
    """Whether any open model is above the floor, or above chance where that is higher; and whether all are below it.

    The best of M models is above a bound by luck more easily than one is: its p-value counts M times (Bonferroni).
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
    numbers |= {"above_chance": above_chance(found, chance).score, "se_task": found.se_task, "tasks": found.tasks}
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


def order_pairs(
    contenders: Sequence[Contender], stated: Sequence[tuple[str, str]]
) -> list[tuple[Contender, Contender]]:
    """(stronger, weaker): as the suite states them, else the strongest closed and the strongest open model."""
    by_name = {c.name: c for c in contenders}
    if stated:
        return [(by_name[a], by_name[b]) for a, b in stated if a in by_name and b in by_name]
    closed, opened = strongest(contenders, "closed"), strongest(contenders, "open")
    return [(closed, opened)] if closed and opened else []


def order_choices(contenders: Sequence[Contender], stated: Sequence[tuple[str, str]]) -> tuple[int, int]:
    """Among how many closed and how many open models the pair was chosen by its scores; one each for stated pairs."""
    counts = [sum(c.role == role and bool(c.results.scored) for c in contenders) for role in ("closed", "open")]
    return (1, 1) if stated else (max(1, counts[0]), max(1, counts[1]))


def order_differences(pairs: Sequence[tuple[Contender, Contender]]) -> dict[str, Shift | None]:
    """Stronger minus weaker, paired by task, by the pair's name; `None` where too few tasks have a score on both."""
    found: dict[str, Shift | None] = {}
    for a, b in pairs:
        common, tasks = _common_tasks(a, b), len(a.results.tasks)
        enough = common >= FEWEST_TASKS and common >= (1 - LARGEST_GAP) * tasks
        name = f"{a.name} ≥ {b.name}"
        found[name] = difference(b.results.rewards_TK, a.results.rewards_TK) if enough else None
    return found


def order_test(differences: Mapping[str, Shift | None], choices: tuple[int, int] = (1, 1)) -> Test | None:
    """All pairs as one question. Passing needs every pair not worse by the margin, so the largest p-value counts;
    failing needs one pair that is worse, so the smallest does, times the number of pairs (Bonferroni).

    The best of several models is partly so by luck. So the strongest open model of `choices[1]` is called better that
    many times less easily, and the strongest closed one of `choices[0]` as good.
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

    def words(found: list[tuple[Contender, str]]) -> str:
        return "; ".join(
            f"{c.name} ({c.kind}): {what.replace('_', ' ')} {rates[c.name][what][0]:.1%}" for c, what in found
        )

    shown = [ref for c, what in above + unsure for ref in _showing(c, what)][:SHOWN]
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


def repeats_gate(contenders: Sequence[Contender]) -> tuple[Gate, Repeats | None]:
    """Does the score stand still? And the figures behind it, of the strongest open model."""
    best = strongest(contenders, "open")
    if best is None:
        return Gate("repeats", "not run", "No open model has a score."), None
    rewards_TK = best.results.rewards_TK
    needed = repeats_needed(rewards_TK, TARGET_POINTS)
    if needed is None:
        return Gate("repeats", "inconclusive", f"{best.name} has no task with two scores: run 2 repeats or more."), None
    found = independence(best.results)
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


def corrected(tests: Mapping[str, Test]) -> dict[str, Test]:
    """The same tests with Holm's correction over all of them: once over the passes, once over the failures."""
    passes = holm({name: test.p_pass for name, test in tests.items()})
    failures = holm({name: test.p_fail for name, test in tests.items()})
    return {name: Test(p_pass=passes[name], p_fail=failures[name]) for name in tests}


def held_back(gate: Gate, contenders: Sequence[Contender], missing: Sequence[str] = ()) -> Gate:
    """The gate, but inconclusive where a run is unfinished or `missing`: what it would have added is not known."""
    unfinished = [f"{c.name} ({c.results.owed} of {c.results.planned})" for c in contenders if c.results.owed]
    unfinished += [f"{name} (all)" for name in missing]
    if not unfinished or gate.verdict == "not run":
        return gate
    reason = f"Rollouts are still owed by {', '.join(unfinished)}. So far: {gate.reason}"
    return structs.replace(gate, verdict="inconclusive", reason=reason)


def _common_tasks(a: Contender, b: Contender) -> int:
    """How many tasks both have a score for."""
    scored = [~np.isnan(c.results.rewards_TK).all(axis=1) for c in (a, b)]
    return int((scored[0] & scored[1]).sum())


def _points(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "−")


def _rates(results: Results) -> dict[str, tuple[float, float, float]]:
    """(rate, lower and upper 95 % bound over tasks) of what should be rare, by what it is."""
    kinds = ["failures", "token_cap"] + (["no_answer"] if reports_answers(results) else [])
    found: dict[str, tuple[float, float, float]] = {}
    for what in kinds:
        happened_TK = np.full(results.rewards_TK.shape, np.nan)
        for cell in results.cells:
            if what == "failures" or cell.reward is not None:
                happened_TK[cell.task, cell.repeat] = _happened(cell, what)
        if np.isnan(happened_TK).all():
            continue
        rate = estimate(happened_TK)
        lower, upper = rate.interval_task or (0.0, 1.0)
        found[what] = (rate.score, max(0.0, lower), min(1.0, upper))
    return found


def _happened(cell: Cell, what: str) -> bool:
    if what == "failures":
        return cell.reward is None
    return cell.reward is not None and (cell.answer is None if what == "no_answer" else cell.stop == "token_cap")


def _showing(contender: Contender, what: str) -> list[RolloutRef]:
    chosen = [cell for cell in contender.results.cells if _happened(cell, what)]
    return [RolloutRef(contender.name, contender.results.tasks[cell.task].id, cell.repeat) for cell in chosen[:SHOWN]]


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

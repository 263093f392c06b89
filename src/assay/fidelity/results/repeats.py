"""Repeats: whether they are independent, how many make the score stable, and what those cost."""

import math
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from assay.fidelity.results.independence import Independence
from assay.fidelity.results.results import Results
from assay.stats.repeats import RepeatsNeeded, repeats_needed
from assay.store import read_record, rollout_files

TARGET_POINTS = 1.0
"""The default target for the SD of avg@k, in percentage points."""
SHORTEST_S = 10.0
"""No rate is computed for a shorter run, because its start is known to the second."""


class Cost(Struct, frozen=True, kw_only=True):
    """The precision and the cost of k repeats. SDs are in percentage points of avg@k."""

    k: int
    sd: float | None
    """None where the existing repeats can't tell."""
    sd_upper: float | None
    """Its upper 90 % bound."""
    rollouts: int
    """All rollouts: tasks x k."""
    more: int
    """Rollouts of these without a score yet. The next three fields are their cost, by the mean of existing rollouts."""
    tokens: int | None
    """Input and output. None where the server doesn't count, or nothing was scored."""
    usd: float | None
    """None where a price isn't known."""
    wall_s: float | None
    """None where the rate isn't known."""


class Outlook(Struct, frozen=True, kw_only=True):
    """How stable a run's score is, and the precision and cost of more repeats. SDs are in points."""

    benchmark: str
    model: str
    tasks: int
    repeats: int
    """Planned or made, whichever is more."""
    scored: int
    failed: int
    owed: int
    """Rollouts of these repeats that were never made. All figures are about the existing ones."""
    independence: Independence
    target_points: float
    sd: float | None
    """SD of the score now. This and the next four are None where the repeats don't say: there is one, or they are not
    independent, or so alike that nothing varies."""
    sd_lower: float | None
    sd_upper: float | None
    """Its 90 % bounds, each one-sided."""
    k_star: int | None
    """Repeats for the target by the estimated variance within tasks. Too few in about half of all cases."""
    k_upper: int | None
    """Repeats for the target by the upper 90 % bound of that variance: the number to run."""
    next_k: int | None
    """The repeats to make now. None where more would be of no use."""
    advice: str
    """The reason for `next_k`."""
    costs: list[Cost]
    """For k = 1, 2, 4, ... and the repeats now, `k_star` and `k_upper`. Empty where repeats are not independent."""


class Step(NamedTuple):
    """The next step to a stable score."""

    k: int | None
    """The number of repeats to make now, existing ones included. None where more would be of no use."""
    reason: str


def next_step(results: Results, target_points: float = TARGET_POINTS) -> Step:
    """Returns the number of repeats to make now, so that the upper bound of the SD reaches the target, and why.

    Rollouts that are owed come first: then k is the number that was planned. A caller that gets the same k twice has
    made no progress, and stops. Otherwise k is `k_upper`, but at most twice the repeats there are: the bound from a few
    repeats is wide. Simulated on 30 to 200 tasks from 2 to 4 repeats on, doubling ends 4 to 17 % above the fewest
    repeats that reach the target, after 3 to 7 looks; going straight to `k_upper` ends 12 to 36 % above it, after 2;
    one at a time 4 to 14 %, after as many looks as repeats.

    To stop once the figures look good is optional stopping. Here it is mild, because the rule uses the variance and
    not the score: it moves the score by at most .1 point, 95 % intervals cover 94 to 96 %, and the SD is truly at
    the target in 97 % or more; on 30 tasks near 0 or 1 by .15 point towards that end, and in 94 % (the table is in
    docs/statistics.md). Independent repeats are called dependent on the way in 1 to 2.5 % of such climbs, for they are
    tested at every look.

    None where the target is reached, where the repeats are not independent (more of them say nothing more), where all
    texts are identical, and where failures leave nothing to estimate from.
    """
    found, needed = results.independence, results.sample and repeats_needed(results.sample, target_points)
    if found.verdict == "dependent":
        return Step(None, f"{found.reason} More repeats would not help.")
    if results.owed:
        return Step(
            results.repeats, f"{results.owed:,} of {results.planned:,} rollouts are still owed: they come first."
        )
    if not results.scored:
        return Step(None, "No rollout has a score: nothing is known.")
    if needed is None:
        return without_estimate(results)
    if found.identical:
        return Step(None, f"{found.reason} More repeats would not help.")
    return towards(needed, results.repeats)


def without_estimate(results: Results) -> Step:
    """Returns the step from results that don't show how the score moves: fewer than two tasks have two measurements."""
    enough = 2 * results.score.attempts
    if results.repeats < enough:
        made = "1 repeat says" if results.repeats == 1 else f"{results.repeats} repeats say"
        return Step(enough, f"{made} nothing of how the score moves: {enough} are needed.")
    if len(results.tasks) == 1:
        return Step(None, "One task alone says nothing of how the score moves: two are needed.")
    return Step(None, "Fewer than two tasks have two scores, because rollouts failed: see to the failures first.")


def towards(needed: RepeatsNeeded, repeats: int) -> Step:
    """Returns the step from this number of repeats to the target, at most twice as many.

    `needed.k_now` is less than `repeats` where rollouts failed. Then more repeats are necessary.
    """
    target = f"{needed.target_points:g} {'point' if needed.target_points == 1 else 'points'}"
    bounds = f"{needed.sd_now_lower:.2f} to {needed.sd_now_upper:.2f}"
    now = f"The SD of avg@{repeats} is {needed.sd_now:.2f} points (90 % bounds: {bounds})"
    if needed.sd_now_upper <= needed.target_points:
        return Step(None, f"{now}: that is within {target}.")
    enough = max(repeats + 1, math.ceil(needed.k_upper * repeats / needed.k_now - 1e-9))
    called = f"{now}. For {target} it takes {enough} repeats to be sure, {needed.k_star} by the estimate"
    if enough <= 2 * repeats:
        return Step(enough, f"{called}: run {enough}.")
    return Step(2 * repeats, f"{called}: run {2 * repeats} and look again, for the bound from {repeats} is wide.")


def outlook(folder: Path, results: Results, target_points: float = TARGET_POINTS) -> Outlook:
    """Returns how stable the score of a run directory is, and what more repeats would cost.

    Raises ValueError where the target is not above 0.
    """
    record = read_record(folder)
    found, needed = results.independence, results.sample and repeats_needed(results.sample, target_points)
    step = next_step(results, target_points)
    known = needed if found.verdict == "independent" else None
    return Outlook(
        benchmark=record.benchmark,
        model=record.model,
        tasks=len(results.tasks),
        repeats=results.repeats,
        scored=len(results.scored),
        failed=len(results.failed),
        owed=results.owed,
        independence=found,
        target_points=target_points,
        sd=known and known.sd_now,
        sd_lower=known and known.sd_now_lower,
        sd_upper=known and known.sd_now_upper,
        k_star=known and known.k_star,
        k_upper=known and known.k_upper,
        next_k=step.k,
        advice=step.reason,
        costs=costs(results, known, rate(folder, results)) if known or results.repeats == 1 else [],
    )


def costs(results: Results, needed: RepeatsNeeded | None, rollouts_per_s: float | None = None) -> list[Cost]:
    """Returns the precision and cost of k repeats, for k = 1, 2, 4, ... and for the existing and the needed number.

    The cost of failed rollouts is added to the scored ones, because a plan has to pay for both.
    """
    known = {results.repeats, *((needed.k_star, needed.k_upper) if needed else (2,))}
    ks = sorted(known | {2**power for power in range(max(known).bit_length() + 1) if 2 ** (power - 1) < max(known)})
    scored, usd = len(results.scored), results.cost_usd
    tokens = results.tokens["input"] + results.tokens["output"]
    costs: list[Cost] = []
    for k in ks:
        rollouts = len(results.tasks) * k
        more = rollouts - sum(cell.repeat < k for cell in results.scored)
        costs.append(
            Cost(
                k=k,
                sd=needed.sd_at(k) if needed else None,
                sd_upper=needed.sd_upper_at(k) if needed else None,
                rollouts=rollouts,
                more=more,
                tokens=round(more * tokens / scored) if scored and tokens else None,
                usd=more * usd / scored if scored and usd is not None else None,
                wall_s=more / rollouts_per_s if rollouts_per_s else None,
            )
        )
    return costs


def rate(folder: Path, results: Results) -> float | None:
    """Returns scored rollouts a second, from the run's start to its last line. None where that isn't known.

    It isn't known if the run took less than ten seconds, or more time than its rollouts together: then it paused, or
    its files were copied. Shorter pauses make the rate too low.
    """
    ended = max((path.stat().st_mtime for path in rollout_files(folder)), default=0.0)
    try:
        elapsed_s = ended - datetime.fromisoformat(read_record(folder).started).timestamp()
    except ValueError:
        return None
    known = results.scored and SHORTEST_S <= elapsed_s <= results.wall_s
    return len(results.scored) / elapsed_s if known else None

"""A run compared with a published number, of which only the digits are known, and sometimes the repeats."""

import math
from dataclasses import dataclass

from assay.stats.compare import EquivalenceResult, equivalence_verdict, rerun_noise
from assay.stats.sample import Sample


@dataclass(frozen=True)
class Reproduction:
    """Whether a run gives a published score up to a margin, with two one-sided tests at 5 %."""

    verdict: EquivalenceResult
    """With the published number's own noise, at `published_repeats`."""
    verdict_if_exact: EquivalenceResult
    """If the published number had no sampling noise (endless repeats behind it): a sensitivity line."""
    difference: float
    """The run's score minus the published one."""
    se: float
    """Over re-runs, with the published side's noise and rounding."""
    se_if_exact: float
    margin: float
    published_repeats: int
    """k0: as stated, or else the smallest number of repeats that could give this number."""
    producible: bool
    """Whether k0 repeats of tasks scored 0 or 1 can give this number. False: it or its k0 is suspect."""
    tasks: int
    """Tasks with a score in the run."""
    bounded: bool = False
    """Whether W is an upper bound, for want of repeats."""


def producible(published: float, unit: float, tasks: int, repeats: int) -> bool:
    """Whether tasks * repeats outcomes of 0 or 1 have a mean that is printed as `published` in steps of `unit`."""
    outcomes = tasks * repeats
    right = round(published * outcomes)
    # Half a unit off may be rounded either way; 1e-9 forgives binary fractions.
    return 0 <= right <= outcomes and abs(right / outcomes - published) <= unit / 2 + 1e-9


def fewest_repeats(published: float, unit: float, tasks: int) -> int:
    """The smallest k0 at which `producible`. Raises ValueError for a number outside [0, 1], or a unit not above 0."""
    if not 0 <= published <= 1 or not unit > 0 or tasks < 1:
        raise ValueError(
            f"published = {published}, unit = {unit}, tasks = {tasks}; expected a share in [0, 1], unit > 0, tasks > 0"
        )
    # 1 / (T k) <= unit leaves no number unprinted, so the search ends.
    return next(k for k in range(1, math.ceil(1 / (unit * tasks)) + 1) if producible(published, unit, tasks, k))


def reproduction(
    sampled: Sample, published: float, margin: float, *, unit: float, repeats: int | None = None
) -> Reproduction:
    """Whether this run of rewards in [0, 1] is equivalent to a published score on the same tasks.

    SE^2 = sum_i w_i^2 v_i / k_i + W / (T k0) + unit^2 / 12. `unit` is the last printed digit's step as a share: .001
    for 92.3 %. `repeats` is k0 where it was stated; else it is bounded below by `fewest_repeats`, which gives the
    published side the most noise that it can have had. Rows without a score count among the published side's tasks.

    Raises ValueError where a margin is not above 0, and as `fewest_repeats` does.
    """
    if not margin > 0:
        raise ValueError(f"margin is {margin}; expected more than 0, on the scale of the rewards")
    planned = sampled.scored_N.size
    k0 = fewest_repeats(published, unit, planned) if repeats is None else repeats
    difference = sampled.score - published
    noise = rerun_noise(sampled)
    own = noise.variance + unit**2 / 12
    se_if_exact, se = math.sqrt(own), math.sqrt(own + noise.within / (planned * k0))
    verdict = equivalence_verdict(difference, se, margin)
    verdict_if_exact = equivalence_verdict(difference, se_if_exact, margin)
    return Reproduction(
        verdict=verdict,
        verdict_if_exact=verdict_if_exact,
        difference=difference,
        se=se,
        se_if_exact=se_if_exact,
        margin=margin,
        published_repeats=k0,
        producible=producible(published, unit, planned, k0),
        tasks=len(sampled.values_T),
        bounded=noise.bounded,
    )

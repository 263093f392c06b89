"""A run compared with a published number, of which only the digits are known, and sometimes the repeats."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from assay.stats.compare import EquivalenceResult, equivalence_verdict, rerun_noise
from assay.stats.distributions import normal_cdf, normal_quantile
from assay.stats.moments import Floats
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
    sample: Sample, published: float, margin: float, *, unit: float, repeats: int | None = None
) -> Reproduction:
    """Returns whether this run of rewards in [0, 1] is equivalent to a published score on the same tasks.

    SE^2 = sum_i w_i^2 v_i / k_i + W / (T k0) + unit^2 / 12. `unit` is the last printed digit's step as a share: .001
    for 92.3 %. `repeats` is k0 where it was stated; else it is bounded below by `fewest_repeats`, which gives the
    published side the most noise that it can have had. Rows without a score count among the published side's tasks.

    Raises ValueError where a margin is not above 0, and as `fewest_repeats` does.
    """
    if not margin > 0:
        raise ValueError(f"margin is {margin}; expected more than 0, on the scale of the rewards")
    planned = sample.scored_N.size
    k0 = fewest_repeats(published, unit, planned) if repeats is None else repeats
    difference = sample.score - published
    noise = rerun_noise(sample)
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
        tasks=len(sample.values_T),
        bounded=noise.bounded,
    )


CEILING = 0.97
"""A score above it says little of a difference: its model is left out of the pool."""
LEAST_MARGIN, WIDEST_MARGIN = 0.02, 0.05
"""The margins between which scores can be reproduced."""
_Z80 = normal_quantile(0.8)


@dataclass(frozen=True)
class Pool:
    """Whether the runs of several models give their published scores, all differences taken together."""

    verdict: EquivalenceResult
    difference: float
    """The weighted mean of the differences, run less published."""
    se: float
    margin: float
    weights_M: Floats
    p_fail: float
    """The p-value of "neither the mean nor any model is further away than the margin"."""
    alone: int | None
    """The model that is surely further away than half of the margin, by its place; None where none is."""


def pool_weights(ses_M: ArrayLike) -> Floats:
    """Returns weights by precision, 1 / SE^2, with a sum of 1. None is above 2 / M, so that no model decides alone."""
    precision_M = 1 / np.asarray(ses_M, np.float64) ** 2
    weights_M: Floats = precision_M / precision_M.sum()
    cap = 2 / weights_M.size
    capped_M = np.zeros(weights_M.shape, np.bool_)
    while (over_M := (weights_M > cap + 1e-12) & ~capped_M).any():
        capped_M |= over_M
        weights_M[capped_M] = cap
        free = 1 - cap * int(capped_M.sum())
        weights_M[~capped_M] = free * precision_M[~capped_M] / precision_M[~capped_M].sum()
    return weights_M


def pool_margin(ses_M: ArrayLike) -> float:
    """Returns the margin that a pool of these standard errors can show: 3 SE, rounded up to half a point, at least 2.

    With it, equal scores are shown to be equal in about 97 %. Above `WIDEST_MARGIN` nothing can be refuted.
    """
    se = float(np.sqrt(((pool_weights(ses_M) * np.asarray(ses_M)) ** 2).sum()))
    return max(LEAST_MARGIN, math.ceil(3 * se * 200 - 1e-9) / 200)


def pool(differences_M: ArrayLike, ses_M: ArrayLike, margin: float) -> Pool:
    """Returns whether runs of M models, each less its published score, are within the margin together and one by one.

    D is the mean by `pool_weights`. Equivalent where |D| + .84 SE <= margin, so that a difference of the margin passes
    in 20 %, and no model has |D_m| - z(.05 / 2M) SE_m > margin / 2. Different where |D| is surely above the margin, or
    |D_m| of one of the models, at 5 % over both: 2.5 % each, and .025 / M for a model.
    """
    d_M, se_M = np.asarray(differences_M, np.float64), np.asarray(ses_M, np.float64)
    weights_M, models = pool_weights(se_M), d_M.size
    difference, se = float(weights_M @ d_M), float(np.sqrt(((weights_M * se_M) ** 2).sum()))
    each = [models * normal_cdf((margin - abs(d)) / s) for d, s in zip(d_M.tolist(), se_M.tolist(), strict=True)]
    tests = [normal_cdf((margin - abs(difference)) / se), *([min(each)] if models > 1 else [])]
    p_fail = min(1.0, len(tests) * min(tests))
    away_M = np.abs(d_M) - normal_quantile(1 - 0.05 / (2 * models)) * se_M - margin / 2
    alone = int(np.argmax(away_M)) if bool((away_M > 0).any()) else None
    verdict: EquivalenceResult = "inconclusive"
    if p_fail <= 0.05:
        verdict = "different"
    elif abs(difference) + _Z80 * se <= margin and alone is None:
        verdict = "equivalent"
    return Pool(verdict, difference, se, margin, weights_M, p_fail, alone)

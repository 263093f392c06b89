"""Whether two readers who sort the same things into the same classes agree by more than chance."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from assay.stats.estimates import Interval, wilson
from assay.stats.moments import Floats


@dataclass(frozen=True)
class Agreement:
    """Cohen's kappa of two readers."""

    kappa: float | None
    """1 where they always agree, 0 where they agree as often as chance would. None where both put everything into one
    and the same class: chance alone then explains all agreement."""
    interval: Interval | None
    """95 %. None where `kappa` is."""
    p_observed: float
    """p_o, the share of things on which they agree."""
    p_chance: float
    """p_e, the share on which two readers with these class frequencies agree by chance."""
    count: int
    """n, the number of things that both sorted."""


def cohens_kappa(counts_CC: ArrayLike) -> Agreement:
    """Cohen's (1960) kappa = (p_o - p_e) / (1 - p_e), with a 95 % interval.

    `counts_CC[i, j]` is how many things the first reader put into class i and the second into class j.
    The standard error is Fleiss, Cohen and Everitt's (1969) for large samples. It is 0 where the readers always agree,
    and too small where classes are rare. So the interval is Wilson's for p_o at the n that has this standard error, at
    most n itself, carried over to kappa with p_e held. In simulations it covers 92 % or more from 20 things on, 90 % at
    10. Where one reader used a single class, kappa is 0 whatever the other did.

    Raises ValueError for a table that is not square, has negative or broken counts, or is empty.
    """
    counts = np.asarray(counts_CC, dtype=np.float64)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
        raise ValueError(f"the table has shape {counts.shape}; expected as many rows as columns, at least one")
    if not np.isfinite(counts).all() or (counts < 0).any() or (counts % 1 != 0).any():
        raise ValueError("the table holds something other than counts; expected whole numbers from 0 on")
    n = int(counts.sum())
    if n == 0:
        raise ValueError("the table is empty; expected at least one thing that both readers sorted")
    p_CC = counts / n
    first_C, second_C = p_CC.sum(axis=1), p_CC.sum(axis=0)
    p_observed, p_chance = float(np.trace(p_CC)), float(first_C @ second_C)
    # In counts, for 1 - p_e is 1e-17 where it should be 0.
    if counts.sum(axis=1) @ counts.sum(axis=0) == n * n:
        return Agreement(None, None, p_observed, p_chance, n)
    kappa = (p_observed - p_chance) / (1 - p_chance)
    lower, upper = wilson(min(1.0, p_observed), _effective(p_CC, kappa, p_observed, p_chance, n))
    interval = max(-1.0, (lower - p_chance) / (1 - p_chance)), (upper - p_chance) / (1 - p_chance)
    return Agreement(kappa, interval, p_observed, p_chance, n)


def _effective(p_CC: Floats, kappa: float, p_observed: float, p_chance: float, n: int) -> float:
    """p_o (1 - p_o) / SE(p_o)^2, at most n; SE(p_o) is kappa's (1969, their equation 13) times 1 - p_e."""
    first_C, second_C = p_CC.sum(axis=1), p_CC.sum(axis=0)
    weights_CC = ((1 - kappa) * (second_C[:, None] + first_C[None, :])) ** 2
    np.fill_diagonal(weights_CC, (1 - (first_C + second_C) * (1 - kappa)) ** 2)
    variance = float((p_CC * weights_CC).sum()) - (kappa - p_chance * (1 - kappa)) ** 2
    if not variance > 1e-12:
        return float(n)
    return max(1e-9, min(float(n), n * p_observed * (1 - p_observed) / variance)) if 0 < p_observed < 1 else float(n)


def more_often(count: int, of: int, other: int, of_other: int) -> float:
    """Returns the p-value of "it happens no more often than in the other", by Fisher's exact test, one-sided.

    `count` of `of` things show it here, `other` of `of_other` there. Raises ValueError for counts above their totals.
    """
    if not (0 <= count <= of and 0 <= other <= of_other):
        raise ValueError(f"{count} of {of}, and {other} of {of_other}; expected counts from 0 to their totals")
    both = count + other
    ways = math.comb(of + of_other, both)
    most = min(of, both)
    return sum(math.comb(of, k) * math.comb(of_other, both - k) for k in range(count, most + 1)) / ways

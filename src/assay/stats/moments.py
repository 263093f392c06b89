"""The number, mean and variance of each task's scores, from which the other modules start."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """A summary of each task's scores. All arrays are over tasks, in the order given."""

    counts_T: NDArray[np.int64]
    """k_i: how many repeats have a score."""
    means_T: Floats
    """m_i; NaN where the task has no score."""
    variances_T: Floats
    """v_i, ddof 1; NaN where the task has fewer than two scores. Exactly 0 where all scores are the same."""
    lows_T: Floats
    highs_T: Floats
    """The lowest and the highest score; NaN where the task has none."""

    @property
    def low(self) -> float:
        return float(np.nanmin(self.lows_T))

    @property
    def high(self) -> float:
        return float(np.nanmax(self.highs_T))

    @property
    def within(self) -> float | None:
        """W, the mean of v_i over tasks with at least two scores; None where there is no such task."""
        known_T = self.variances_T[self.counts_T > 1]
        return float(known_T.mean()) if known_T.size else None

    def at(self, keep_T: NDArray[np.bool_]) -> "Moments":
        """Returns the moments of some of the tasks."""
        return Moments(*(array_T[keep_T] for array_T in vars(self).values()))


def as_rewards(rewards_TK: ArrayLike) -> Floats:
    """The rewards as a float array [tasks, repeats]. Raises ValueError for another shape, an empty one, or infinity."""
    array_TK = np.asarray(rewards_TK, dtype=np.float64)
    if array_TK.ndim != 2 or not array_TK.size:
        raise ValueError(f"rewards have shape {array_TK.shape}, expected [tasks, repeats], both at least 1")
    if np.isinf(array_TK).any():
        raise ValueError("a reward is infinite; expected a finite one, or NaN where there is no score")
    return array_TK


def moments(rewards_TK: ArrayLike) -> Moments:
    """Counts, means and variances of each task's scores. NaN is no score. Raises ValueError as `as_rewards` does."""
    array_TK = as_rewards(rewards_TK)
    seen_TK = ~np.isnan(array_TK)
    counts_T = seen_TK.sum(axis=1)
    # Deviations from a score of the task itself, so that equal scores have a variance of 0 and not of 1e-34.
    low_T = np.where(seen_TK, array_TK, np.inf).min(axis=1)
    low_T[counts_T == 0] = np.nan
    above_TK = np.where(seen_TK, array_TK - low_T[:, None], 0.0)
    mean_above_T = above_TK.sum(axis=1) / np.maximum(counts_T, 1)
    squares_T = np.where(seen_TK, above_TK - mean_above_T[:, None], 0.0) ** 2
    variances_T = np.where(counts_T > 1, squares_T.sum(axis=1) / np.maximum(counts_T - 1, 1), np.nan)
    return Moments(counts_T, low_T + mean_above_T, variances_T, low_T, low_T + above_TK.max(axis=1))

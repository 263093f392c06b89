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
    def in_unit(self) -> bool:
        """Whether all scores lie in [0, 1]."""
        return self.low >= 0 and self.high <= 1

    @property
    def within(self) -> float | None:
        """W, the mean of v_i over tasks with at least two scores; None where there is no such task."""
        known_T = self.variances_T[self.counts_T > 1]
        return float(known_T.mean()) if known_T.size else None

    @property
    def noise_T(self) -> Floats | None:
        """v_i / k_i, the variance of m_i over re-runs. A task with one score is given W for its v_i, one with none is
        NaN. None where no task has two scores."""
        within = self.within
        if within is None:
            return None
        noise_T = np.full(self.means_T.shape, np.nan)
        scored_T = self.counts_T > 0
        variances_T = np.where(self.counts_T > 1, self.variances_T, within)
        noise_T[scored_T] = variances_T[scored_T] / self.counts_T[scored_T]
        return noise_T

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


def common(a_TK: ArrayLike, b_TK: ArrayLike, least: int = 1) -> tuple[Moments, Moments, int]:
    """Returns the moments of two runs at the tasks that both have scored, and the number of other tasks.

    Both are [tasks, repeats] with the same tasks in the same order; repeats may differ in number.
    Raises ValueError where the numbers of tasks differ, or fewer than `least` tasks have a score on both sides.
    """
    a, b = moments(a_TK), moments(b_TK)
    tasks_a, tasks_b = a.counts_T.size, b.counts_T.size
    if tasks_a != tasks_b:
        raise ValueError(f"{tasks_a} tasks against {tasks_b}; expected the same tasks in the same order")
    both_T = (a.counts_T > 0) & (b.counts_T > 0)
    if both_T.sum() < least:
        raise ValueError(f"{both_T.sum()} tasks have a score on both sides; expected at least {least}")
    return a.at(both_T), b.at(both_T), int((~both_T).sum())

"""A benchmark's score with two standard errors: of the same tasks run again, and of other tasks.

x_ij is the score of task i at repeat j, m_i the task's mean, v_i its variance within the task (ddof 1), W the mean of
v_i. Repeats of a task are not independent evidence about other tasks, so T x k outcomes are never pooled.
Clustered errors and the two levels follow Miller, "Adding Error Bars to Evals" (2024).
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from assay.stats.distributions import normal_cdf, normal_quantile, t_cdf, t_quantile
from assay.stats.moments import Floats, moments

Interval = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A score with its standard errors and intervals, all on the scale of the rewards."""

    score: float
    """The mean of the tasks' means, over tasks with at least one score."""
    se_run: float | None
    """SE of running the same tasks again. None where no task has two scores."""
    se_task: float | None
    """SE of drawing other tasks of the same kind; clustered where clusters were given. None below two of either."""
    se_data: float | None
    """The part of `se_task` that is the tasks alone, which no number of repeats removes. Never clustered."""
    interval_run: Interval | None
    """95 %, normal; Wilson near 0 or 1, or where all repeats agree."""
    interval_task: Interval | None
    """95 %, t with one degree of freedom less than tasks (clusters); Wilson as above."""
    within: float | None
    """W, the mean variance within a task. None where no task has two scores."""
    tasks: int
    """T, the tasks in the mean."""
    tasks_unscored: int
    """Tasks without any score: they are not in the mean."""
    units: int
    """The number of independent units: clusters, or tasks if there are no clusters."""
    repeats: int
    """Columns of the array: the repeats planned."""
    missing: int
    """Planned rollouts without a score, those of unscored tasks among them."""
    effective_tasks: float | None
    """n of the Wilson interval over tasks; None where `interval_task` is a t interval."""

    def p_at_most(self, bound: float) -> float | None:
        """The one-sided p-value of "over all tasks, the true score is at most `bound`". Agrees with `interval_task`:
        below .025 where its lower end is above `bound`. None where there is no `se_task`."""
        if self.se_task is None:
            return None
        if self.effective_tasks is None:
            return _tail(self.score - bound, self.se_task, self.units - 1)
        return _tail(self.score - bound, math.sqrt(max(0.0, bound * (1 - bound)) / self.effective_tasks), math.inf)


def estimate(rewards_TK: ArrayLike, clusters: Sequence[Hashable] | None = None) -> Estimate:
    """The score of one run with its standard errors and intervals.

    `rewards_TK` is [tasks, repeats], NaN where a rollout failed or was not run. With T tasks scored, k_i scores each:
    SE_run^2 = sum_i(v_i / k_i) / T^2 (W / (T k) where every k_i is k; a task with one score is given W for its v_i),
    SE_task = sd(m_i) / sqrt(T), and with C clusters sqrt(C / (C-1) * sum_c(sum_{i in c}(m_i - m))^2) / T,
    SE_data^2 = max(0, var(m_i) - mean(v_i / k_i)) / T.

    `clusters` labels each row, such as the passage that several questions share.
    Where all rewards lie in [0, 1] and the score is <= .05 or >= .95 or W is 0, both intervals are Wilson's with
    n = p (1-p) / SE^2, and with n = the number of tasks (clusters) where SE is 0.

    Raises ValueError where no rollout has a score, or for a wrong shape.
    """
    all_tasks = moments(rewards_TK)
    scored_T = all_tasks.counts_T > 0
    if not scored_T.any():
        raise ValueError("no rollout has a score; expected at least one, so there is nothing to estimate")
    if clusters is not None and len(clusters) != scored_T.size:
        raise ValueError(f"{len(clusters)} cluster labels for {scored_T.size} tasks; expected one for each")
    kept = all_tasks.at(scored_T)
    tasks, score = kept.means_T.size, float(kept.means_T.mean())
    labels = range(tasks) if clusters is None else [label for label, s in zip(clusters, scored_T, strict=True) if s]
    units = len(set(labels))
    noise_T = kept.noise_T
    se_run = None if noise_T is None else math.sqrt(noise_T.sum()) / tasks
    se_task = _clustered_se(kept.means_T, labels) if units > 1 else None
    se_data = None
    if noise_T is not None and tasks > 1:
        se_data = math.sqrt(max(0.0, kept.means_T.var(ddof=1) - noise_T.mean()) / tasks)

    planned = np.asarray(rewards_TK).shape
    bounded = kept.in_unit
    fallback = units if bounded and (score <= 0.05 or score >= 0.95 or kept.within == 0) else None
    return Estimate(
        score=score,
        se_run=se_run,
        se_task=se_task,
        se_data=se_data,
        interval_run=_interval(score, se_run, normal_quantile(0.975), fallback, bounded=bounded),
        interval_task=_interval(score, se_task, t_quantile(0.975, max(1, units - 1)), fallback, bounded=bounded),
        within=kept.within,
        tasks=tasks,
        tasks_unscored=int(scored_T.size - tasks),
        units=units,
        repeats=planned[1],
        missing=int(planned[0] * planned[1] - kept.counts_T.sum()),
        effective_tasks=None if fallback is None or se_task is None else _effective(score, se_task, fallback),
    )


def wilson(p: float, n: float, confidence: float = 0.95) -> Interval:
    """Wilson's score interval for a proportion p of n independent draws; n need not be whole.

    (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), Wilson (1927). Never empty, also at p = 0 and 1.
    Raises ValueError for p outside [0, 1], n not positive or confidence outside (0, 1).
    """
    if not 0 <= p <= 1 or not n > 0 or not 0 < confidence < 1:
        raise ValueError(f"p = {p}, n = {n}, at {confidence}; expected p in [0, 1], n > 0, 0 < at < 1")
    z = normal_quantile((1 + confidence) / 2)
    middle = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At p = 0 and 1 one end is exactly p; rounding would leave 1e-17.
    lower = 0.0 if p == 0 else (middle - half) / scale
    upper = 1.0 if p == 1 else (middle + half) / scale
    return lower, upper


def above_chance(score: float, chance: float) -> float:
    """Returns (p - c) / (1 - c): 0 at chance, 1 at full marks. Raises ValueError unless 0 <= c < 1."""
    if not 0 <= chance < 1:
        raise ValueError(f"chance is {chance}; expected a value in [0, 1)")
    return (score - chance) / (1 - chance)


def _clustered_se(means_T: Floats, labels: Sequence[Hashable]) -> float:
    """The cluster-robust SE of the mean; sd(m_i) / sqrt(T) where every task is its own cluster."""
    position = {label: index for index, label in enumerate(dict.fromkeys(labels))}
    sums_C = np.bincount([position[label] for label in labels], weights=means_T - means_T.mean())
    return math.sqrt(sums_C.size / (sums_C.size - 1) * float((sums_C**2).sum())) / means_T.size


def _interval(
    score: float, se: float | None, quantile: float, fallback: int | None, *, bounded: bool
) -> Interval | None:
    """score -+ quantile * SE, without what lies outside of 0 to 1 where it is `bounded`; Wilson's with a `fallback`."""
    if se is None:
        return None
    if fallback is not None:
        return wilson(score, _effective(score, se, fallback))
    low, high = score - quantile * se, score + quantile * se
    return (max(0.0, low), min(1.0, high)) if bounded else (low, high)


def with_drift(estimate: Estimate, se: float, rewards_TK: ArrayLike) -> Interval:
    """Returns the 95 % interval over re-runs where repeats drift, `se` being the score's standard error with the drift.

    It is normal, and cut to the range of the rewards: a few repeats that differ much would give -48 to 148 %.
    """
    reach = normal_quantile(0.975) * se
    low, high = estimate.score - reach, estimate.score + reach
    return (max(0.0, low), min(1.0, high)) if moments(rewards_TK).in_unit else (low, high)


def _effective(score: float, se: float, fallback: int) -> float:
    """p (1-p) / SE^2, the independent draws that would have this SE; `fallback` where SE is 0 up to rounding."""
    return score * (1 - score) / (se * se) if se > 1e-9 else float(fallback)


def _tail(distance: float, se: float, df: float) -> float:
    """P of at least this distance above a bound by chance alone."""
    if se == 0:
        return 0.0 if distance > 0 else 1.0
    return normal_cdf(-distance / se) if math.isinf(df) else t_cdf(-distance / se, df)

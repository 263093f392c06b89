"""A benchmark's score with two standard errors: of the same tasks run again, and of other tasks.

The score is sum_i w_i x_i over T tasks (`assay.stats.sample`). Repeats of a task are not independent evidence about
other tasks, so T x k outcomes are never pooled. Clustered errors and the two levels follow Miller, "Adding Error Bars
to Evals" (2024).
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from assay.stats.distributions import normal_cdf, normal_quantile, t_cdf, t_quantile
from assay.stats.sample import Sample, variances, welch_df

Interval = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A score with its standard errors and intervals, all on the scale of the rewards."""

    score: float
    """sum_i w_i x_i, over the tasks with a value."""
    se_run: float
    """SE of running the same tasks again, never 0: sqrt(sum_i w_i^2 v_i / k_i + sum_i (w_i / k_i)^2 / T)."""
    se_run_bounded: bool
    """Whether `se_run` is an upper bound, as most tasks have no second score."""
    se_task: float | None
    """SE of drawing other tasks of the same kind, within strata and by clusters. None below two of either."""
    interval_run: Interval
    """95 %, normal, within the range of the rewards."""
    interval_task: Interval | None
    """95 %, t with two tasks more, one at each end of the range: so it has a width where all tasks score alike."""
    within: float | None
    """W, the mean variance within a task. None where no task has two scores."""
    tasks: int
    """T, the tasks in the score."""
    tasks_unscored: int
    """Tasks without any value: they are not in the score."""
    units: int
    """The number of independent units: clusters, or tasks if there are no clusters."""
    middle: float
    """The middle of `interval_task`, before what lies outside of the range is cut off."""
    spread: float
    """Its standard error."""
    df: float

    def p_at_most(self, bound: float) -> float:
        """The one-sided p-value of "over all tasks, the true score is at most `bound`". Agrees with `interval_task`:
        below .025 where its lower end is above `bound`."""
        distance = (self.middle - bound) / self.spread
        return normal_cdf(-distance) if math.isinf(self.df) else t_cdf(-distance, self.df)

    def bounds(self, confidence: float) -> Interval:
        """Returns `interval_task` at another confidence. Raises ValueError unless it is in (0, 1)."""
        if not 0 < confidence < 1:
            raise ValueError(f"confidence is {confidence}; expected a value in (0, 1)")
        reach = t_quantile((1 + confidence) / 2, self.df) * self.spread
        return self.middle - reach, self.middle + reach


def estimate(sample: Sample) -> Estimate:
    """Returns the score of one run with its standard errors and intervals.

    Over tasks SE^2 = sum_g V_g (`assay.stats.sample.variances`). The interval is that of a run with two tasks more, one
    at each end of the range, as Agresti and Coull (1998) add two successes and two failures. Each has the weight
    u = sum_c (sum_{i in c} w_i)^2, which is 1/T for T alike and independent tasks; all other weights are divided by
    1 + 2u, and to sum_g V_g comes (n+2)/(n+1) u'^2 ((h - m)^2 + (m - l)^2), n = 1/u, with n + 1 degrees of freedom.

    Over re-runs SE^2 = sum_i w_i^2 v_i / k_i + sum_i (w_i / k_i)^2 / T, in units of the range: W/N + 1/N^2 for N
    rollouts of tasks that weigh the same. A task with one score has the mean v of the others, `Sample.single`.
    """
    weights_T, counts_T, tasks = sample.weights_T, sample.counts_T, len(sample.values_T)
    score, span = sample.score, sample.span
    se_run = math.sqrt(sample.variance_run() + span**2 * float(((weights_T / counts_T) ** 2).sum()) / tasks)
    variances_G, _ = variances(sample)
    middle, spread, df = _with_two_tasks(sample)
    units = len(set(sample.layout.units_T.tolist()))
    reach = normal_quantile(0.975) * se_run
    result = Estimate(
        score=score,
        se_run=se_run,
        se_run_bounded=sample.bounded,
        se_task=math.sqrt(float(variances_G.sum())) if units > 1 else None,
        interval_run=_within((score - reach, score + reach), sample),
        interval_task=None,
        within=sample.within,
        tasks=tasks,
        tasks_unscored=int((~sample.scored_N).sum()),
        units=units,
        middle=middle,
        spread=spread,
        df=df,
    )
    return replace(result, interval_task=_within(result.bounds(0.95), sample)) if units > 1 else result


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


def with_drift(sample: Sample, se: float) -> Interval:
    """Returns the 95 % interval over re-runs where repeats drift, `se` being the score's standard error with the drift.

    It is normal, and cut to the range of the rewards: a few repeats that differ much would give -48 to 148 %.
    """
    reach = normal_quantile(0.975) * se
    return _within((sample.score - reach, sample.score + reach), sample)


def _with_two_tasks(sample: Sample) -> tuple[float, float, float]:
    """(middle, SE, df) of the interval over tasks, as `estimate` says."""
    layout, low, high = sample.layout, sample.low, sample.high
    shares_C = np.bincount(np.unique(layout.units_T, return_inverse=True)[1], layout.weights_T)
    u = float((shares_C**2).sum())
    scale = 1 / (1 + 2 * u)
    middle = scale * (sample.score + u * (low + high))
    variances_G, df_G = variances(sample)
    two = (1 + 2 * u) / (1 + u) * (u * scale) ** 2 * ((high - middle) ** 2 + (middle - low) ** 2)
    variances_G, df_G = np.append(variances_G * scale**2, two), np.append(df_G, 1 / u + 1)
    return middle, math.sqrt(float(variances_G.sum())), welch_df(variances_G, df_G)


def _within(interval: Interval, sample: Sample) -> Interval:
    return max(sample.low, interval[0]), min(sample.high, interval[1])

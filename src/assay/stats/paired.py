"""The shift of a candidate from a baseline in any figure of a rollout, paired by task, with its uncertainty.

Both have the same tasks in the same order; repeats may differ in number.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from assay.stats.distributions import log_choose, normal_cdf, normal_quantile, t_cdf, t_quantile
from assay.stats.estimates import estimate
from assay.stats.moments import Floats
from assay.stats.sample import Layout, Sample, common, sample

ALPHA = 0.025
"""One-sided, so that the interval is one of 95 %."""
FEW = 60
"""With fewer tasks that differ from the rest, t intervals are too narrow."""
EXACT = 1e-12
"""A standard error below it is 0 up to rounding."""
_Z, _Z80 = normal_quantile(1 - ALPHA), normal_quantile(0.8)


@dataclass(frozen=True)
class Spread:
    """The uncertainty of a shift, over other tasks of the same kind or over re-runs of the same ones.

    t or normal; but where few tasks differ from the rest, a score interval: the shift is tested against the variance
    that there would be if the bound were true, or the one that was seen where that is larger. For tasks that are right
    or wrong on one side it is Wilson's (1927), for tasks that are lost and won Tango's (1998). There t is too
    narrow: if 4 of 200 tasks dropped, it rules out that 8 would.
    """

    shift: float
    se: float
    df: float
    """Degrees of freedom of t; infinite where the interval is normal."""
    tasks: int
    span: float = math.inf
    """The shift lies between -span and span, and so does the interval."""
    rare: Mapping[float, int] | None = None
    """Where few tasks differ from the rest: how many tasks have which difference."""

    @cached_property
    def lower(self) -> float:
        """Of the 95 % interval."""
        return max(-self.span, self.shift - self._reach(-1))

    @cached_property
    def upper(self) -> float:
        return min(self.span, self.shift + self._reach(1))

    def p_at_most(self, bound: float) -> float:
        """The one-sided p-value of "the true shift is at most `bound`"; at most .025 where `lower` is above it."""
        return self._tail(self.shift - bound, -1)

    def p_at_least(self, bound: float) -> float:
        """Returns the one-sided p-value of "the true shift is at least `bound`"."""
        return self._tail(bound - self.shift, 1)

    @property
    def p(self) -> float:
        """The two-sided p-value of "there is no shift"."""
        return min(1.0, 2 * min(self.p_at_most(0.0), self.p_at_least(0.0)))

    def tasks_to_decide(self, bound: float) -> float:
        """The tasks at which a true shift as large as the one seen lies beyond `bound` with a chance of 80 %. Infinite
        where the shift is at the bound."""
        distance = abs(self.shift - bound)
        if not distance:
            return math.inf
        null_se = self._se(distance, -1 if self.shift > bound else 1)
        return self.tasks * ((_Z * null_se + _Z80 * self.se) / distance) ** 2

    def _se(self, distance: float, way: int) -> float:
        """Returns the standard error of the shift if the true one were so far away."""
        if self.rare is None:
            return self.se
        variance = _variance_at(self.rare, self.span, self.shift + way * distance, way)
        return max(self.se, math.sqrt(variance / self.tasks))

    def _reach(self, way: int) -> float:
        if self.rare is None:
            return self.se * (_Z if math.isinf(self.df) else t_quantile(1 - ALPHA, self.df))
        near, far = 0.0, self.span - way * self.shift
        while far - near > 1e-9:
            middle = (near + far) / 2
            near, far = (near, middle) if self._tail(middle, way) <= ALPHA else (middle, far)
        return far

    def _tail(self, distance: float, way: int) -> float:
        se = self._se(max(0.0, distance), way)
        if se < EXACT:
            return 0.0 if distance > 0 else 1.0
        z = -distance / se
        return normal_cdf(z) if math.isinf(self.df) or self.rare else t_cdf(z, self.df)


def _variance_at(counts: Mapping[float, int], span: float, bound: float, way: int) -> float:
    """The variance of the tasks' differences if their mean were `bound`, which is below (-1) or above (1) the one that
    was seen: of the most likely distribution on the differences that were seen and on the span's end.

    Each of the T tasks has the weight 1 / (T (1 + h (d - bound))), h such that the mean is right, and where no h
    within reach does that, the end has the rest (Owen, Empirical Likelihood, 2001, ch. 2).
    """
    room = span - way * bound
    if room <= 0:
        return 0.0
    gaps = [(-way * (value - bound), count) for value, count in counts.items()]
    tasks = sum(counts.values())

    low, high = 0.0, (1 - 1e-12) / room
    h = high if _excess(gaps, high)[0] >= 0 else 0.0
    while h < high:
        # Newton's step, or half of the way where it leads out.
        excess, slope = _excess(gaps, h)
        low, high = (h, high) if excess > 0 else (low, h)
        step = h + excess / slope if slope else high
        h, before = step if low < step < high else (low + high) / 2, h
        if abs(h - before) <= 1e-9 * high:
            break
    weights = [(gap, count / tasks / (1 + h * gap)) for gap, count in gaps]
    rest = max(0.0, 1 - sum(weight for _, weight in weights))
    return sum(weight * gap**2 for gap, weight in weights) + rest * room**2


def _excess(gaps: Sequence[tuple[float, int]], h: float) -> tuple[float, float]:
    """Returns by how much the weighted mean of the gaps is off at h, and how fast that falls with h."""
    excess = slope = 0.0
    for gap, count in gaps:
        part = gap / (1 + h * gap)
        excess += count * part
        slope += count * part * part
    return excess, slope


@dataclass(frozen=True)
class Shift:
    """The shift of a candidate from a baseline."""

    baseline: float
    """Mean over tasks of a task's mean."""
    candidate: float
    shift: float
    """candidate - baseline, or candidate / baseline - 1."""
    over_tasks: Spread
    over_reruns: Spread | None
    """None where one of the sides has no task with two figures."""
    tasks: int
    """With a figure on both sides: all of the above is about them."""
    tasks_left_out: int

    def repeats_to_decide(self, bound: float, *, of_tasks: bool) -> float | None:
        """Returns the factor of repeats at which the shift seen lies beyond `bound` with a chance of 80 %.

        Infinite where no number of repeats would do. None where one repeat can't tell.

        SE^2 over tasks is the tasks' own part and that of re-runs, and repeats make the latter smaller alone.
        """
        if self.over_reruns is None:
            return None
        noise = self.over_reruns.se**2
        own = max(0.0, self.over_tasks.se**2 - noise) if of_tasks else 0.0
        room = (abs(self.shift - bound) / (_Z + _Z80)) ** 2 - own
        return noise / room if room > 0 and noise else math.inf


def difference(baseline: Sample, candidate: Sample) -> Shift:
    """candidate - baseline of a score, paired by task, with intervals over tasks and over re-runs.

    Over tasks it is the SE of the tasks' differences d_i in the score's own weights, strata and clusters; over re-runs
    sqrt(sum_i w_i^2 (v_iA / k_iA + v_iB / k_iB)). Where the score is not the plain mean of independent tasks, the
    interval over tasks is that of `estimate`, with two tasks more that differ by the whole range, one each way.

    Raises ValueError where the numbers of tasks differ, or fewer than two tasks have a value on both sides.
    """
    a, b, left_out = common(baseline, candidate, 2)
    tasks, weights_T = len(a.values_T), a.weights_T
    difference_T = b.values_T - a.values_T
    shift, span = float(weights_T @ difference_T), max(a.span, b.span, max(a.high, b.high) - min(a.low, b.low))
    reruns = None
    if (rerun_se := _rerun_se(a, b, 1.0)) is not None:
        # Where no task varies, one that does may not have been seen: as if each had been asked once.
        reruns = Spread(shift, rerun_se, math.inf, tasks, span, {shift: tasks} if rerun_se < EXACT else None)
    return Shift(
        baseline=a.score,
        candidate=b.score,
        shift=shift,
        over_tasks=_over_tasks(difference_T, shift, a.layout, span),
        over_reruns=reruns,
        tasks=tasks,
        tasks_left_out=left_out,
    )


def _over_tasks(difference_T: Floats, shift: float, layout: Layout, span: float) -> Spread:
    tasks = len(difference_T)
    if not layout.even:
        sample_of_differences = Sample(
            difference_T, np.zeros(tasks), np.ones(tasks, np.int64), layout, np.ones(tasks, bool), -span, span
        )
        result = estimate(sample_of_differences)
        return Spread(shift, result.spread, result.df, tasks, span)
    values: list[float] = difference_T.round(9).tolist()
    counts = Counter(values)
    few = tasks - max(counts.values()) < min(FEW, tasks / 2)
    se = float(difference_T.std(ddof=1)) / math.sqrt(tasks)
    return Spread(shift, se, tasks - 1, tasks, span, counts if few else None)


def growth(baseline_TK: ArrayLike, candidate_TK: ArrayLike) -> Shift | None:
    """candidate / baseline - 1 of two means over the same tasks; None where the baseline's is not above 0.

    Both are [tasks, repeats]. With R the ratio of the means, SE = sd(m_iB - R m_iA) / sqrt(T) / m_A over tasks, the
    ratio estimator of survey sampling (Cochran 1977, ch. 6); over re-runs sqrt(sum_i(v_iB / k_iB + R^2 v_iA / k_iA)) /
    T / m_A.

    Raises ValueError as `difference` does.
    """
    a, b, left_out = common(sample(baseline_TK), sample(candidate_TK), 2)
    tasks, mean_a, mean_b = len(a.values_T), a.score, b.score
    if not mean_a > 0:
        return None
    ratio = mean_b / mean_a
    se = float((b.values_T - ratio * a.values_T).std(ddof=1)) / math.sqrt(tasks) / mean_a
    rerun_se = _rerun_se(a, b, ratio)
    reruns = None if rerun_se is None else Spread(ratio - 1, rerun_se / mean_a, math.inf, tasks)
    return Shift(mean_a, mean_b, ratio - 1, Spread(ratio - 1, se, tasks - 1, tasks), reruns, tasks, left_out)


def _rerun_se(a: Sample, b: Sample, ratio: float) -> float | None:
    """Returns the standard error of b - ratio * a over re-runs; None where a side has no task with two figures."""
    if a.within is None or b.within is None:
        return None
    return math.sqrt(b.variance_run() + ratio**2 * a.variance_run())


def move_test(baseline_K: Sequence[float], candidate_K: Sequence[float]) -> tuple[float, float]:
    """Returns the two-sided p-value of "one task's scores differ by no more than its repeats".

    And the chance that this p-value is at most .05 if nothing has changed.

    A permutation test of the difference of the means: exact (Fisher's) where a task's scores have two values or one,
    else normal with the permutations' own variance s^2 (1/k_A + 1/k_B).
    """
    scores = np.asarray([*baseline_K, *candidate_K], dtype=np.float64)
    k_a, k_b = len(baseline_K), len(candidate_K)
    high = scores.max()
    if np.isin(scores, (scores.min(), high)).all():
        return _fisher(int((scores[:k_a] == high).sum()), k_a, int((scores[k_a:] == high).sum()), k_b)
    distance = abs(float(scores[k_a:].mean() - scores[:k_a].mean()))
    se = math.sqrt(float(scores.var(ddof=1)) * (1 / k_a + 1 / k_b))
    return 2 * normal_cdf(-distance / se), 0.05


def _fisher(right_a: int, k_a: int, right_b: int, k_b: int) -> tuple[float, float]:
    right = right_a + right_b
    count = np.arange(max(0, right - k_b), min(right, k_a) + 1)
    logs = log_choose(k_a, count) + log_choose(k_b, right - count) - log_choose(k_a + k_b, right)
    chances = np.exp(logs)
    apart = np.abs((right - count) / k_b - count / k_a)
    p_each = np.array([chances[apart >= one - 1e-9].sum() for one in apart])
    return min(1.0, float(p_each[count == right_a][0])), float(chances[p_each <= 0.05].sum())

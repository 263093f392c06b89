"""Two runs of the same tasks: how far apart they are, and whether that is far."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from assay.stats.distributions import normal_quantile, t_cdf, t_quantile
from assay.stats.moments import Moments, moments

Verdict = Literal["equivalent", "different", "inconclusive"]


@dataclass(frozen=True)
class Difference:
    """A - B, paired by task."""

    difference: float
    """D, the mean over common tasks of m_iA - m_iB."""
    se: float
    """sd of the tasks' differences / sqrt(T): for other tasks of the same kind."""
    lower: float
    """95 %, two-sided, t with T-1 degrees of freedom."""
    upper: float
    rerun_se: float | None
    """SE over re-runs on the same tasks. None where one of the sides has no task with two scores."""
    tasks: int
    """T, tasks with a score on both sides."""
    tasks_left_out: int
    """Tasks without a score on one side or both."""

    def p_at_most(self, bound: float) -> float:
        """The one-sided p-value of "the true difference is at most `bound`". Small: A is better than B by more than
        that. `p_at_most(-margin)` tests that A is not worse than B by the margin."""
        return self._tail(self.difference - bound)

    def p_at_least(self, bound: float) -> float:
        """The one-sided p-value of "the true difference is at least `bound`". Small: it is less."""
        return self._tail(bound - self.difference)

    def _tail(self, distance: float) -> float:
        if self.se == 0:  # every task moved alike, or none did
            return 0.0 if distance > 0 else 1.0
        return t_cdf(-distance / self.se, self.tasks - 1)


@dataclass(frozen=True)
class Equivalence:
    """Whether two runs give the same score up to a margin, by two one-sided tests at 5 %."""

    verdict: Verdict
    difference: float
    """D = A - B over the tasks that both have scored."""
    se: float | None
    """Over re-runs on the same tasks. None, and the verdict inconclusive, where a side's noise can't even be bounded:
    see `rerun_noise`."""
    margin: float
    k_to_decide: int | None
    """Repeats a side that would show equivalence with a chance of about 80 % if there is no difference."""
    tasks: int
    bounded: tuple[bool, bool] = (False, False)
    """Whether the noise of A, of B is an upper bound, for want of repeats: then `se` and `k_to_decide` are too."""


@dataclass(frozen=True)
class Noise:
    """How far one run's mean over its tasks moves when it is run again."""

    variance: float
    """Of the mean over tasks."""
    within: float
    """W, the mean variance within a task, that it rests on."""
    bounded: bool
    """Whether W is an upper bound, for want of repeats."""


def paired_difference(a_TK: ArrayLike, b_TK: ArrayLike) -> Difference:
    """How much better A scores than B on the tasks that both have scored, with a 95 % interval over tasks.

    Both are [tasks, repeats] with the same tasks in the same order; repeats may differ in number; NaN is no score.
    rerun_se = sqrt(sum_i(v_iA / k_iA + v_iB / k_iB)) / T. Where every task differs by the same amount, `se` is 0 and
    the interval a point: that says little on few tasks.

    Raises ValueError where the numbers of tasks differ, or fewer than two tasks have a score on both sides.
    """
    a, b, left_out = _common(a_TK, b_TK)
    differences_T = a.means_T - b.means_T
    tasks = differences_T.size
    if tasks < 2:
        raise ValueError(f"{tasks} tasks have a score on both sides; expected at least 2")
    mean = float(differences_T.mean())
    se = float(differences_T.std(ddof=1)) / math.sqrt(tasks)
    reach = t_quantile(0.975, tasks - 1) * se
    # Rewards between 0 and 1 differ by at most 1: few tasks would give more.
    rewards = [np.asarray(a_TK, dtype=np.float64), np.asarray(b_TK, dtype=np.float64)]
    most = 1.0 if all(np.nanmin(one) >= 0 and np.nanmax(one) <= 1 for one in rewards) else math.inf
    return Difference(mean, se, max(-most, mean - reach), min(most, mean + reach), _rerun_se(a, b), tasks, left_out)


def equivalence(a_TK: ArrayLike, b_TK: ArrayLike, margin: float) -> Equivalence:
    """Whether A and B, two ways to run the same model on the same tasks, score the same up to `margin`.

    Equivalent where |D| + 1.645 SE <= margin (TOST, Schuirmann 1987), different where |D| - 1.645 SE > margin, else
    inconclusive; SE is over re-runs, for the tasks are the same on both sides. Both errors are at most 5 %.
    k_to_decide = ceil((W_A + W_B) / T * ((1.645 + 1.282) / margin)^2). A side without repeats is given a bound of its
    W (`rerun_noise`), so that both errors stay below 5 % and only the power is less.

    Raises ValueError as `paired_difference` does (one common task is enough here), or where the margin is not positive.
    """
    if not margin > 0:
        raise ValueError(f"margin is {margin}; expected more than 0, on the scale of the rewards")
    a, b, _ = _common(a_TK, b_TK)
    tasks = a.means_T.size
    if tasks < 1:
        raise ValueError("no task has a score on both sides; expected at least 1")
    mean, noise_a, noise_b = float((a.means_T - b.means_T).mean()), rerun_noise(a), rerun_noise(b)
    if noise_a is None or noise_b is None:
        return Equivalence("inconclusive", mean, None, margin, None, tasks)
    se = math.sqrt(noise_a.variance + noise_b.variance)
    k = repeats_to_decide(noise_a.within + noise_b.within, tasks, margin)
    bounded = (noise_a.bounded, noise_b.bounded)
    return Equivalence(equivalence_verdict(mean, se, margin), mean, se, margin, k, tasks, bounded)


def rerun_noise(scored: Moments) -> Noise | None:
    """The noise of a run's mean over tasks that all have a score: sum_i(v_i / k_i) / T^2.

    Where fewer than half of the tasks have two scores, W is bounded by all the variance that single scores in [0, 1]
    with their mean p can have, W <= p (1-p) T/(T-1): the tasks' own differences are in it too, so it is high by them.
    For rewards in [0, 1] W is never taken below ln(10) / sum(k_i), as in `repeats_needed`: scores that all agree, once
    or again, prove no more.

    None where W is not known and the rewards do not lie in [0, 1].
    """
    counts_T, means_T, noise_T = scored.counts_T, scored.means_T, scored.noise_T
    tasks, within = counts_T.size, scored.within
    in_unit = bool(means_T.min() >= 0 and means_T.max() <= 1)
    per_within = float(np.mean(1 / counts_T)) / tasks
    # No variable in [0, 1] has a variance above 1/4.
    least = min(0.25, math.log(10) / int(counts_T.sum())) if in_unit else 0.0
    if within is not None and noise_T is not None and 2 * int((counts_T > 1).sum()) >= tasks:
        variance = max(float(noise_T.sum()) / tasks**2, least * per_within)
        return Noise(variance, max(within, least), bounded=False)
    if not in_unit:
        return None
    p = float(means_T.mean())
    within = max(p * (1 - p) * tasks / max(1, tasks - 1), least)
    return Noise(within * per_within, within, bounded=True)


def equivalence_verdict(difference: float, se: float, margin: float) -> Verdict:
    """TOST's answer at 5 % on each side, for any difference with a known SE."""
    reach = normal_quantile(0.95) * se
    if abs(difference) + reach <= margin:
        return "equivalent"
    return "different" if abs(difference) - reach > margin else "inconclusive"


def repeats_to_decide(within_sum: float, tasks: int, margin: float) -> int:
    """The repeats a side at which SE = margin / (1.645 + 1.282); `within_sum` is W_A + W_B. At least 1."""
    per_margin = (normal_quantile(0.95) + normal_quantile(0.90)) / margin
    return max(1, math.ceil(within_sum / tasks * per_margin**2 - 1e-9))


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Holm's (1979) adjusted p-values, under the same names in the same order: reject where one is <= alpha, and the
    chance of any false rejection stays <= alpha, however the tests depend on each other.

    Raises ValueError for a p-value outside [0, 1].
    """
    for name, value in p.items():
        if not 0 <= value <= 1:
            raise ValueError(f"the p-value of {name} is {value}; expected a value in [0, 1]")
    adjusted: dict[str, float] = {}
    highest = 0.0
    for rank, name in enumerate(sorted(p, key=lambda name: p[name])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[name]))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p}


def _common(a_TK: ArrayLike, b_TK: ArrayLike) -> tuple[Moments, Moments, int]:
    """Both sides at the tasks that both have scored, and how many tasks that leaves out."""
    a, b = moments(a_TK), moments(b_TK)
    tasks_a, tasks_b = a.counts_T.size, b.counts_T.size
    if tasks_a != tasks_b:
        raise ValueError(f"{tasks_a} tasks against {tasks_b}; expected the same tasks in the same order")
    both_T = (a.counts_T > 0) & (b.counts_T > 0)
    return a.at(both_T), b.at(both_T), int((~both_T).sum())


def _rerun_se(a: Moments, b: Moments) -> float | None:
    noise_a_T, noise_b_T = a.noise_T, b.noise_T
    if noise_a_T is None or noise_b_T is None:
        return None
    return math.sqrt(float((noise_a_T + noise_b_T).sum())) / noise_a_T.size

"""Repeats: whether they are independent, and how many make the score stable."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.stats.distributions import f_tail, t_cdf, t_quantile
from assay.stats.moments import Floats, as_rewards
from assay.stats.sample import Sample

SHUFFLES = 10_000
"""The most shuffles, this order among them, by which an F is called low."""
AT_ONCE = 16
"""Shuffles that are made together."""


@dataclass(frozen=True)
class RunEffect:
    """Whether the repeats, as whole runs over the tasks, differ by more (or less) than independent rollouts would."""

    f: float
    """MS_run / MS_resid; about 1 for independent repeats."""
    df_run: int
    df_resid: int
    p_high: float
    """P of an F at least as high. Small: something drifts between repeats, such as the endpoint or the judge."""
    p_low: float
    """P of an F at most as low, never below .0001. Small: the runs' scores are more alike than independent rollouts
    allow. Copied rollouts do not lower F, for they take variance from both sides of it; they lower W."""
    se: float
    """sqrt(MS_run / N), N being the number of scores: the SE of the score that counts the drift, where F is high."""
    tasks: int
    """Tasks with two scores or more: the only ones used."""
    repeats: int


@dataclass(frozen=True)
class RepeatsNeeded:
    """How many repeats bring the SD of the score over re-runs down to a target. SDs are in percentage points."""

    within: float
    """W, the mean variance of a single measurement of a task."""
    within_lower: float
    """Lower 90 % bound of W (one-sided), not below 0."""
    within_upper: float
    """W_U, the upper 90 % bound of W (one-sided), above 0 also where all repeats agree."""
    p_above: float
    """The one-sided p-value of "the SD is at most the target with the repeats there are"."""
    tasks: float
    """T = 1 / sum_i w_i^2: the tasks with a score, where all weigh the same."""
    k_now: float
    """Measurements of a task at present: repeats, or repeats // k for a score of k attempts. The harmonic mean, by
    w_i^2, where tasks differ."""
    target_points: float
    k_star: int
    """The repeats for the target by W. In about half of all cases too few."""
    k_upper: int
    """The repeats for the target by W_U: the number to run."""

    def sd_at(self, k: float) -> float:
        """SD of avg@k in percentage points, if W is right."""
        return 100 * math.sqrt(self.within / (self.tasks * k))

    def sd_upper_at(self, k: float) -> float:
        """Its upper 90 % bound."""
        return 100 * math.sqrt(self.within_upper / (self.tasks * k))

    @property
    def sd_now(self) -> float:
        """SD of the score in percentage points with the repeats there are."""
        return self.sd_at(self.k_now)

    @property
    def sd_now_lower(self) -> float:
        """Its lower 90 % bound."""
        return 100 * math.sqrt(self.within_lower / (self.tasks * self.k_now))

    @property
    def sd_now_upper(self) -> float:
        """Its upper 90 % bound."""
        return self.sd_upper_at(self.k_now)


def run_effect(rewards_TK: ArrayLike) -> RunEffect | None:
    """Returns the F test of a run effect: two-way analysis of variance, tasks x repeats, without interaction.

    `rewards_TK` is [tasks, repeats], NaN where there is no score. No rollout is left out because another is missing:
    the sum of squares of the repeats is that beside the tasks, as for any unbalanced table (Searle 1971, ch. 7).
    F = MS_run / MS_resid; infinite where runs differ and nothing else does. `p_high` is from the F distribution, which
    holds for rewards of 0 and 1 too. `p_low` is, below F = 1, from shuffling each task's scores, with a fixed seed: two
    runs with the same number of right answers are common, have F = 0, and mean nothing.

    None where fewer than two tasks or repeats can be compared, or where all repeats score alike, so that there is no F
    (a variance within tasks of 0 tells the second). Raises ValueError for a wrong shape.
    """
    away_TK, seen_TK = _away(rewards_TK)
    tasks, repeats = away_TK.shape
    if tasks < 2 or repeats < 2:
        return None
    weights_KK = _beside_tasks(seen_TK)
    df_run = int(np.linalg.matrix_rank(weights_KK, hermitian=True))
    inverse_KK: Floats = np.asarray(np.linalg.pinv(weights_KK, hermitian=True), np.float64)
    sums_K = away_TK.sum(axis=0)
    effects_K = inverse_KK @ sums_K
    fitted_TK = np.where(seen_TK, effects_K, 0.0)
    fitted_TK -= np.where(seen_TK, fitted_TK.sum(axis=1, keepdims=True) / seen_TK.sum(axis=1, keepdims=True), 0.0)
    of_runs, rest = max(0.0, float(sums_K @ effects_K)), float(((away_TK - fitted_TK) ** 2).sum())
    # Differences below rounding (1e-12 of the scores' size, squared) are none.
    nothing = away_TK.size * (1e-12 * float(np.nanmax(np.abs(rewards_TK)))) ** 2
    df_resid = int(seen_TK.sum()) - tasks - df_run
    if df_run < 1 or df_resid < 1 or (rest <= nothing and of_runs <= nothing):
        return None
    ms_run = of_runs / df_run
    f = ms_run / (rest / df_resid) if rest > nothing else math.inf
    p_high = f_tail(f, df_run, df_resid) if math.isfinite(f) else 0.0
    return RunEffect(
        f=f,
        df_run=df_run,
        df_resid=df_resid,
        p_high=p_high,
        p_low=_share_as_alike(away_TK, seen_TK, inverse_KK) if f < 1 else 1 - p_high,
        se=math.sqrt(ms_run / int(seen_TK.sum())),
        tasks=tasks,
        repeats=repeats,
    )


def _away(rewards_TK: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    """Returns each score less its task's mean, 0 where there is none, and where there is one.

    Tasks with one score, and repeats without any, say nothing of repeats and are left out.
    """
    rewards_TK = as_rewards(rewards_TK)
    seen_TK = ~np.isnan(rewards_TK)
    kept_T = seen_TK.sum(axis=1) > 1
    kept_K = seen_TK[kept_T].any(axis=0)
    x_TK, seen_TK = rewards_TK[kept_T][:, kept_K], seen_TK[kept_T][:, kept_K]
    x_TK = np.where(seen_TK, x_TK, 0.0)
    means_T = x_TK.sum(axis=1) / np.maximum(seen_TK.sum(axis=1), 1)
    return np.where(seen_TK, x_TK - means_T[:, None], 0.0), seen_TK


def _beside_tasks(seen_TK: NDArray[np.bool_]) -> Floats:
    """Returns the matrix of the normal equations of the repeats' effects, those of the tasks having been eliminated."""
    one_TK: Floats = seen_TK.astype(np.float64)
    return np.diag(one_TK.sum(axis=0)) - (one_TK / one_TK.sum(axis=1, keepdims=True)).T @ one_TK


def _share_as_alike(away_TK: Floats, seen_TK: NDArray[np.bool_], inverse_KK: Floats) -> float:
    """Returns the share of shuffles within tasks, this order among them, whose runs are at least as alike.

    Of SHUFFLES less one, or of as many as it takes to find 10 that are: where the share is not small, few tell
    (Besag and Clifford, 1991).
    """
    varied_T = np.ptp(away_TK, axis=1) > 0
    away_TK, seen_TK = away_TK[varied_T], seen_TK[varied_T]
    generator = np.random.default_rng(0)
    whole_T = seen_TK.all(axis=1)
    whole_STK = np.broadcast_to(away_TK[whole_T], (AT_ONCE, int(whole_T.sum()), away_TK.shape[1]))
    partly_STK = np.broadcast_to(away_TK[~whole_T], (AT_ONCE, int((~whole_T).sum()), away_TK.shape[1]))
    gaps_TK = ~seen_TK[~whole_T]
    places_STK = np.broadcast_to(np.argsort(gaps_TK, axis=1, kind="stable"), partly_STK.shape)

    def unlike(sums_SK: Floats) -> Floats:
        return ((sums_SK @ inverse_KK) * sums_SK).sum(axis=-1)

    def shuffle_sums() -> Floats:
        """Returns the sums of each repeat, of some shuffles."""
        order_STK = np.argsort(np.where(gaps_TK, np.inf, generator.random(partly_STK.shape)), axis=2)
        moved_STK = np.zeros_like(partly_STK)
        # Each task's scores come first in the order, and go where scores are.
        np.put_along_axis(moved_STK, places_STK, np.take_along_axis(partly_STK, order_STK, axis=2), axis=2)
        return generator.permuted(whole_STK, axis=2).sum(axis=1) + moved_STK.sum(axis=1)

    limit = float(unlike(away_TK.sum(axis=0))) + 1e-9 * float((away_TK**2).sum())  # what rounding can make of a tie
    alike = shuffles = 0
    while shuffles < SHUFFLES - 1:
        for is_alike in (unlike(shuffle_sums()) <= limit).tolist():
            shuffles, alike = shuffles + 1, alike + is_alike
            if alike == 10:
                return alike / shuffles
            if shuffles == SHUFFLES - 1:
                break
    return (1 + alike) / SHUFFLES


@dataclass(frozen=True)
class ChangePoint:
    """Whether scores change from one repeat on, as they do where the model behind an endpoint is changed."""

    before: int
    """The first repeat of those that differ most from the earlier ones, counted from 0."""
    change: float
    """Their mean less that of the earlier ones, paired by task."""
    p: float
    """Two-sided, times the number of places where scores could have changed."""
    smallest: float
    """The smallest change halfway that `alpha` over these places would have shown with 80 %."""


def change_point(rewards_TK: ArrayLike, alpha: float) -> ChangePoint | None:
    """Tests each place between two repeats for a change of the score, by the tasks' differences.

    At each place, the slope on "this repeat or a later one" beside the tasks, and its t. None as for `run_effect`.
    """
    away_TK, seen_TK = _away(rewards_TK)
    tasks, repeats = away_TK.shape
    if tasks < 2 or repeats < 2:
        return None
    df = int(seen_TK.sum()) - tasks - 1
    total = float((away_TK**2).sum())
    after_TK = np.zeros(away_TK.shape)
    slopes: list[float] = []
    errors: list[float] = []
    for place in range(1, repeats):
        after_TK[:, place:], after_TK[:, :place] = 1.0, 0.0
        share_T = (after_TK * seen_TK).sum(axis=1) / seen_TK.sum(axis=1)
        z_TK = np.where(seen_TK, after_TK - share_T[:, None], 0.0)
        size = float((z_TK**2).sum())
        slope = float((z_TK * away_TK).sum()) / size if size else 0.0
        slopes.append(slope)
        errors.append(math.sqrt(max(0.0, total - slope**2 * size) / max(1, df) / size) if size else math.inf)
    if df < 1 or total <= 1e-24 * away_TK.size:
        return None
    sizes = [abs(slope) for slope in slopes]
    t = [size / error if error else math.inf if size else 0.0 for size, error in zip(sizes, errors, strict=True)]
    worst, places = t.index(max(t)), len(t)
    p = min(1.0, 2 * places * t_cdf(-t[worst], df)) if math.isfinite(t[worst]) else 0.0
    reach = t_quantile(1 - alpha / places / 2, df) + t_quantile(0.8, df)
    return ChangePoint(worst + 1, slopes[worst], p, reach * errors[places // 2])


def repeats_needed(sample: Sample, target_points: float = 1.0) -> RepeatsNeeded | None:
    """Returns how many repeats a pilot of at least two says are needed for an SD of `target_points` percentage points.

    SD^2 = sum_i w_i^2 v_i / k_i = W / (T k), W being the mean of v_i by u_i = w_i^2 over the tasks with two scores or
    more, and T = 1 / sum_i w_i^2. So k = ceil(W * 10^4 / (T * target^2)), at least 1, from W and from
    W_U = W + t_{.90, n-1} sqrt(n/(n-1) sum_i u_i^2 (v_i - W)^2) with n such tasks and sum u_i = 1. It uses all
    variances within tasks; the spread of run means has only k-1 degrees of freedom and is five times noisier on 30
    tasks. W_U is at least ln(10) / sum(k_i) in units of the range: were W higher, repeats that all agree would have a
    chance below exp(-W sum(k_i)) = 10 %, and so W = 0 alone proves little.

    Adding repeats to every task until `sd_now_upper` reaches the target is optional stopping, but mild: simulated on 30
    to 500 tasks of 0 and 1 (docs/statistics.md) it moves the score by less than .1 point, the 95 % interval covers 94
    to 96 %, and the SD is truly at the target in 96 % or more. On 30 tasks that are nearly always solved, or never, it
    moves the score by .2 point towards that end, and the SD is at the target in 90 %.

    None where fewer than two tasks have two scores. Raises ValueError for a target not above 0.
    """
    if not target_points > 0:
        raise ValueError(f"target_points is {target_points}; expected more than 0")
    known_T = ~np.isnan(sample.noise_T)
    count = int(known_T.sum())
    if count < 2:
        return None
    squares_T, counts_T = sample.weights_T**2, sample.counts_T
    share_T = squares_T[known_T] / squares_T[known_T].sum()
    single_T = (sample.noise_T * counts_T)[known_T]
    within = float(share_T @ single_T)
    spread = math.sqrt(count / (count - 1) * float((share_T * (single_T - within)) @ (share_T * (single_T - within))))
    reach = t_quantile(0.90, count - 1) * spread
    upper = max(within + reach, sample.span**2 * math.log(10) / int(counts_T[known_T].sum()))
    tasks, k_now = 1 / float(squares_T.sum()), float(squares_T.sum() / (squares_T / counts_T).sum())
    above = within - tasks * k_now * (target_points / 100) ** 2

    def k_for(within: float) -> int:
        # 0.1 * 10^4 / 500 must stay 2 whatever the last bit says.
        return max(1, math.ceil(within * 1e4 / (tasks * target_points**2) - 1e-9))

    return RepeatsNeeded(
        within=within,
        within_lower=max(0.0, within - reach),
        within_upper=upper,
        p_above=t_cdf(-above / spread, count - 1) if spread > 1e-12 else float(above <= 1e-12),
        tasks=tasks,
        k_now=k_now,
        target_points=target_points,
        k_star=k_for(within),
        k_upper=k_for(upper),
    )

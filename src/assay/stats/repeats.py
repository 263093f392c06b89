"""Repeats: whether they are independent, and how many make the score stable."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from assay.stats.distributions import f_tail, t_quantile
from assay.stats.moments import Floats, as_rewards, moments


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
    """P of an F at most as low, never below .001. Small: the runs' scores are more alike than independent rollouts
    allow. Copied rollouts do not lower F, for they take variance from both sides of it; they lower W."""
    se: float
    """sqrt(MS_run / (T k)), the SE of the score that counts the drift. Use it where F is high."""
    tasks: int
    """Tasks with a score at every repeat: the only ones used."""
    repeats: int


@dataclass(frozen=True)
class RepeatsNeeded:
    """How many repeats bring the SD of the score over re-runs down to a target. SDs are in percentage points."""

    within: float
    """W, the mean variance within a task."""
    within_lower: float
    """Lower 90 % bound of W (one-sided), not below 0."""
    within_upper: float
    """W_U, the upper 90 % bound of W (one-sided), above 0 also where all repeats agree, if rewards lie in [0, 1]."""
    tasks: int
    """T, tasks with a score."""
    k_now: float
    """Repeats a task at present; the harmonic mean where tasks differ."""
    target_points: float
    k_star: int
    """The repeats for the target by W. In about half of all cases too few."""
    k_upper: int
    """The repeats for the target by W_U: the number to run."""

    def sd_at(self, k: float) -> float:
        """SD of avg@k in percentage points, if W is right."""
        return 100 * math.sqrt(self.within / (self.tasks * k))

    def sd_lower_at(self, k: float) -> float:
        """Its lower 90 % bound."""
        return 100 * math.sqrt(self.within_lower / (self.tasks * k))

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
        return self.sd_lower_at(self.k_now)

    @property
    def sd_now_upper(self) -> float:
        """Its upper 90 % bound."""
        return self.sd_upper_at(self.k_now)


def run_effect(rewards_TK: ArrayLike) -> RunEffect | None:
    """The F test of a run effect: two-way analysis of variance, tasks x repeats, without interaction.

    `rewards_TK` is [tasks, repeats]; a repeat without any score and then every task with a gap are left out.
    F = MS_run / MS_resid on (k-1, (k-1)(T-1)); infinite where runs differ and nothing else does. `p_high` is from the F
    distribution, which holds for rewards of 0 and 1 too. `p_low` is, below F = 1, from shuffling each task's scores,
    with a fixed seed: two runs with the same number of right answers are common, have F = 0, and mean nothing.

    None where there are fewer than two complete tasks or repeats, or where all repeats score alike, so that there is no
    F (a variance within tasks of 0 tells the second). Raises ValueError for a wrong shape.
    """
    rewards_TK = as_rewards(rewards_TK)
    seen_TK = ~np.isnan(rewards_TK)
    x_TK = rewards_TK[:, seen_TK.any(axis=0)]
    x_TK = x_TK[~np.isnan(x_TK).any(axis=1)]
    tasks, repeats = x_TK.shape
    if tasks < 2 or repeats < 2:
        return None
    away_TK = x_TK - x_TK.mean(axis=1, keepdims=True)
    run_K = away_TK.mean(axis=0)
    rest = float(((away_TK - run_K) ** 2).sum())
    ms_run = tasks * float((run_K**2).sum()) / (repeats - 1)
    # Differences below rounding (1e-12 of the scores' size, squared) are none.
    nothing = x_TK.size * (1e-12 * float(np.abs(x_TK).max())) ** 2
    if rest <= nothing and ms_run <= nothing:
        return None
    df_run, df_resid = repeats - 1, (repeats - 1) * (tasks - 1)
    f = ms_run / (rest / df_resid) if rest > nothing else math.inf
    p_high = f_tail(f, df_run, df_resid) if math.isfinite(f) else 0.0
    return RunEffect(
        f=f,
        df_run=df_run,
        df_resid=df_resid,
        p_high=p_high,
        p_low=_share_as_alike(away_TK) if f < 1 else 1 - p_high,
        se=math.sqrt(ms_run / (tasks * repeats)),
        tasks=tasks,
        repeats=repeats,
    )


def _share_as_alike(away_TK: Floats) -> float:
    """The share of shuffles within tasks, this order among them, whose runs are at least as alike.

    Of 999 shuffles, or of as many as it takes to find 10 that are: where the share is not small, few tell
    (Besag and Clifford, 1991).
    """
    away_TK = away_TK[np.ptp(away_TK, axis=1) > 0]
    generator = np.random.default_rng(0)

    def unlike(x_TK: Floats) -> float:
        return float((x_TK.sum(axis=0) ** 2).sum())

    limit = unlike(away_TK) + 1e-9 * float((away_TK**2).sum())  # what rounding can make of a tie
    alike = 0
    for shuffles in range(1, 1000):
        alike += unlike(generator.permuted(away_TK, axis=1)) <= limit
        if alike == 10:
            return alike / shuffles
    return (1 + alike) / 1000


def repeats_needed(rewards_TK: ArrayLike, target_points: float = 1.0) -> RepeatsNeeded | None:
    """How many repeats a pilot of at least two says are needed for an SD of `target_points` percentage points.

    k = ceil(W * 10^4 / (T * target^2)), at least 1, from W and from W_U = W + t_{.90, T-1} sd(v_i) / sqrt(T), where v_i
    is over tasks with two scores or more. It uses all variances within tasks; the spread of run means has only k-1
    degrees of freedom and is five times noisier on 30 tasks, more on more of them. For rewards in [0, 1] W_U is at
    least ln(10) / sum(k_i): were W higher, repeats that all agree would have a chance below exp(-W sum(k_i)) = 10 %,
    and so W = 0 alone proves little.

    Adding repeats to every task until `sd_now_upper` reaches the target is optional stopping, but mild: simulated on 30
    to 500 tasks of 0 and 1 (docs/statistics.md) it moves the score by less than .1 point, the 95 % interval covers 94
    to 96 %, and the SD is truly at the target in 96 % or more. On 30 tasks that are nearly always solved, or never, it
    moves the score by .2 point towards that end, and the SD is at the target in 90 %.

    None where fewer than two tasks have two scores. Raises ValueError for a wrong shape or a target not above 0.
    """
    if not target_points > 0:
        raise ValueError(f"target_points is {target_points}; expected more than 0")
    all_tasks = moments(rewards_TK)
    scored = all_tasks.at(all_tasks.counts_T > 0)
    known = all_tasks.at(all_tasks.counts_T > 1)
    if known.within is None or known.variances_T.size < 2:
        return None
    spread = float(known.variances_T.std(ddof=1)) / math.sqrt(known.variances_T.size)
    reach = t_quantile(0.90, known.variances_T.size - 1) * spread
    floor = math.log(10) / int(known.counts_T.sum()) if scored.in_unit else 0.0
    upper = max(known.within + reach, floor)
    tasks = scored.counts_T.size

    def k_for(within: float) -> int:
        # 0.1 * 10^4 / 500 must stay 2 whatever the last bit says.
        return max(1, math.ceil(within * 1e4 / (tasks * target_points**2) - 1e-9))

    return RepeatsNeeded(
        within=known.within,
        within_lower=max(0.0, known.within - reach),
        within_upper=upper,
        tasks=tasks,
        k_now=float(1 / (1 / scored.counts_T).mean()),
        target_points=target_points,
        k_star=k_for(known.within),
        k_upper=k_for(upper),
    )

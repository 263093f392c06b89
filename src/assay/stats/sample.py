"""A run's score task by task: the arrays that every estimate and comparison starts from.

The score is sum_i w_i x_i, x_i being the value of task i: its mean reward, or its pass@k, pass^k or maj@k.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.stats.atk import g_pass_at_k, maj_by_task
from assay.stats.moments import Floats, moments

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """How tasks make up a score: their groups, weights and clusters. All arrays are over tasks."""

    groups_TL: Ints
    """The group of each task at each level, from the outermost: [tasks, levels], no level for a plain mean. Groups of
    one number in different outer groups are different groups."""
    sizes_T: Floats
    """The weight of a task within its innermost group."""
    clusters_T: Ints
    """The cluster of each task: tasks of one cluster are no independent evidence."""
    fixed: bool = True
    """Whether other tasks of the same kind would have the same groups; else the outermost groups are the clusters."""

    @classmethod
    def of(
        cls,
        tasks: int,
        *,
        by: Sequence[Sequence[Hashable]] = (),
        sizes: ArrayLike | None = None,
        clusters: Sequence[Hashable] | None = None,
        fixed: bool = True,
    ) -> Self:
        """Returns the layout of `tasks` tasks: `by` has the labels of all tasks for each level, from the outermost.

        Raises ValueError where a sequence has not one entry a task, or a size is not above 0.
        """
        for given in (*by, clusters, sizes):
            if given is not None and len(np.asarray(given, dtype=object)) != tasks:
                raise ValueError(f"{len(np.asarray(given, dtype=object))} labels for {tasks} tasks; expected one each")
        levels = [_numbers(labels) for labels in by]
        sizes_T = np.ones(tasks) if sizes is None else np.asarray(sizes, dtype=np.float64)
        if not (np.isfinite(sizes_T).all() and (sizes_T > 0).all()):
            raise ValueError("a task's weight is not above 0; expected a finite number above 0 for each")
        groups_TL = np.stack(levels, axis=1) if levels else np.zeros((tasks, 0), np.int64)
        clusters_T = np.arange(tasks) if clusters is None else _numbers(clusters)
        return cls(groups_TL, sizes_T, clusters_T, fixed)

    def at(self, keep_T: NDArray[np.bool_] | Ints) -> Self:
        """Returns the layout of some of the tasks, by mask or place."""
        return replace(
            self,
            groups_TL=self.groups_TL[keep_T],
            sizes_T=self.sizes_T[keep_T],
            clusters_T=self.clusters_T[keep_T],
        )

    @cached_property
    def weights_T(self) -> Floats:
        """w_i, the share of each task in the score. They sum to 1."""
        weights_T = np.ones(len(self.sizes_T))
        outer_T = np.zeros(len(self.sizes_T), np.int64)
        for inner_T in self._paths:
            # Each group passes its weight on to its own groups in equal parts.
            parents = np.unique(np.stack([outer_T, inner_T]), axis=1)[0]
            weights_T /= np.bincount(parents)[outer_T]
            outer_T = inner_T
        return weights_T * self.sizes_T / np.bincount(outer_T, self.sizes_T)[outer_T]

    @cached_property
    def even(self) -> bool:
        """Whether the score is the plain mean over independent tasks."""
        alike = np.ptp(self.weights_T) < 1e-12 * self.weights_T[0]
        return bool(alike) and self.strata_T.max() == 0 and len(np.unique(self.units_T)) == len(self.units_T)

    @cached_property
    def units_T(self) -> Ints:
        """The independent unit of a task: its cluster, or its outermost group where groups are a sample."""
        return self.clusters_T if self.fixed or not self._paths else self._paths[0]

    @cached_property
    def strata_T(self) -> Ints:
        """The group within which a task's neighbours tell how much another task would differ, numbered from 0.

        It is the innermost group. One with a single unit is joined with the groups of its size in the same outer group,
        as in Cochran, Sampling Techniques (1977), 5A.12. There is one stratum where groups are a sample, or where a
        cluster has tasks in several groups.
        """
        tasks = len(self.sizes_T)
        if not self.fixed or not self._paths:
            return np.zeros(tasks, np.int64)
        strata_T = self._paths[-1]
        for outer_T in (*reversed(self._paths[:-1]), np.zeros(tasks, np.int64)):
            strata_T = _join_strata(strata_T, outer_T, self.units_T)
        pairs = np.unique(np.stack([strata_T, self.units_T]), axis=1)
        if pairs.shape[1] > len(np.unique(self.units_T)):
            return np.zeros(tasks, np.int64)
        return np.unique(strata_T, return_inverse=True)[1]

    @cached_property
    def _paths(self) -> list[Ints]:
        """The number of each task's group by level, groups of different outer groups having different numbers."""
        found: list[Ints] = []
        for level in range(self.groups_TL.shape[1]):
            outer_T = found[-1] if found else np.zeros(len(self.sizes_T), np.int64)
            both = np.stack([outer_T, self.groups_TL[:, level]])
            found.append(np.unique(both, axis=1, return_inverse=True)[1].reshape(-1))
        return found


@dataclass(frozen=True)
class Sample:
    """One run: the tasks that have a value, and how much each value moves when the run is made again."""

    values_T: Floats
    """x_i."""
    noise_T: Floats
    """The variance of x_i over re-runs as the run's own repeats show it; NaN where they show none."""
    counts_T: Ints
    """The independent measurements behind x_i: k_i repeats, or k_i // k for a score of k attempts."""
    layout: Layout
    scored_N: NDArray[np.bool_]
    """Which of the run's N tasks have a value, so are in the arrays above."""
    low: float = 0.0
    high: float = 1.0
    """The range of the values: as declared, or wider where one lies outside of it."""

    @property
    def score(self) -> float:
        """sum_i w_i x_i, summed exactly, so that a run whose every value is 1 has the score 1."""
        return math.fsum((self.weights_T * self.values_T).tolist()) / math.fsum(self.weights_T.tolist())

    @property
    def weights_T(self) -> Floats:
        return self.layout.weights_T

    @property
    def span(self) -> float:
        return self.high - self.low

    @cached_property
    def within(self) -> float | None:
        """W, the mean over tasks of the variance of a single measurement; None where no task has two."""
        known_T = ~np.isnan(self.noise_T)
        return float((self.noise_T * self.counts_T)[known_T].mean()) if known_T.any() else None

    @property
    def bounded(self) -> bool:
        """Whether fewer than half of the tasks have two measurements, so that the noise is an upper bound."""
        return 2 * int((~np.isnan(self.noise_T)).sum()) < len(self.values_T)

    @cached_property
    def single(self) -> float:
        """The variance of one measurement of a task that has no second one: W; where most tasks have none, the bound
        (p - low) (high - p) T/(T-1) of all that have the mean p (Bhatia and Davis 2000), the tasks' differences in it.
        """
        if self.bounded or self.within is None:
            p, tasks = float(self.values_T.mean()), len(self.values_T)
            return max(0.0, (p - self.low) * (self.high - p)) * tasks / max(1, tasks - 1)
        return self.within

    def filled_T(self, least: float = 0.0) -> Floats:
        """Returns the variance of each x_i over re-runs, with `single` where it isn't known.

        `least` is the least W that is believed: where the mean is lower, all are raised by the same.
        """
        single_T = np.where(np.isnan(self.noise_T), self.single, self.noise_T * self.counts_T)
        return (single_T + max(0.0, least - float(single_T.mean()))) / self.counts_T

    def variance_run(self, least: float = 0.0) -> float:
        """SE_run^2 = sum_i w_i^2 v_i / k_i, without the allowance that `estimate` makes for few repeats."""
        return float(self.weights_T**2 @ self.filled_T(least))

    def at(self, keep_T: NDArray[np.bool_]) -> "Sample":
        """Returns the sample of some of its tasks."""
        if keep_T.all():
            return self
        scored_N = self.scored_N.copy()
        scored_N[scored_N] = keep_T
        return replace(
            self,
            values_T=self.values_T[keep_T],
            noise_T=self.noise_T[keep_T],
            counts_T=self.counts_T[keep_T],
            layout=self.layout.at(keep_T),
            scored_N=scored_N,
        )


def sample(rewards_NK: ArrayLike, layout: Layout | None = None, *, low: float = 0.0, high: float = 1.0) -> Sample:
    """Returns the sample of a mean of rewards, [tasks, repeats] with NaN where there is no score.

    Raises ValueError where no rollout has a score, or for a wrong shape.
    """
    got = moments(rewards_NK)
    noise_N = got.variances_T / np.maximum(1, got.counts_T)
    return _build(got.means_T, noise_N, got.counts_T, layout, low, high)


def sample_of_attempts(rewards_NK: ArrayLike, k: int, *, all_of: bool, layout: Layout | None = None) -> Sample:
    """Returns the sample of pass@k, or of pass^k with `all_of`. An attempt is right at full marks, a reward of 1.

    Over re-runs by the jackknife over a task's n attempts (Efron and Stein 1981) where n is above k.
    Raises ValueError as `sample` does, where no task having k attempts is the same as no score.
    """
    rewards_NK = np.asarray(rewards_NK, dtype=np.float64)
    n_N, right_N = (~np.isnan(rewards_NK)).sum(axis=1), (rewards_NK >= 1).sum(axis=1)

    def value(right: Ints, n: Ints) -> Floats:
        return g_pass_at_k(right, n, k, 1.0 if all_of else 0.0)

    enough_N, more_N = n_N >= k, n_N > k
    values_N, noise_N = np.full(len(n_N), np.nan), np.full(len(n_N), np.nan)
    values_N[enough_N] = value(right_N[enough_N], n_N[enough_N])
    right, n = right_N[more_N], n_N[more_N]
    less_right, less_wrong = value(np.maximum(right - 1, 0), n - 1), value(np.minimum(right, n - 1), n - 1)
    mean = (right * less_right + (n - right) * less_wrong) / n
    noise_N[more_N] = (n - 1) / n * (right * (less_right - mean) ** 2 + (n - right) * (less_wrong - mean) ** 2)
    return _build(values_N, noise_N, n_N // k, layout, 0.0, 1.0)


def sample_of_majorities(
    answers: Sequence[Sequence[Hashable | None]],
    rewards: Sequence[Sequence[float]],
    k: int,
    *,
    layout: Layout | None = None,
    low: float = 0.0,
    high: float = 1.0,
) -> Sample:
    """Returns the sample of maj@k of answers and rewards as `maj_at_k` takes them.

    Over re-runs by the bound of a mean over subsets, x (1 - x) / (n // k) (Hoeffding 1963, section 5).
    Raises ValueError as `maj_at_k` and `sample` do.
    """
    n_N = np.array([len(row) for row in rewards])
    values_N = maj_by_task(answers, rewards, [k])[k]
    blocks_N = n_N // k
    noise_N = np.full(len(n_N), np.nan)
    several_N = blocks_N > 1
    x = values_N[several_N]
    noise_N[several_N] = (x - low) * (high - x) / (blocks_N[several_N] - 1)
    return _build(values_N, noise_N, blocks_N, layout, low, high)


def common(a: Sample, b: Sample, least: int = 1) -> tuple[Sample, Sample, int]:
    """Returns the samples at the tasks that have a value in both runs, and the number of other tasks.

    Raises ValueError where the numbers of tasks differ, or fewer than `least` tasks have a value in both.
    """
    if a.scored_N.size != b.scored_N.size:
        raise ValueError(
            f"{a.scored_N.size} tasks against {b.scored_N.size}; expected the same tasks in the same order"
        )
    both_N = a.scored_N & b.scored_N
    if both_N.sum() < least:
        raise ValueError(f"{both_N.sum()} tasks have a score on both sides; expected at least {least}")
    return a.at(both_N[a.scored_N]), b.at(both_N[b.scored_N]), int((~both_N).sum())


def _build(values_N: Floats, noise_N: Floats, counts_N: Ints, layout: Layout | None, low: float, high: float) -> Sample:
    scored_N = ~np.isnan(values_N)
    if not scored_N.any():
        raise ValueError("no rollout has a score; expected at least one, so there is nothing to estimate")
    layout = _plain(len(values_N)) if layout is None else layout
    if len(layout.sizes_T) != len(values_N):
        raise ValueError(
            f"the layout has {len(layout.sizes_T)} tasks and the rewards {len(values_N)}; expected as many"
        )
    values_T = values_N[scored_N]
    return Sample(
        values_T,
        noise_N[scored_N],
        counts_N[scored_N],
        layout if scored_N.all() else layout.at(scored_N),
        scored_N,
        min(low, float(values_T.min())),
        max(high, float(values_T.max())),
    )


@lru_cache(maxsize=64)
def _plain(tasks: int) -> Layout:
    """Returns the layout of a plain mean: what follows from it is computed once."""
    return Layout.of(tasks)


def _numbers(labels: Sequence[Hashable]) -> Ints:
    """Returns a number for each different label, by first appearance."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels], dtype=np.int64)


def _join_strata(strata_T: Ints, outer_T: Ints, units_T: Ints) -> Ints:
    """The strata, those with one unit joined: with each other, or where there is one alone, with the smallest other
    stratum of the same outer group."""
    strata_T = strata_T.copy()
    for outer in np.unique(outer_T):
        inside_T = outer_T == outer
        sizes = {int(s): len(np.unique(units_T[inside_T & (strata_T == s)])) for s in np.unique(strata_T[inside_T])}
        alone = [s for s, units in sizes.items() if units == 1]
        if len(alone) == 1 and len(sizes) > 1:
            alone.append(min((units, s) for s, units in sizes.items() if s != alone[0])[1])
        if len(alone) > 1:
            strata_T[inside_T & np.isin(strata_T, alone)] = alone[0]
    return strata_T


def variances(sample: Sample) -> tuple[Floats, Floats]:
    """V_g and C_g - 1 of each stratum: SE_task^2 = sum_g V_g, with degrees of freedom by Welch and Satterthwaite.

    V_g = C_g / (C_g - 1) sum_c (sum_{i in c} w_i (x_i - M_g))^2, M_g the weighted mean in the stratum, c its clusters.
    Strata with one cluster, which only a layout of one cluster has, are left out.
    """
    return variances_of(sample.values_T, sample.layout)


def variances_of(values_T: Floats, layout: Layout) -> tuple[Floats, Floats]:
    """As `variances`, of any figures of the tasks."""
    weights_T, strata_T = layout.weights_T, layout.strata_T
    means_G = np.bincount(strata_T, weights_T * values_T) / np.bincount(strata_T, weights_T)
    units_T = np.unique(layout.units_T, return_inverse=True)[1]
    sums_C = np.bincount(units_T, weights_T * (values_T - means_G[strata_T]))
    stratum_C = np.zeros(len(sums_C), np.int64)
    stratum_C[units_T] = strata_T
    counts_G = np.bincount(stratum_C)
    several_G = counts_G > 1
    df_G = (counts_G - 1)[several_G].astype(np.float64)
    return (np.bincount(stratum_C, sums_C**2)[several_G] * (df_G + 1) / df_G, df_G)


def welch_df(variances_G: Floats, df_G: Floats) -> float:
    """(sum V_g)^2 / sum(V_g^2 / df_g); infinite where nothing varies."""
    below = float((variances_G**2 / df_G).sum())
    return float(variances_G.sum()) ** 2 / below if below else math.inf

"""Do the intervals of a score, and of a difference, cover the truth?"""

import math
from collections.abc import Iterator

import numpy as np

from assay.stats.estimates import estimate
from assay.stats.sample import Layout, sample
from studies.draw import ENDS, EVEN, HARD, NEAR_ONE, NEAR_ZERO, PARTS, Kind, by_t, generator_of, move, runs
from studies.row import Claim, Row, at_least, at_most, share

NOMINAL: Claim = (0.93, 0.97)
WILSON: Claim = at_least(0.93)
"""Wilson's may cover more than they say: what is near 0 or 1 is discrete."""

SETS = [
    (30, 4, EVEN, NOMINAL),
    (30, 16, EVEN, NOMINAL),
    (30, 4, ENDS, NOMINAL),
    (30, 4, PARTS, NOMINAL),
    (198, 2, EVEN, NOMINAL),
    (198, 4, ENDS, NOMINAL),
    (198, 4, HARD, NOMINAL),
    (500, 2, ENDS, NOMINAL),
    (500, 2, HARD, NOMINAL),
    (1319, 1, ENDS, NOMINAL),
    (1319, 4, PARTS, NOMINAL),
    (30, 4, NEAR_ONE, WILSON),
    (30, 4, NEAR_ZERO, WILSON),
    (198, 4, NEAR_ONE, WILSON),
    (198, 4, NEAR_ZERO, WILSON),
    (500, 2, NEAR_ONE, WILSON),
]
"""Tasks, repeats, kind, and the coverage claimed: AIME's, GPQA's, MATH-500's and GSM8K's sizes."""


def intervals(trials: int) -> Iterator[Row]:
    """Coverage of the 95 % intervals of a score."""
    for tasks, repeats, kind, claim in SETS:
        yield from _coverage(tasks, repeats, kind, claim, trials)
    yield from _with_failures(trials)
    yield from _pooling(trials)
    yield from _clusters(trials)
    yield from _groups(trials)


def _coverage(tasks: int, repeats: int, kind: Kind, claim: Claim, trials: int) -> Iterator[Row]:
    where = f"{tasks:,} tasks × {repeats}, {kind.name}"
    over_runs, over_tasks = [], []
    for rates_T, rewards_TK in runs(generator_of(where), kind, tasks, repeats, trials):
        found = estimate(sample(rewards_TK))
        over_tasks.append(_covers(found.interval_task, kind.score))
        if found.interval_run:
            over_runs.append(_covers(found.interval_run, float(rates_T.mean())))
    if over_runs:
        # One repeat bounds the noise: the tasks' own differences are in the bound.
        yield share(f"over re-runs: {where}", over_runs, claim if repeats > 1 else WILSON)
    yield share(f"over tasks: {where}", over_tasks, claim)


def _with_failures(trials: int) -> Iterator[Row]:
    """One rollout in ten fails, whatever its task."""
    generator = generator_of("failures")
    over_runs, over_tasks = [], []
    for rates_T, rewards_TK in runs(generator, EVEN, 198, 4, trials):
        rewards_TK[generator.random(rewards_TK.shape) < 0.1] = math.nan
        found = estimate(sample(rewards_TK))
        over_runs.append(_covers(found.interval_run, float(rates_T.mean())))
        over_tasks.append(_covers(found.interval_task, EVEN.score))
    where = "198 tasks × 4, rates spread evenly, 10 % of rollouts failed"
    yield share(f"over re-runs: {where}", over_runs, NOMINAL)
    yield share(f"over tasks: {where}", over_tasks, NOMINAL)


def _pooling(trials: int) -> Iterator[Row]:
    """What Assay does not do: T x k outcomes as if they were independent."""
    hits = []
    for _, rewards_TK in runs(generator_of("pooled"), ENDS, 198, 8, trials):
        reach = 1.96 * float(rewards_TK.std(ddof=1)) / math.sqrt(rewards_TK.size)
        hits.append(abs(float(rewards_TK.mean()) - ENDS.score) <= reach)
    yield share("for contrast, all T × k pooled, over tasks: 198 tasks × 8, 60 % never or always solved", hits)


def _clusters(trials: int) -> Iterator[Row]:
    """Questions about one passage share its difficulty."""
    for clusters, size in ((25, 4), (50, 10)):
        generator = generator_of(f"clusters {clusters}")
        labels = np.repeat(np.arange(clusters), size).tolist()
        plain, clustered = [], []
        for _ in range(trials):
            rates_T = np.repeat(EVEN.rates(generator, clusters), size)
            rewards_TK = EVEN.rewards(generator, rates_T, 2)
            clustered.append(
                _covers(estimate(sample(rewards_TK, Layout.of(len(labels), clusters=labels))).interval_task, EVEN.score)
            )
            plain.append(_covers(estimate(sample(rewards_TK)).interval_task, EVEN.score))
        where = f"{clusters} passages × {size} questions × 2"
        yield share(f"clustered, over tasks: {where}", clustered, NOMINAL)
        yield share(f"for contrast, not clustered: {where}", plain)


def differences(trials: int) -> Iterator[Row]:
    """Two models on the same tasks: the 95 % interval of the difference, and its tests."""
    for tasks, repeats, kind in ((30, 4, EVEN), (198, 4, ENDS), (500, 1, ENDS), (500, 2, HARD)):
        generator = generator_of(f"difference {tasks} {kind.name}")
        covered, alarms = [], []
        for rates_T, a_TK in runs(generator, kind, tasks, repeats, trials):
            # Better by 2 points on average: by 4 in proportion on half of the tasks, not at all on the others.
            gains_T = generator.choice([0.0, 1.0], tasks)
            better_T = rates_T + gains_T * (move(rates_T, 0.04) - rates_T)
            b_TK = kind.rewards(generator, better_T, repeats)
            found = by_t(a_TK, b_TK)
            covered.append(found.lower <= 0.02 <= found.upper)
            alarms.append(by_t(a_TK, kind.rewards(generator, rates_T, repeats)).p_at_most(0.0) < 0.05)
        where = f"{tasks} tasks × {repeats}, {kind.name}"
        yield share(f"B is 2 points better: {where}", covered, NOMINAL)
        yield share(f"equal models, B called better at 5 %: {where}", alarms, at_most(0.05))


def _covers(interval: tuple[float, float] | None, truth: float) -> bool:
    return interval is not None and interval[0] <= truth <= interval[1]


def _groups(trials: int) -> Iterator[Row]:
    """A mean over groups whose tasks differ in difficulty from group to group."""
    for groups, size, high in ((5, 40, 0.95), (10, 3, 0.95), (27, 8, 0.95), (57, 10, 0.95), (27, 8, 0.99)):
        generator = generator_of(f"groups {groups} {size} {high}")
        means_G = np.linspace(0.3, high, groups) if high < 0.99 else np.full(groups, high)
        means_T = np.repeat(means_G, size)
        layout = Layout.of(groups * size, by=[np.repeat(np.arange(groups), size).tolist()])
        over_runs, over_tasks = [], []
        for _ in range(trials):
            rates_T = generator.beta(1.5 * means_T, 1.5 * (1 - means_T))
            rewards_TK = (generator.random((groups * size, 4)) < rates_T[:, None]).astype(float)
            found = estimate(sample(rewards_TK, layout))
            over_runs.append(_covers(found.interval_run, float(layout.weights_T @ rates_T)))
            over_tasks.append(_covers(found.interval_task, float(means_G.mean())))
        kind = "groups of 30 to 95 %" if high < 0.99 else "each group at 99 %"
        where = f"mean over {groups} groups of {size} tasks × 4, {kind}"
        yield share(f"over re-runs: {where}", over_runs, at_least(0.93))
        yield share(f"over tasks: {where}", over_tasks, at_least(0.93))

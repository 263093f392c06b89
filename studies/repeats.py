"""How many repeats it takes until the score stands still, and what looking at it on the way does."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from assay.fidelity.results.repeats import towards
from assay.stats.estimates import estimate
from assay.stats.repeats import RepeatsNeeded, repeats_needed
from assay.stats.sample import sample
from studies.draw import ENDS, EVEN, NEAR_ONE, TENTH, Floats, Kind, generator_of, runs, within
from studies.row import Claim, Row, at_least, at_most, figure, mean, ratio, share, spread


def repeats_asked_for(trials: int) -> Iterator[Row]:
    """k_star and k_upper for an SD of 1 point, from a pilot."""
    for tasks, k in ((30, 34), (198, 6), (500, 2)):
        # Two scores that are sqrt(.2) apart have a variance of .1.
        needed = _need(np.tile([0.0, math.sqrt(0.2)], (tasks, 1)))
        yield figure(f"k_star at W = .10, {tasks} tasks", needed.k_star, (k, k))
    yield from _sd_at_k(4800 * trials)
    for tasks, pilot, kind in (
        (30, 2, EVEN),
        (30, 4, EVEN),
        (30, 4, ENDS),
        (60, 8, NEAR_ONE),
        (198, 2, EVEN),
        (198, 4, TENTH),
        (500, 2, EVEN),
        (500, 4, ENDS),
    ):
        yield from _too_few(tasks, pilot, kind, trials)
    for tasks in (30, 198, 500):
        yield _noisier(tasks, trials)


def _sd_at_k(draws: int) -> Iterator[Row]:
    """The SD of avg@k over re-runs of tasks whose W is .10: half never vary, the others have p (1 - p) = .2."""
    for tasks, k in ((30, 34), (198, 6), (500, 2)):
        rates_T = np.tile([0.5 - math.sqrt(0.05), 0.0, 0.5 + math.sqrt(0.05), 1.0], tasks // 4 + 1)[:tasks]
        generator = generator_of(f"sd {tasks}")
        for repeats, claim in ((k, at_most(0.01)), (k - 1, at_least(0.01))):
            scores = generator.binomial(repeats, rates_T, (draws // tasks, tasks)).mean(axis=1) / repeats
            yield spread(f"SD of avg@{repeats} at W = .10, {tasks} tasks", scores, claim)


def _too_few(tasks: int, pilot: int, kind: Kind, trials: int) -> Iterator[Row]:
    where = f"{tasks} tasks, pilot of {pilot}, {kind.name}"
    star, upper = [], []
    for rates_T, rewards_TK in runs(generator_of(f"k {where}"), kind, tasks, pilot, trials):
        needed, w = _need(rewards_TK), float(within(rates_T))
        star.append(_true_sd(w, tasks, needed.k_star) > 0.01)
        upper.append(_true_sd(w, tasks, needed.k_upper) > 0.01)
    yield share(f"k_star is too few: {where}", star, at_most(0.6))
    yield share(f"k_upper is too few: {where}", upper, at_most(0.12))


def _noisier(tasks: int, trials: int) -> Row:
    """The SD of W as the runs' means tell it, over that of W as the tasks' variances do; both have the mean W."""
    by_runs, by_tasks = [], []
    for _, rewards_TK in runs(generator_of(f"noisier {tasks}"), EVEN, tasks, 4, trials):
        by_runs.append(tasks * float(rewards_TK.mean(axis=0).var(ddof=1)))
        by_tasks.append(_need(rewards_TK).within)
    above, below = (np.asarray(by) - 1 / 6 for by in (by_runs, by_tasks))
    squares = ratio("", above**2, below**2)
    what = f"W from the spread of run means is noisier than from the tasks, times: {tasks} tasks × 4"
    root = math.sqrt(squares.measured)
    return Row(what, at_least(5.0), root, squares.error / (2 * root), trials, "")


def stopping(trials: int) -> Iterator[Row]:
    """Raising k until the upper bound of the SD is at the target: what looking on the way does."""
    for tasks, pilot, kind, target in (
        (30, 2, EVEN, 1.0),
        (30, 4, ENDS, 1.0),
        (30, 4, NEAR_ONE, 1.0),
        (198, 2, TENTH, 1.0),
        (198, 4, NEAR_ONE, 0.5),
        (500, 2, EVEN, 1.0),
    ):
        for way, following in WAYS.items():
            yield from _stop_at(tasks, pilot, kind, target, way, following, trials)


def _one_more(needed: RepeatsNeeded, k: int) -> int:
    return k + 1


def _to_k_upper(needed: RepeatsNeeded, k: int) -> int:
    return max(k + 1, needed.k_upper)


def _as_assay_does(needed: RepeatsNeeded, k: int) -> int:
    return towards(needed, k).k or k


Following = Callable[[RepeatsNeeded, int], int]
WAYS: dict[str, Following] = {
    "at most doubling": _as_assay_does,
    "one at a time": _one_more,
    "straight to k_upper": _to_k_upper,
}
"""The repeats after a look at so many that was not good enough. The first is what `--until-stable` does."""


def _stop_at(
    tasks: int, pilot: int, kind: Kind, target: float, way: str, following: Following, trials: int
) -> Iterator[Row]:
    where = f"{way}, {tasks} tasks, pilot of {pilot}, {kind.name}, target {target:g}"
    off, covered, still, used = [], [], [], []
    enough = 4 * math.ceil(0.25 * 1e4 / (tasks * target**2)) + pilot
    for rates_T, rewards_TK in runs(generator_of(where), kind, tasks, enough, trials):
        k = pilot
        while (needed := _need(rewards_TK[:, :k], target)).sd_now_upper > target:
            k = following(needed, k)
        truth, found = float(rates_T.mean()), estimate(sample(rewards_TK[:, :k]))
        off.append(found.score - truth)
        covered.append(found.interval_run is not None and found.interval_run[0] <= truth <= found.interval_run[1])
        still.append(100 * _true_sd(float(within(rates_T)), tasks, k) <= target)
        used.append(k)
    yield mean(f"bias: {where}", off, (-0.001, 0.001))
    yield share(f"the 95 % interval covers: {where}", covered, at_least(0.93))
    yield share(f"the SD is truly at the target: {where}", still, at_least(0.98))
    yield mean(f"repeats used: {where}", used, unit="")


def allocation(trials: int) -> Iterator[Row]:
    """Neyman allocation: more repeats where a pilot says that tasks vary. What it would save; Assay does not do it."""
    for kind in (EVEN, ENDS):
        for k, claim in ((8, at_most(0.01)), (16, (0.05, 0.18)), (32, (0.05, 0.18))):
            yield max((_savings(kind, k, pilot, claim, trials) for pilot in (k // 4, k // 2)), key=lambda r: r.measured)
    yield _pooled_bias(trials)


def _savings(kind: Kind, k: int, pilot: int, claim: Claim, trials: int) -> Row:
    """Returns the share of rollouts saved at the same SE: 1 - Var(Neyman) / Var(as many for every task).

    Unbiased: the pilot's and the rest's means are weighted alike for every task, at the weight that is best on average.
    Given the counts, both variances are known, so that only the pilot is simulated.
    """
    generator = generator_of(f"neyman {kind.name} {k} {pilot}")
    rates = kind.rates(generator, (trials, 100))
    _, _, counts = _allocate(generator, rates, k, pilot)
    of_pilot, of_rest = within(rates) / pilot, (rates * (1 - rates) / counts).mean(axis=1)
    weight = of_rest.mean() / (of_pilot.mean() + of_rest.mean())
    lost = ratio("", weight**2 * of_pilot + (1 - weight) ** 2 * of_rest, within(rates) / k)
    what = f"rollouts saved, with the better of two pilots: 100 tasks × {k}, {kind.name}"
    return Row(what, claim, 1 - lost.measured, lost.error, trials)


def _pooled_bias(trials: int) -> Row:
    """Returns what the plain mean of all rollouts of a task does under it: tasks that seemed sure keep their luck."""
    generator = generator_of("neyman pooled")
    rates = Kind("easy", a=4.0).rates(generator, (trials, 100))
    first, second, counts = _allocate(generator, rates, 8, 2)
    pooled = (2 * first + counts * second) / (2 + counts)
    return mean("for contrast, bias of pooling pilot and rest: 100 tasks × 8, mean 80 %", (pooled - rates).mean(axis=1))


def _allocate(generator: np.random.Generator, rates: Floats, k: int, pilot: int) -> tuple[Floats, Floats, Floats]:
    """Means of the pilot and of the rest, and how many repeats each task got of the rest: at least one."""
    first = generator.binomial(pilot, rates) / pilot
    guess = (pilot * first + 0.5) / (pilot + 1)
    sd = np.sqrt(guess * (1 - guess))
    left = (k - pilot) * sd / sd.mean(axis=1, keepdims=True)
    counts = np.maximum(1, np.floor(left + generator.random(left.shape)))
    return first, generator.binomial(counts.astype(int), rates) / counts, counts


def _true_sd(w: float, tasks: int, k: float) -> float:
    return math.sqrt(w / (tasks * k))


def _need(rewards_TK: Floats, target_points: float = 1.0) -> RepeatsNeeded:
    needed = repeats_needed(sample(rewards_TK), target_points)
    assert needed is not None, "there are always two tasks with two scores here"
    return needed

"""What k attempts give: unbiased, and steadier than a look at the first k."""

import itertools
from collections.abc import Iterator

import numpy as np

from assay.stats.atk import g_pass_at_k, maj_at_k, pass_at_k
from studies.draw import EVEN, HARD, generator_of
from studies.row import Row, at_least, at_most, figure, mean, ratio, spread


def attempts(trials: int) -> Iterator[Row]:
    """pass@k, G-Pass@k and maj@k."""
    yield figure("pass@k less its average over all k-subsets, at most, n to 9", _pass_off_by(9), at_most(1e-12))
    yield figure("G-Pass@k less the same, tau .5 and 1, n to 9", _g_pass_off_by(9), at_most(1e-12))
    for k, n in ((4, 8), (8, 16)):
        generator = generator_of(f"pass {k} {n}")
        rates = HARD.rates(generator, (trials, 100))
        truth = (1 - (1 - rates) ** k).mean(axis=1)
        right = generator.binomial(n, rates)
        where = f"k = {k} of {n} attempts, 100 tasks, {HARD.name}"
        # An error of chance is within three of its own SEs of 0, and that is what is asked here.
        yield mean(f"bias of pass@k: {where}", pass_at_k(right, n, k).mean(axis=1) - truth, (0.0, 0.0))
        plain = (1 - (1 - right / n) ** k).mean(axis=1)
        yield mean(f"for contrast, bias of 1 - (1 - c/n)^k: {where}", plain - truth)
    yield from _majority(max(100, trials))


def _pass_off_by(largest: int) -> float:
    worst = 0.0
    for n in range(1, largest + 1):
        for right, k in itertools.product(range(n + 1), range(1, n + 1)):
            hits = [min(subset) < right for subset in itertools.combinations(range(n), k)]
            worst = max(worst, abs(float(pass_at_k(right, n, k)) - float(np.mean(hits))))
    return worst


def _g_pass_off_by(largest: int) -> float:
    worst = 0.0
    for n in range(1, largest + 1):
        for right, k, tau in itertools.product(range(n + 1), range(1, n + 1), (0.5, 1.0)):
            rights = [sum(j < right for j in subset) for subset in itertools.combinations(range(n), k)]
            brute = float(np.mean([count >= max(1.0, tau * k) for count in rights]))
            worst = max(worst, abs(float(g_pass_at_k(right, n, k, tau)) - brute))
    return worst


def _majority(trials: int) -> Iterator[Row]:
    """maj@4 of 16 attempts at 30 tasks; a wrong attempt gives one of three answers."""
    generator = generator_of("majority")
    rates_T = EVEN.rates(generator, 30)
    chances = np.column_stack((rates_T, np.outer(1 - rates_T, [0.6, 0.3, 0.1])))
    over_subsets, first_k = [], []
    for _ in range(trials):
        drawn = (generator.random((30, 16, 1)) > chances.cumsum(axis=1)[:, None, :-1]).sum(axis=-1)
        answers, rewards = drawn.tolist(), (drawn == 0).astype(float).tolist()
        over_subsets.append(maj_at_k(answers, rewards, [4])[4])
        first_k.append(maj_at_k([row[:4] for row in answers], [row[:4] for row in rewards], [4])[4])
    subsets, first = np.asarray(over_subsets), np.asarray(first_k)
    where = "maj@4, 30 tasks, 16 attempts"
    yield mean(f"over all subsets less over the first k: {where}", subsets - first, (0.0, 0.0))
    yield spread(f"SD over all subsets: {where}", subsets)
    yield spread(f"for contrast, SD over the first k: {where}", first)
    middle = np.concatenate((subsets, first)).mean()
    above, below = (first - middle) ** 2, (subsets - middle) ** 2
    yield ratio(f"variance of the first k over that of all subsets: {where}", above, below, at_least(1.0))

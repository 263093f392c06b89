"""Is a published number reproduced? Of it only the digits are known, and sometimes the repeats behind it."""

import math
from collections.abc import Iterator

from assay.stats.published import fewest_repeats, reproduction
from assay.stats.sample import sample
from studies.draw import ENDS, Kind, generator_of, move
from studies.row import UNCLAIMED, Row, at_most, figure, share

MARGIN = 0.02


def granularity(trials: int) -> Iterator[Row]:
    """The fewest repeats that can print a number."""
    yield figure("fewest repeats that print 94.6 on 30 tasks", fewest_repeats(0.946, 0.001, 30), (8, 8))
    yield figure("fewest repeats that print 93.3 on 30 tasks", fewest_repeats(0.933, 0.001, 30), (1, 1))
    for tasks, k0 in ((30, 8), (30, 64), (198, 8), (500, 4)):
        generator = generator_of(f"granularity {tasks} {k0}")
        bounds = []
        for _ in range(trials):
            right = int(generator.binomial(k0, ENDS.rates(generator, tasks)).sum())
            bounds.append(fewest_repeats(round(right / (tasks * k0), 3), 0.001, tasks))
        where = f"{tasks} tasks, truly {k0}, one decimal"
        yield share(f"the bound is above the true repeats: {where}", [bound > k0 for bound in bounds], (0.0, 0.0))
        yield share(f"the bound is the true repeats: {where}", [bound == k0 for bound in bounds])


def reproductions(trials: int) -> Iterator[Row]:
    """A run of k repeats against a published mean of k0, margin 2 points."""
    for tasks, k, k0, unit in ((198, 16, 8, 0.001), (198, 32, 4, 0.001), (500, 8, 4, 0.001), (500, 8, 4, 0.01)):
        yield from _reproduce(tasks, k, k0, unit, ENDS, trials)


def _reproduce(tasks: int, k: int, k0: int, unit: float, kind: Kind, trials: int) -> Iterator[Row]:
    """With k0 as stated, with k0 unknown and bounded, and with the published number taken as exact."""
    digits = round(-math.log10(unit))
    where = f"{tasks} tasks, {k} repeats against {k0}, printed to {100 * unit:g}"
    for margins, what, claim in (
        (0.0, "equal", UNCLAIMED),
        (1.0, "exactly the margin apart", at_most(0.05)),
        (2.0, "twice the margin apart", at_most(0.01)),
    ):
        generator = generator_of(f"reproduced {where} {margins}")
        stated, bounded, exact, different = [], [], [], []
        for _ in range(trials):
            rates_T = kind.rates(generator, tasks)
            theirs_T = move(rates_T, -margins * MARGIN)
            printed = round(float(kind.rewards(generator, theirs_T, k0).mean()), digits)
            rewards_TK = kind.rewards(generator, rates_T, k)
            found = reproduction(sample(rewards_TK), printed, MARGIN, unit=unit, repeats=k0)
            stated.append(found.verdict == "equivalent")
            different.append(found.verdict == "different")
            exact.append(found.verdict_if_exact == "equivalent")
            bounded.append(reproduction(sample(rewards_TK), printed, MARGIN, unit=unit).verdict == "equivalent")
        yield share(f"{what}, called equivalent, k0 stated: {where}", stated, claim)
        yield share(f"{what}, called equivalent, k0 bounded: {where}", bounded, claim)
        if margins == 1.0:
            yield share(f"{what}, called different, k0 stated: {where}", different, claim)
            yield share(f"for contrast, {what}, called equivalent, k0 taken as endless: {where}", exact)

"""Does a policy's limit hold, where a candidate is just as much worse as it may be?"""

from collections.abc import Iterator

import numpy as np

from assay.stats.paired import ALPHA, difference
from assay.stats.sample import sample
from studies.draw import EVEN, Floats, by_t, generator_of, move
from studies.row import Row, at_most, share

ONE_SIDED = at_most(0.025)


def shifts(trials: int) -> Iterator[Row]:
    """How often a limit that is just reached is passed and failed, by the interval over tasks and by t alone."""
    for tasks, limit, gained in (
        (100, 0.02, 0.0),
        (100, 0.05, 0.0),
        (200, 0.02, 0.0),
        (200, 0.05, 0.0),
        (1000, 0.02, 0.0),
        (1000, 0.05, 0.0),
        (200, 0.02, 0.03),
        (1000, 0.05, 0.03),
    ):
        also = f", {100 * gained:g} % gained" if gained else ""
        where = f"{tasks:,} tasks, limit {100 * limit:g} points, solved tasks are lost for good{also}"
        generator = generator_of(where)
        yield from _rows(where, (_lose(generator, tasks, limit, gained) for _ in range(trials)), limit)
    for tasks, limit in ((200, 0.02), (1000, 0.05)):
        where = f"{tasks:,} tasks, limit {100 * limit:g} points, every task is harder, 4 repeats"
        generator = generator_of(where)
        yield from _rows(where, (_harder(generator, tasks, limit) for _ in range(trials)), limit)


def _rows(where: str, pairs: Iterator[tuple[Floats, Floats]], limit: float) -> Iterator[Row]:
    passed: list[bool] = []
    failed: list[bool] = []
    passed_by_t: list[bool] = []
    for before_TK, after_TK in pairs:
        found = difference(sample(before_TK), sample(after_TK)).over_tasks
        passed.append(found.p_at_most(-limit) <= ALPHA)
        failed.append(found.p_at_least(-limit) <= ALPHA)
        passed_by_t.append(by_t(before_TK, after_TK).lower > -limit)
    yield share(f"passed: {where}", passed, ONE_SIDED)
    yield share(f"failed: {where}", failed, ONE_SIDED)
    yield share(f"passed by t alone: {where}", passed_by_t)


def _lose(generator: np.random.Generator, tasks: int, limit: float, gained: float) -> tuple[Floats, Floats]:
    """Returns a task is lost or gained for good, each by chance, so that the true drop is the limit."""
    drawn_T1 = generator.random((tasks, 1))
    lost_T1 = (drawn_T1 < limit + gained).astype(np.float64)
    gained_T1 = (drawn_T1 > 1 - gained).astype(np.float64)
    return lost_T1, gained_T1


def _harder(generator: np.random.Generator, tasks: int, limit: float) -> tuple[Floats, Floats]:
    """Returns every task's rate falls in proportion to its variance, by the limit on average."""
    rates_T = EVEN.rates(generator, tasks)
    return EVEN.rewards(generator, rates_T, 4), EVEN.rewards(generator, move(rates_T, -limit), 4)

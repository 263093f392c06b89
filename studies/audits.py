"""Does an audit accuse an honest record, and does it see a forgery of the size that it states?"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from assay.fidelity.audit import ALPHA, smallest_forgery
from assay.stats.paired import Spread, difference
from assay.stats.sample import sample
from studies.draw import generator_of
from studies.row import Row, at_least, at_most, share

RATES = {
    "tasks of all rates": (1.0, 1.0),
    "most tasks certain": (0.15, 0.1),
    "score near 1": (2.0, 0.06),
}
"""Beta distributions of a task's solve rate."""
CASES = ((60, 1), (60, 4), (120, 4))
"""Tasks that are asked again, and recorded repeats of each; one fresh rollout."""


def audits(trials: int) -> Iterator[Row]:
    """Audits of honest records, and of records whose failed tasks were given full marks up to the stated size."""
    for name, shape in RATES.items():
        for tasks, repeats in CASES:
            yield from _rows(name, shape, tasks, repeats, trials // 4)


def _rows(name: str, shape: tuple[float, float], tasks: int, repeats: int, trials: int) -> Iterator[Row]:
    generator = generator_of(f"audit {name} {tasks} {repeats}")
    accused: list[bool] = []
    seen: list[bool] = []
    sizes: list[float] = []
    for _ in range(trials):
        rates_T = generator.beta(*shape, tasks)
        recorded_TK = (generator.random((tasks, repeats)) < rates_T[:, None]).astype(float)
        fresh_TK = (generator.random((tasks, 1)) < rates_T[:, None]).astype(float)
        found = _compare(recorded_TK, fresh_TK)
        accused.append(found.p < ALPHA)
        size = smallest_forgery(found.se, tasks, 1.0)
        if (forged_TK := _forge(recorded_TK, size, generator)) is not None:
            sizes.append(size)
            seen.append(_compare(forged_TK, fresh_TK).p < ALPHA)
    case = f"{tasks} tasks, {repeats} recorded, {name}"
    yield share(f"accuses an honest record: {case}", accused, at_most(0.015))
    if seen:
        note = f"{100 * float(np.mean(sizes)):.0f} points on average"
        yield share(f"sees a forgery of the stated size: {case}", seen, at_least(0.8), note)


def _compare(recorded_TK: NDArray[np.float64], fresh_TK: NDArray[np.float64]) -> Spread:
    return difference(sample(recorded_TK), sample(fresh_TK)).over_tasks


def _forge(recorded_TK: NDArray[np.float64], size: float, generator: np.random.Generator) -> NDArray[np.float64] | None:
    """Full marks on tasks in a random order until the mean has risen by `size`; None where there is no such room."""
    forged_TK, risen = recorded_TK.copy(), 0.0
    for task in generator.permutation(len(recorded_TK)):
        if risen >= size or not math.isfinite(size):
            break
        risen += (1 - recorded_TK[task].mean()) / len(recorded_TK)
        forged_TK[task] = 1.0
    return forged_TK if risen >= size else None

"""Simulated benchmarks: how often each task is solved, and the rewards of rollouts."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.stats.paired import Spread, difference
from assay.stats.sample import sample

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Kind:
    """A kind of benchmark: some tasks are never solved, some always, the others at rates drawn from Beta(a, b)."""

    name: str
    a: float = 1.0
    b: float = 1.0
    never: float = 0.0
    always: float = 0.0
    parts: int = 1
    """A reward is the share of so many parts that are right: 1 for rewards of 0 and 1."""

    @property
    def score(self) -> float:
        """The mean solve rate of all tasks of this kind."""
        return self.always + (1 - self.never - self.always) * self.a / (self.a + self.b)

    def rates(self, generator: np.random.Generator, shape: int | tuple[int, ...]) -> Floats:
        rates, which = generator.beta(self.a, self.b, shape), generator.random(shape)
        return np.where(which < self.never, 0.0, np.where(which > 1 - self.always, 1.0, rates))

    def rewards(self, generator: np.random.Generator, rates_T: Floats, repeats: int) -> Floats:
        """[..., repeats] from [...]."""
        if self.parts == 1:
            return (generator.random((*rates_T.shape, repeats)) < rates_T[..., None]).astype(np.float64)
        return generator.binomial(self.parts, rates_T[..., None], (*rates_T.shape, repeats)) / self.parts


EVEN = Kind("rates spread evenly")
ENDS = Kind("60 % never or always solved", never=0.25, always=0.35)
TENTH = Kind("W = .10", a=1 / 3, b=1 / 3)
HARD = Kind("hard (10 %)", a=0.5, b=2.0, never=0.5)
NEAR_ONE = Kind("near 1 (97 %)", a=30.0, b=1.0)
NEAR_ZERO = Kind("near 0 (2.4 %)", a=0.2, b=8.0)
PARTS = Kind("partial rewards", parts=5)


def generator_of(name: str) -> np.random.Generator:
    """Returns a generator of its own for each simulation, so that one more changes no other."""
    return np.random.default_rng(crc32(name.encode()))


def runs(
    generator: np.random.Generator, kind: Kind, tasks: int, repeats: int, trials: int
) -> Iterator[tuple[Floats, Floats]]:
    """As often as there are trials: a set of tasks' rates [T] and the rewards of one run [T, K]."""
    for _ in range(trials):
        rates_T = kind.rates(generator, tasks)
        yield rates_T, kind.rewards(generator, rates_T, repeats)


def by_t(a_TK: Floats, b_TK: Floats) -> Spread:
    """Returns b - a over tasks by t alone, also where few tasks differ."""
    return replace(difference(sample(a_TK), sample(b_TK)).over_tasks, rare=None)


def within(rates: Floats) -> Floats:
    """W of a set of tasks with rewards of 0 and 1, over the last axis."""
    return (rates * (1 - rates)).mean(axis=-1)


def move(rates_T: Floats, by: ArrayLike) -> Floats:
    """The rates with their mean moved by so much, each in proportion to its variance, so that none leaves 0 to 1.

    `by` broadcasts against rates [T], such as [K, 1] for a shift of each run. At most W either way.
    """
    varies_T = rates_T * (1 - rates_T)
    middle = varies_T.mean()
    return np.clip(rates_T + np.asarray(by) * varies_T / middle, 0.0, 1.0) if middle else rates_T

"""Two results of one measurement: what changed beyond noise.

The rounds of a result are its noise. Times are ratios to the floor of the same round, so that what slows the whole
machine drops out. A ratio of every new round to every old one is formed; by the null distribution of Mann and Whitney's
U, the k-th smallest and the k-th largest of these bound the change at 95 % (Hodges and Lehmann 1963), however the noise
is distributed. A change is named where the interval is clear of ±5 %.
"""

import functools
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from msgspec import Struct

from bench.results import Result, Round, cpu, newest, peak_mib, slowness

BAND = 0.05
"""Changes up to this are of no interest."""
LEVEL = 0.95
FIGURES: dict[str, Callable[[Round], float]] = {
    "time / floor": slowness,
    "CPU / floor": cpu,
    "peak memory": peak_mib,
}
"""Of all of them less is better."""


class Change(Struct, frozen=True):
    """One figure, now against before, as factors: 1.15 is 15 % more."""

    name: str
    figure: str
    factor: float
    interval: tuple[float, float] | None
    """None where there are too few rounds to tell anything: four and four are needed."""

    @property
    def verdict(self) -> Literal["regression", "improvement", "no change seen", "too few rounds"]:
        if self.interval is None:
            return "too few rounds"
        low, high = self.interval
        return "regression" if low > 1 + BAND else "improvement" if high < 1 / (1 + BAND) else "no change seen"


def changes(results: Sequence[Result], against: str | None = None) -> Iterator[Change]:
    """The newest result of each measurement against the one before it, or against the last of the commit `against`."""
    for name, now in newest(list(results)).items():
        earlier = [one for one in results if one.name == name and one is not now and one.count == now.count]
        if against is not None:
            earlier = [one for one in earlier if one.commit.startswith(against)]
        if earlier:
            yield from changes_between(earlier[-1], now)


def changes_between(before: Result, now: Result) -> Iterator[Change]:
    for figure, value in FIGURES.items():
        yield Change(now.name, figure, *ratio(before.each(value), now.each(value)))


def ratio(before: Sequence[float], now: Sequence[float]) -> tuple[float, tuple[float, float] | None]:
    """Returns the factor from `before` to `now`, with its interval; see the module's docstring."""
    factors = sorted(new / old for new in now for old in before)
    outside = _outside(len(before), len(now))
    return statistics.median(factors), (factors[outside - 1], factors[-outside]) if outside else None


def _outside(m: int, n: int) -> int:
    """Returns the largest k with P(U < k) at most half of 1 - LEVEL, for samples of m and n; 0 where there is none."""
    ways = [_ways(m, n, u) for u in range(m * n + 1)]
    most, below, k = sum(ways) * (1 - LEVEL) / 2, 0, 0
    while below + ways[k] <= most:
        below += ways[k]
        k += 1
    return k


@functools.cache
def _ways(m: int, n: int, u: int) -> int:
    """In how many orders of m and n values just u pairs stand the wrong way round (Mann and Whitney 1947)."""
    if u < 0:
        return 0
    if m == 0 or n == 0:
        return int(u == 0)
    return _ways(m - 1, n, u - n) + _ways(m, n - 1, u)

"""A line of a table: what was simulated, what is claimed of it, what came out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Claim = tuple[float, float]
"""The lowest and the highest value that a statistic is said to have."""

UNCLAIMED: Claim = (-math.inf, math.inf)


def at_most(high: float) -> Claim:
    return -math.inf, high


def at_least(low: float) -> Claim:
    return low, math.inf


@dataclass(frozen=True)
class Row:
    """One measured property."""

    what: str
    claim: Claim
    measured: float
    error: float
    """The Monte-Carlo standard error; 0 where it was computed."""
    trials: int
    """0 where it was computed."""
    unit: str = "%"
    """`%` of a share, `points` of a share's hundredths, or nothing."""
    note: str = ""
    """What stands behind the measured figure."""

    @property
    def holds(self) -> bool | None:
        """Whether the measurement is compatible with the claim: not beyond it by more than three of its errors."""
        if self.claim == UNCLAIMED:
            return None
        low, high = self.claim
        return low - 3 * self.error <= self.measured <= high + 3 * self.error

    def cells(self) -> tuple[str, str, str, str, str]:
        """Returns the line as text: what, claim, measured, trials, holds."""
        return (
            self.what,
            self._claim_in_words(),
            f"{self._measurement()} ({self.note})" if self.note else self._measurement(),
            f"{self.trials:,}" if self.trials else "computed",
            {True: "yes", False: "**no**", None: ""}[self.holds],
        )

    def _claim_in_words(self) -> str:
        low, high = (f"{self._scale(end):.4g}" for end in self.claim)
        unit = f" {self.unit}" if self.unit else ""
        if self.claim == UNCLAIMED:
            return ""
        if math.isinf(self.claim[0]):
            return f"at most {high}{unit}"
        if math.isinf(self.claim[1]):
            return f"at least {low}{unit}"
        return f"{low}{unit}" if low == high else f"{low} to {high}{unit}"

    def _measurement(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        value, error = self._scale(self.measured), self._scale(self.error)
        if not error and not self.unit:
            return f"{value:,.3g}" if value % 1 else f"{value:,.0f}"
        if not error:
            return f"{value:.3g}{unit}"
        digits = max(0, -math.floor(math.log10(error)))
        return f"{value:.{digits}f} ± {error:.{digits}f}{unit}"

    def _scale(self, value: float) -> float:
        return 100 * value if self.unit in {"%", "points"} else value


def share(what: str, hits: Sequence[bool] | NDArray[np.bool_], claim: Claim = UNCLAIMED, note: str = "") -> Row:
    """Returns how often it happened. The error is Agresti and Coull's, which is not 0 where it never did."""
    count, trials = int(np.sum(hits)), len(hits)
    likely = (count + 2) / (trials + 4)
    return Row(what, claim, count / trials, math.sqrt(likely * (1 - likely) / trials), trials, note=note)


def mean(what: str, values: ArrayLike, claim: Claim = UNCLAIMED, unit: str = "points") -> Row:
    """Returns the average of a figure."""
    array = np.asarray(values, dtype=np.float64)
    return Row(what, claim, float(array.mean()), float(array.std(ddof=1)) / math.sqrt(array.size), array.size, unit)


def spread(what: str, values: ArrayLike, claim: Claim = UNCLAIMED, unit: str = "points") -> Row:
    """Returns the standard deviation of a figure."""
    array = np.asarray(values, dtype=np.float64)
    sd = float(array.std(ddof=1))
    return Row(what, claim, sd, sd / math.sqrt(2 * array.size), array.size, unit)


def ratio(what: str, above: ArrayLike, below: ArrayLike, claim: Claim = UNCLAIMED, unit: str = "") -> Row:
    """Returns the ratio of two figures' averages over the same trials, with the delta method's error."""
    a, b = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    value = float(a.mean() / b.mean())
    error = float((a - value * b).std(ddof=1) / abs(b.mean())) / math.sqrt(a.size)
    return Row(what, claim, value, error, a.size, unit)


def figure(what: str, value: float, claim: Claim = UNCLAIMED, unit: str = "") -> Row:
    """Returns a figure without chance in it."""
    return Row(what, claim, value, 0.0, 0, unit)

"""Whether two runs of the same tasks score the same up to a margin, and the correction for several tests."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from assay.stats.distributions import normal_quantile
from assay.stats.sample import Sample, common

EquivalenceResult = Literal["equivalent", "different", "inconclusive"]
ROOM = 0.67
"""(margin / SE) - z from which a look could say equivalent: below it, equal scores would rarely show it."""
FIRST_LOOK = normal_quantile(0.975) + normal_quantile(0.95)
"""margin / SE at which a first look shows equivalence with 95 % a side: 3.605. Its alpha is .05 / 2."""


@dataclass(frozen=True)
class Equivalence:
    """Whether two runs give the same score up to a margin, by two one-sided tests at 5 % over all looks."""

    verdict: EquivalenceResult
    difference: float
    """D = A - B over the tasks that both have scored."""
    se: float
    """Over re-runs on the same tasks."""
    margin: float
    k_to_decide: int
    """Repeats a side at the next look: those at which it shows equivalence in 90 % if there is no difference, at least
    twice as many as there are after a look that could have shown it."""
    tasks: int
    bounded: tuple[bool, bool] = (False, False)
    """Whether the noise of A, of B is an upper bound, for want of repeats: then `se` and `k_to_decide` are too."""


@dataclass(frozen=True)
class Noise:
    """How far one run's score moves when it is run again."""

    variance: float
    """Of the score."""
    within: float
    """W, the variance within a task that it rests on, tasks counting as they do in `variance`."""
    bounded: bool
    """Whether W is an upper bound, for want of repeats."""


def equivalence(a: Sample, b: Sample, margin: float, earlier: Sequence[float] = ()) -> Equivalence:
    """Returns whether A and B, two ways to run the same model on the same tasks, score the same up to `margin`.

    Equivalent where |D| + z_j SE <= margin (TOST, Schuirmann 1987), different where |D| - z_l SE > margin, else
    inconclusive; SE is over re-runs, for the tasks are the same on both sides. `earlier` are the SEs of earlier looks
    at fewer repeats. Look l of all is made at .05 / (l (l + 1)), and so is look j of those that could have said
    equivalent, margin / SE - z_j > .67, which depends on SE alone: both errors are at most 5 % over all looks.
    The first look is best at k = (W_A + W_B) / T (3.605 / margin)^2, each later one at twice as many. A side without
    repeats is given a bound of its W (`rerun_noise`), so that both errors stay below 5 % and only the power is less.

    Raises ValueError as `common` does, or where the margin is not positive.
    """
    if not margin > 0:
        raise ValueError(f"margin is {margin}; expected more than 0, on the scale of the rewards")
    a, b, _ = common(a, b)
    tasks = len(a.values_T)
    difference, noise_a, noise_b = a.score - b.score, rerun_noise(a), rerun_noise(b)
    se = math.sqrt(noise_a.variance + noise_b.variance)
    within, bounded = noise_a.within + noise_b.within, (noise_a.bounded, noise_b.bounded)
    z_able, able, looks = _boundary([*earlier, se], margin)
    verdict: EquivalenceResult = "inconclusive"
    if able and abs(difference) + z_able * se <= margin:
        verdict = "equivalent"
    elif abs(difference) - _z_of_look(looks) * se > margin:
        verdict = "different"
    k = repeats_to_decide(within, tasks, margin)
    if able:
        k = max(k, math.ceil(2 * within / tasks / se**2 - 1e-9))
    return Equivalence(verdict, difference, se, margin, k, tasks, bounded)


def _z_of_look(look: int) -> float:
    return normal_quantile(1 - 0.05 / (look * (look + 1)))


def _boundary(ses: Sequence[float], margin: float) -> tuple[float, bool, int]:
    """Returns z_j of the last look's equivalence side, whether that look could say equivalent, and the looks made."""
    count = 0
    z, able = _z_of_look(1), False
    for se in ses:
        z = _z_of_look(count + 1)
        able = margin / se - z > ROOM if se else True
        count += able
    return z, able, len(ses)


def rerun_noise(sample: Sample) -> Noise:
    """Returns the noise of a score whose tasks all have a value: sum_i w_i^2 v_i / k_i.

    Where fewer than half of the tasks have two scores, v is bounded (`Sample.single`): the tasks' own differences are
    in it too, so it is high by them. W is never taken below ln(10) / sum(k_i) in units of the range, as in
    `repeats_needed`: scores that all agree, once or again, prove no more.
    """
    # No variable in a range of 1 has a variance above 1/4.
    least = sample.span**2 * min(0.25, math.log(10) / int(sample.counts_T.sum()))
    variance = sample.variance_run(least)
    weights_T = sample.weights_T
    per_within = float((weights_T**2 / sample.counts_T).sum())
    return Noise(variance, variance / per_within, bounded=sample.bounded)


def equivalence_verdict(difference: float, se: float, margin: float) -> EquivalenceResult:
    """TOST's answer at 5 % on each side, for any difference with a known SE."""
    reach = normal_quantile(0.95) * se
    if abs(difference) + reach <= margin:
        return "equivalent"
    return "different" if abs(difference) - reach > margin else "inconclusive"


def repeats_to_decide(within_sum: float, tasks: int, margin: float) -> int:
    """The repeats a side at which SE = margin / 3.605, for a first look; `within_sum` is W_A + W_B. At least 1."""
    return max(1, math.ceil(within_sum / tasks * (FIRST_LOOK / margin) ** 2 - 1e-9))


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Holm's (1979) adjusted p-values, under the same names in the same order: reject where one is <= alpha, and the
    chance of any false rejection stays <= alpha, however the tests depend on each other.

    Raises ValueError for a p-value outside [0, 1].
    """
    for name, value in p.items():
        if not 0 <= value <= 1:
            raise ValueError(f"the p-value of {name} is {value}; expected a value in [0, 1]")
    adjusted: dict[str, float] = {}
    highest = 0.0
    for rank, name in enumerate(sorted(p, key=lambda name: p[name])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[name]))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p}

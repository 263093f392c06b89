"""Cohen's kappa against published and closed forms, its interval against simulated coverage."""

import math

import numpy as np
import pytest

from assay.stats.agreement import cohens_kappa


@pytest.mark.parametrize(
    ("counts_CC", "kappa"),
    [
        # Two readers of 50 grant proposals, a common textbook example: p_o = .7, p_e = .5.
        ([[20, 5], [10, 15]], 0.4),
        # Cohen (1960), his example of 200 patients: p_o = .70, p_e = .41.
        ([[88, 14, 18], [10, 40, 10], [2, 6, 12]], (0.70 - 0.41) / (1 - 0.41)),
        ([[5, 0], [0, 5]], 1.0),
        ([[0, 5], [5, 0]], -1.0),
        ([[25, 25], [25, 25]], 0.0),
        # One reader always says the same: agreement is what chance gives.
        ([[7, 3], [0, 0]], 0.0),
    ],
)
def test_kappa_is_the_closed_form(counts_CC: list[list[int]], kappa: float):
    found = cohens_kappa(counts_CC)
    assert found.kappa == pytest.approx(kappa, abs=1e-12)
    assert found.interval is not None
    assert -1 <= found.interval[0] <= kappa + 1e-12 and kappa - 1e-12 <= found.interval[1] <= 1


def test_the_standard_error_is_that_of_1969():
    """With two classes and even margins it is sqrt(p_o (1 - p_o) / n) / (1 - p_e): all n are effective."""
    found = cohens_kappa([[4000, 1000], [1000, 4000]])
    se = math.sqrt(0.8 * 0.2 / 10_000) / 0.5
    assert found.interval == pytest.approx((0.6 - 1.96 * se, 0.6 + 1.96 * se), abs=1e-3)


def test_a_single_shared_class_tells_nothing():
    found = cohens_kappa([[9, 0], [0, 0]])
    assert (found.kappa, found.interval, found.p_observed, found.p_chance, found.count) == (None, None, 1.0, 1.0, 9)


def test_always_agreeing_on_few_is_not_certain():
    few, many = cohens_kappa([[5, 0], [0, 5]]), cohens_kappa([[500, 0], [0, 500]])
    assert few.interval is not None and many.interval is not None
    assert few.interval[0] < 0.6 and many.interval[0] > 0.98


@pytest.mark.parametrize("shares", [[0.2] * 5, [0.6, 0.2, 0.1, 0.05, 0.05], [0.85, 0.1, 0.05], [0.5, 0.5]])
@pytest.mark.parametrize("kappa", [0.0, 0.4, 0.6, 0.8, 0.95])
@pytest.mark.parametrize("n", [20, 100])
def test_the_interval_covers(shares: list[float], kappa: float, n: int):
    """The second reader copies the first with probability kappa, and else draws from the same shares."""
    rng = np.random.default_rng(1)
    joint_CC = kappa * np.diag(shares) + (1 - kappa) * np.outer(shares, shares)
    tables = rng.multinomial(n, joint_CC.ravel(), size=400).reshape(-1, len(shares), len(shares))
    found = [agreement.interval for agreement in map(cohens_kappa, tables) if agreement.interval]
    covered = sum(lower - 1e-9 <= kappa <= upper + 1e-9 for lower, upper in found) / len(found)
    assert len(found) > 380
    assert covered > 0.92 - 3 * math.sqrt(0.92 * 0.08 / len(found))


@pytest.mark.parametrize(
    "broken", [[[1, 2]], [1, 2], [], [[0, 0], [0, 0]], [[1, -1], [0, 1]], [[0.5, 0], [0, 1]], [[math.nan, 0], [0, 1]]]
)
def test_what_is_no_table_of_counts_is_refused(broken: list[list[float]]):
    with pytest.raises(ValueError, match="expected"):
        cohens_kappa(broken)

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.stats.published import fewest_repeats, pool, pool_margin, pool_weights, producible, reproduction
from assay.stats.sample import sample as scored

NAN = math.nan


@pytest.mark.parametrize(
    ("published", "tasks", "expected"),
    [(0.933, 30, 1), (0.95, 30, 2), (0.946, 30, 8), (0.5, 30, 1), (1.0, 30, 1), (0.0, 7, 1)],
)
def test_fewest_repeats_is_the_first_that_fits(published, tasks, expected):
    def fits(k):
        return any(abs(m / (tasks * k) - published) <= 0.0005 + 1e-9 for m in range(tasks * k + 1))

    assert next(k for k in range(1, 99) if fits(k)) == fewest_repeats(published, 0.001, tasks) == expected


@given(st.integers(1, 200), st.integers(1, 16), st.floats(0, 1))
def test_a_score_that_was_measured_can_be_printed(tasks, repeats, share):
    score = round(round(share * tasks * repeats) / (tasks * repeats), 3)
    assert producible(score, 0.001, tasks, repeats)
    assert fewest_repeats(score, 0.001, tasks) <= repeats


def test_a_number_that_no_such_run_prints():
    assert not producible(0.946, 0.001, 30, 1)
    got = reproduction(scored(np.eye(30)[:, :4]), 0.946, 0.02, unit=0.001, repeats=1)
    assert not got.producible


def test_closed_form():
    rewards = np.random.default_rng(0).integers(0, 2, (30, 4)).astype(float)
    v = rewards.var(axis=1, ddof=1)
    got = reproduction(scored(rewards), 0.5, 0.1, unit=0.001, repeats=8)
    own = v.mean() / 120 + 0.001**2 / 12
    assert got.se_if_exact == pytest.approx(math.sqrt(own))
    assert got.se == pytest.approx(math.sqrt(own + v.mean() / 240))
    assert got.difference == pytest.approx(rewards.mean() - 0.5)
    assert (got.tasks, got.published_repeats, got.producible) == (30, 8, True)


def test_one_repeat_has_its_variance_within_tasks_bounded():
    rewards = (np.arange(400) < 200).astype(float)[:, None]
    got = reproduction(scored(rewards), 0.5, 0.1, unit=0.01, repeats=1)
    bound = 0.25 * 400 / 399
    assert (got.verdict, got.bounded) == ("equivalent", True)
    assert got.se == pytest.approx(math.sqrt(2 * bound / 400 + 0.01**2 / 12))
    few = reproduction(scored([[1.0], [0.0], [NAN]]), 0.5, 0.1, unit=0.1)
    assert (few.verdict, few.verdict_if_exact, few.tasks) == ("inconclusive", "inconclusive", 2)
    wide = reproduction(scored([[3.0], [0.0]]), 0.5, 0.1, unit=0.1)
    assert (wide.verdict, wide.bounded) == ("inconclusive", True)


def test_refusals():
    rewards = np.ones((3, 2))
    for call in (
        lambda: reproduction(scored(rewards), 1.5, 0.1, unit=0.001),
        lambda: reproduction(scored(rewards), 0.5, 0.1, unit=0),
        lambda: reproduction(scored(rewards), 0.5, 0, unit=0.001),
        lambda: reproduction(scored(rewards * NAN), 0.5, 0.1, unit=0.001),
    ):
        with pytest.raises(ValueError, match="expected"):
            call()


def test_errors_at_the_margin_are_five_percent():
    generator = np.random.default_rng(1)
    pilots, tasks, k, k0, margin = 1500, 60, 8, 4, 0.05
    rates = generator.uniform(margin, 1, (pilots, tasks, 1))
    ours = (generator.random((pilots, tasks, k)) < rates).astype(float)
    theirs = (generator.random((pilots, tasks, k0)) < rates - margin).mean(axis=(1, 2)).round(3)
    got = [
        reproduction(scored(x), float(p0), margin, unit=0.001, repeats=k0).verdict
        for x, p0 in zip(ours, theirs, strict=True)
    ]
    assert got.count("different") / pilots == pytest.approx(0.05, abs=0.02)
    assert got.count("equivalent") / pilots <= 0.07


def test_no_model_weighs_more_than_two_of_them():
    assert pool_weights([0.1, 0.1, 0.1, 0.1]) == pytest.approx([0.25] * 4)
    assert pool_weights([0.01, 0.1, 0.1, 0.1]) == pytest.approx([0.5, 1 / 6, 1 / 6, 1 / 6])
    assert pool_weights([0.01, 0.01, 0.1, 0.2]).max() == pytest.approx(0.5 * 1 / 1, abs=0.01)
    assert pool_weights([0.3]) == pytest.approx([1.0])
    assert pool_weights([0.001, 0.001, 0.01, 0.02, 0.03]).sum() == pytest.approx(1.0)


def test_a_margin_is_rounded_up_to_half_a_point_and_at_least_two():
    assert pool_margin([0.001]) == 0.02
    assert pool_margin([0.01]) == pytest.approx(0.03)
    assert pool_margin([0.02]) == pytest.approx(0.06)
    assert pool_margin([0.02] * 4) == pytest.approx(0.03)


def test_a_pool_passes_equal_scores_and_rarely_others():
    rng = np.random.default_rng(0)
    ses = np.array([0.03, 0.02, 0.025, 0.02, 0.03, 0.035])
    margin = pool_margin(ses)

    def share(true: float, verdict: str) -> float:
        return float(
            np.mean([pool(true + ses * rng.normal(size=6), ses, margin).verdict == verdict for _ in range(800)])
        )

    assert share(0.0, "equivalent") > 0.955
    assert share(margin, "equivalent") == pytest.approx(0.2, abs=0.05)
    assert share(margin, "different") < 0.075
    assert share(2 * margin, "different") > 0.8


def test_one_model_that_is_far_away_keeps_a_pool_from_passing():
    ses = [0.01] * 6
    assert pool([0.0] * 6, ses, 0.02).verdict == "equivalent"
    one = pool([0.06, -0.01, -0.01, -0.01, -0.01, -0.01], ses, 0.02)
    assert one.alone == 0
    assert one.verdict == "different"

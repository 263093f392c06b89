import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from assay.stats.estimates import above_chance, estimate, wilson

NAN = math.nan


def draw(generator, beta, pilots, tasks, repeats):
    """Success rates [pilots, tasks] from Beta(a, b), and outcomes of 0 and 1 [pilots, tasks, repeats]."""
    rates = generator.beta(*beta, (pilots, tasks))
    return rates, (generator.random((pilots, tasks, repeats)) < rates[..., None]).astype(float)


def test_closed_form_on_a_full_array():
    rewards = np.array([[1, 0, 1], [0, 0, 1], [1, 1, 1], [0, 0, 0]], dtype=float)
    means, variances = rewards.mean(axis=1), rewards.var(axis=1, ddof=1)
    got = estimate(rewards)
    assert got.score == pytest.approx(0.5)
    assert got.within == pytest.approx(variances.mean())
    assert got.se_run == pytest.approx(math.sqrt(variances.mean() / (4 * 3)))
    assert got.se_task == pytest.approx(stats.sem(means))
    assert got.se_data == pytest.approx(math.sqrt((means.var(ddof=1) - variances.mean() / 3) / 4))
    assert got.interval_run == pytest.approx(stats.norm.interval(0.95, 0.5, got.se_run))
    # Four tasks say so little that the t interval runs over both ends of the scale, where it is cut.
    assert stats.t.interval(0.95, 3, 0.5, got.se_task)[0] < 0
    assert got.interval_task == (0.0, 1.0)
    wide = estimate(10 * rewards)
    assert wide.interval_task == pytest.approx(stats.t.interval(0.95, 3, 5, 10 * got.se_task))
    assert (got.tasks, got.units, got.repeats, got.missing, got.tasks_unscored) == (4, 4, 3, 0, 0)
    assert got.effective_tasks is None


def test_gaps_are_left_out_and_counted():
    rewards = [[1, 0, NAN], [0, NAN, NAN], [NAN, NAN, NAN], [1, 1, 0]]
    got = estimate(rewards)
    within = (1 / 2 + 1 / 3) / 2
    assert got.score == pytest.approx((1 / 2 + 0 + 2 / 3) / 3)
    assert got.within == pytest.approx(within)
    # The task with one score is given W.
    assert got.se_run == pytest.approx(math.sqrt(1 / 2 / 2 + within / 1 + 1 / 3 / 3) / 3)
    assert (got.tasks, got.tasks_unscored, got.repeats, got.missing) == (3, 1, 3, 6)


def test_one_repeat_has_no_error_of_running_again():
    got = estimate([[1.0], [0.0], [1.0], [0.0]])
    assert got.se_run is got.se_data is got.interval_run is got.within is None
    assert got.se_task == pytest.approx(stats.sem([1, 0, 1, 0]))


def test_one_task_has_no_error_of_other_tasks():
    got = estimate([[1.0, 0.0, 1.0]])
    assert got.se_task is got.se_data is got.interval_task is got.p_at_most(0.3) is None
    assert got.se_run == pytest.approx(math.sqrt(1 / 3 / 3))


def test_clusters_of_one_change_nothing():
    rewards = np.random.default_rng(0).random((12, 3))
    assert estimate(rewards, clusters=[f"passage {i}" for i in range(12)]) == estimate(rewards)


def test_clusters_closed_form_and_degrees_of_freedom():
    rewards = np.random.default_rng(0).random((6, 2))
    means = rewards.mean(axis=1)
    away = means - means.mean()
    sums = [away[0] + away[3], away[1] + away[4] + away[5], away[2]]
    got = estimate(rewards, clusters=["a", "b", "c", "a", "b", "b"])
    assert got.se_task == pytest.approx(math.sqrt(3 / 2 * sum(s * s for s in sums)) / 6)
    assert got.interval_task == pytest.approx(stats.t.interval(0.95, 2, means.mean(), got.se_task))
    assert got.units == 3


def test_copied_tasks_fool_the_plain_error_and_not_the_clustered_one():
    once = np.random.default_rng(0).random((20, 2))
    copied = np.repeat(once, 5, axis=0)
    assert estimate(copied).se_task < estimate(once).se_task / 2
    assert estimate(copied, clusters=[i // 5 for i in range(100)]).se_task == pytest.approx(estimate(once).se_task)


def test_unscored_tasks_leave_their_clusters():
    rewards = np.array([[1, 0], [0, 0], [NAN, NAN], [1, 1.0]])
    assert estimate(rewards, clusters=["a", "b", "c", "a"]).units == 2


@pytest.mark.parametrize(("reward", "expected"), [(0.0, (0.0, 0.1135)), (1.0, (0.8865, 1.0))])
def test_all_alike_is_not_certain(reward, expected):
    got = estimate(np.full((30, 4), reward))
    assert got.interval_task == got.interval_run == pytest.approx(expected, abs=1e-4)
    assert got.effective_tasks == 30


def test_near_one_the_interval_is_wilsons():
    rewards = np.ones((40, 4))
    rewards[0] = [1, 0, 0, 1]
    got = estimate(rewards)
    effective = got.score * (1 - got.score) / got.se_task**2
    assert got.effective_tasks == pytest.approx(effective)
    assert got.interval_task == pytest.approx(wilson(got.score, effective))
    assert got.interval_run == pytest.approx(wilson(got.score, got.score * (1 - got.score) / got.se_run**2))
    assert got.interval_task[1] < 1


def test_repeats_that_agree_have_wilsons_interval_in_the_middle_too():
    got = estimate(np.repeat([[0.0], [1.0]] * 10, 3, axis=1))
    assert got.se_run == 0
    assert got.interval_run == pytest.approx(wilson(0.5, 20))


def test_rewards_beyond_the_unit_interval_stay_with_t():
    rewards = np.array([[-1.0, 1.0], [0.0, 0.0], [0.5, 1.5]])
    got = estimate(rewards)
    assert got.effective_tasks is None
    assert got.interval_task == pytest.approx(stats.t.interval(0.95, 2, got.score, got.se_task))


@pytest.mark.parametrize(
    "rewards", [np.full((3, 2), NAN), np.ones(3), np.ones((0, 2)), np.ones((2, 0)), [[math.inf, 1.0]]]
)
def test_what_cannot_be_estimated_is_refused(rewards):
    with pytest.raises(ValueError, match="expected"):
        estimate(rewards)


def test_labels_must_fit():
    with pytest.raises(ValueError, match="2 cluster labels for 3 tasks"):
        estimate(np.ones((3, 2)), clusters=["a", "b"])


@given(right=st.integers(0, 60), wrong=st.integers(0, 60), confidence=st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_wilson_is_scipys(right, wrong, confidence):
    n = right + wrong
    if n:
        expected = stats.binomtest(right, n).proportion_ci(confidence, method="wilson")
        assert wilson(right / n, n, confidence) == pytest.approx(tuple(expected), abs=1e-12)


@pytest.mark.parametrize(("p", "n", "confidence"), [(-0.1, 5, 0.95), (1.1, 5, 0.95), (0.5, 0, 0.95), (0.5, 5, 1.0)])
def test_wilson_refuses(p, n, confidence):
    with pytest.raises(ValueError, match="expected"):
        wilson(p, n, confidence)


rewards_strategy = st.integers(1, 4).flatmap(
    lambda repeats: st.lists(
        st.lists(st.sampled_from([0.0, 0.25, 1.0, NAN]), min_size=repeats, max_size=repeats), min_size=1, max_size=8
    )
)


@given(rewards=rewards_strategy, seed=st.integers(0, 99))
def test_properties(rewards, seed):
    array = np.array(rewards)
    if np.isnan(array).all():
        return
    got = estimate(array)
    assert 0 <= got.score <= 1
    for interval in (got.interval_run, got.interval_task):
        assert interval is None or interval[0] <= got.score + 1e-12
        assert interval is None or interval[1] >= got.score - 1e-12
    assert got.tasks + got.tasks_unscored == len(rewards)
    # Neither the order of tasks nor that of repeats matters.
    generator = np.random.default_rng(seed)
    shuffled = estimate(generator.permuted(array[generator.permutation(len(array))], axis=1))
    for name in ("score", "se_run", "se_task", "within"):
        assert getattr(shuffled, name) == pytest.approx(getattr(got, name), abs=1e-9)


@pytest.mark.parametrize(
    ("a", "b", "tasks", "repeats"), [(1, 1, 30, 4), (2, 1, 60, 2), (0.5, 0.5, 100, 4), (0.2, 8, 200, 2), (30, 1, 60, 8)]
)
def test_both_intervals_cover(a, b, tasks, repeats):
    pilots = 1200
    rates, rewards = draw(np.random.default_rng(1), (a, b), pilots, tasks, repeats)
    got = [estimate(x) for x in rewards]
    over_tasks = np.mean([e.interval_task[0] <= a / (a + b) <= e.interval_task[1] for e in got])
    truths = rates.mean(axis=1)
    over_runs = np.mean([e.interval_run[0] <= p <= e.interval_run[1] for e, p in zip(got, truths, strict=True)])
    # Four Monte-Carlo errors at 95 %, and Wilson's intervals may cover more.
    assert 0.925 <= over_tasks <= 0.985
    assert 0.925 <= over_runs <= 0.985


def test_the_interval_over_tasks_covers_with_clusters():
    generator = np.random.default_rng(2)
    pilots, clusters, size = 1000, 25, 4
    rates = np.repeat(generator.beta(2, 2, (pilots, clusters)), size, axis=1)
    rewards = (generator.random((pilots, clusters * size, 2)) < rates[..., None]).astype(float)
    labels = [i // size for i in range(clusters * size)]

    def coverage(of):
        return np.mean([low <= 0.5 <= high for low, high in (of(x).interval_task for x in rewards)])

    assert 0.92 <= coverage(lambda x: estimate(x, clusters=labels)) <= 0.975
    assert coverage(estimate) < 0.88


def test_se_data_is_what_endless_repeats_leave():
    rates, rewards = draw(np.random.default_rng(3), (2, 2), 400, 50, 4)
    got = np.mean([estimate(x).se_data ** 2 for x in rewards])
    assert got == pytest.approx(2 * 2 / (4**2 * 5) / 50, rel=0.06)
    assert np.mean(rates.var(axis=1, ddof=1) / 50) == pytest.approx(got, rel=0.06)


def test_above_chance():
    assert above_chance(0.4, 0.25) == pytest.approx(0.2)
    assert above_chance(0.4, 0) == 0.4
    assert above_chance(0.1, 0.25) < 0
    for chance in (-0.1, 1.0):
        with pytest.raises(ValueError, match="chance"):
            above_chance(0.5, chance)


def test_p_at_most_agrees_with_t_and_with_both_intervals():
    means = np.random.default_rng(5).random(12)
    got = estimate(means[:, None])
    assert got.p_at_most(0.3) == pytest.approx(stats.ttest_1samp(means, 0.3, alternative="greater").pvalue)
    saturated = np.ones((40, 4))
    saturated[0, 0] = 0
    for e in (got, estimate(saturated), estimate(np.zeros((30, 2)))):
        lower = e.interval_task[0]
        assert e.p_at_most(lower) == pytest.approx(0.025, abs=1e-6) or lower == 0
    assert estimate(np.zeros((30, 2))).p_at_most(0.3) > 0.999


def test_p_at_most_errs_at_its_level():
    _, rewards = draw(np.random.default_rng(6), (0.9, 2.1), 1500, 40, 2)
    assert Counter(estimate(x).p_at_most(0.3) < 0.05 for x in rewards)[True] / 1500 == pytest.approx(0.05, abs=0.025)

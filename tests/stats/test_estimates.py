import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from assay.stats.atk import maj_at_k
from assay.stats.estimates import above_chance, estimate, wilson
from assay.stats.sample import Layout, sample_of_attempts, sample_of_majorities
from assay.stats.sample import sample as scored

NAN = math.nan


def draw(generator, beta, pilots, tasks, repeats):
    """Success rates [pilots, tasks] from Beta(a, b), and outcomes of 0 and 1 [pilots, tasks, repeats]."""
    rates = generator.beta(*beta, (pilots, tasks))
    return rates, (generator.random((pilots, tasks, repeats)) < rates[..., None]).astype(float)


def clustered(rewards, clusters):
    return scored(rewards, Layout.of(len(clusters), clusters=clusters))


def test_closed_form_on_a_full_array():
    rewards = np.array([[1, 0, 1], [0, 0, 1], [1, 1, 1], [0, 0, 0]], dtype=float)
    means, variances = rewards.mean(axis=1), rewards.var(axis=1, ddof=1)
    got = estimate(scored(rewards))
    assert got.score == pytest.approx(0.5)
    assert got.within == pytest.approx(variances.mean())
    assert got.se_run == pytest.approx(math.sqrt(variances.mean() / 12 + 1 / 12**2))
    assert got.se_task == pytest.approx(stats.sem(means))
    assert got.interval_run == pytest.approx(stats.norm.interval(0.95, 0.5, got.se_run))
    # As of six tasks, two of them at 0 and at 1; the tasks' own part is about their own mean, which is the same here.
    own, two = 4 / 3 * (((means - 0.5) / 6) ** 2).sum(), 6 / 5 * 2 * (0.5 / 6) ** 2
    assert got.middle == pytest.approx(0.5)
    assert got.spread == pytest.approx(math.sqrt(own + two))
    assert got.df == pytest.approx((own + two) ** 2 / (own**2 / 3 + two**2 / 5))
    assert got.interval_task == pytest.approx(stats.t.interval(0.95, got.df, 0.5, got.spread))
    assert got.bounds(0.8) == pytest.approx(stats.t.interval(0.8, got.df, 0.5, got.spread))
    assert (got.tasks, got.units, got.tasks_unscored, got.se_run_bounded) == (4, 4, 0, False)


@pytest.mark.parametrize("tasks", [1, 3, 6, 49, 98, 240])
def test_a_run_that_is_always_right_has_the_score_one_exactly(tasks):
    assert scored(np.ones((tasks, 2))).score == 1.0


def test_gaps_are_left_out_and_counted():
    rewards = [[1, 0, NAN], [0, NAN, NAN], [NAN, NAN, NAN], [1, 1, 0]]
    got = estimate(scored(rewards))
    within = (1 / 2 + 1 / 3) / 2
    assert got.score == pytest.approx((1 / 2 + 0 + 2 / 3) / 3)
    assert got.within == pytest.approx(within)
    # The task with one score is given W.
    few = (1 / 4 + 1 + 1 / 9) / 27
    assert got.se_run == pytest.approx(math.sqrt((1 / 2 / 2 + within / 1 + 1 / 3 / 3) / 9 + few))
    assert (got.tasks, got.tasks_unscored) == (3, 1)


def test_the_error_of_running_one_repeat_again_is_a_bound():
    got = estimate(scored([[1.0], [0.0], [1.0], [0.0]]))
    assert (got.within, got.se_run_bounded) == (None, True)
    assert got.se_run == pytest.approx(math.sqrt(1 / 3 / 4 + 1 / 16))
    assert got.se_task == pytest.approx(stats.sem([1, 0, 1, 0]))


def test_one_task_has_no_error_of_other_tasks():
    got = estimate(scored([[1.0, 0.0, 1.0]]))
    assert got.se_task is got.interval_task is None
    assert got.se_run == pytest.approx(math.sqrt(1 / 3 / 3 + 1 / 9))


def test_clusters_of_one_change_nothing():
    rewards = np.random.default_rng(0).random((12, 3))
    assert estimate(clustered(rewards, [f"passage {i}" for i in range(12)])) == estimate(scored(rewards))


def test_clusters_closed_form():
    rewards = np.random.default_rng(0).random((6, 2))
    means = rewards.mean(axis=1)
    away = means - means.mean()
    sums = [away[0] + away[3], away[1] + away[4] + away[5], away[2]]
    got = estimate(clustered(rewards, ["a", "b", "c", "a", "b", "b"]))
    assert got.se_task == pytest.approx(math.sqrt(3 / 2 * sum(s * s for s in sums)) / 6)
    assert got.units == 3
    # Two tasks more weigh what a cluster does: sum of (2/6)^2, (3/6)^2, (1/6)^2.
    u = 14 / 36
    assert got.middle == pytest.approx((means.mean() + u) / (1 + 2 * u))


def test_copied_tasks_fool_the_plain_error_and_not_the_clustered_one():
    once = np.random.default_rng(0).random((20, 2))
    copied = np.repeat(once, 5, axis=0)
    single, labels = estimate(scored(once)), [i // 5 for i in range(100)]
    assert estimate(scored(copied)).se_task < single.se_task / 2
    assert estimate(clustered(copied, labels)).se_task == pytest.approx(single.se_task)
    assert estimate(clustered(copied, labels)).interval_task == pytest.approx(single.interval_task)


def test_unscored_tasks_leave_their_clusters():
    rewards = np.array([[1, 0], [0, 0], [NAN, NAN], [1, 1.0]])
    assert estimate(clustered(rewards, ["a", "b", "c", "a"])).units == 2


def test_groups_closed_form():
    """Two subsets of one task each in the second group are one stratum: neither says alone how its tasks differ."""
    rewards = np.random.default_rng(4).random((7, 3))
    outer, inner = list("aaabbbb"), ["x", "x", "x", "y", "z", "w", "w"]
    got = estimate(scored(rewards, Layout.of(7, by=[outer, inner])))
    means, noise = rewards.mean(axis=1), rewards.var(axis=1, ddof=1) / 3
    weights = np.array([1 / 6, 1 / 6, 1 / 6, 1 / 6, 1 / 6, 1 / 12, 1 / 12])
    assert got.score == pytest.approx(weights @ means)
    assert got.se_run == pytest.approx(math.sqrt(weights**2 @ noise + ((weights / 3) ** 2).sum() / 7))

    def own(rows):
        share, middle = weights[rows], (weights[rows] @ means[rows]) / weights[rows].sum()
        return len(rows) / (len(rows) - 1) * ((share * (means[rows] - middle)) ** 2).sum()

    assert got.se_task == pytest.approx(math.sqrt(own([0, 1, 2]) + own([3, 4]) + own([5, 6])))
    assert not np.isclose(got.score, means.mean())


def test_a_group_of_one_task_is_joined_with_its_smallest_neighbour():
    layout = Layout.of(8, by=[list("aaaabbbc")])
    assert layout.weights_T == pytest.approx([1 / 12] * 4 + [1 / 9] * 3 + [1 / 3])
    assert layout.strata_T.tolist() == [0] * 4 + [1] * 4


def test_groups_that_are_a_sample_are_the_units():
    rewards = np.random.default_rng(5).random((9, 2))
    labels = list("aabbbbccc")
    got = estimate(scored(rewards, Layout.of(9, by=[labels], fixed=False)))
    means = [rewards[[label == one for label in labels]].mean() for one in "abc"]
    assert got.score == pytest.approx(np.mean(means))
    assert got.se_task == pytest.approx(stats.sem(means))
    assert got.units == 3


def test_clusters_across_groups_make_one_stratum():
    layout = Layout.of(4, by=[list("aabb")], clusters=["p", "q", "p", "r"])
    assert layout.strata_T.tolist() == [0, 0, 0, 0]


def test_sizes_weigh_within_their_group():
    layout = Layout.of(4, by=[list("aabb")], sizes=[1, 3, 1, 1])
    assert layout.weights_T == pytest.approx([1 / 8, 3 / 8, 1 / 4, 1 / 4])
    with pytest.raises(ValueError, match="above 0"):
        Layout.of(2, sizes=[1, 0])


def test_groups_of_one_size_have_the_plain_mean_and_another_error():
    rewards = np.random.default_rng(6).random((8, 2)) + np.repeat([0, 1], 4)[:, None]
    plain, grouped = (estimate(scored(rewards / 2, layout)) for layout in (None, Layout.of(8, by=[list("aaaabbbb")])))
    assert grouped.score == pytest.approx(plain.score)
    assert grouped.se_run == pytest.approx(plain.se_run)
    assert grouped.se_task < plain.se_task


@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_all_alike_is_not_certain(reward):
    got = estimate(scored(np.full((30, 4), reward)))
    low, high = got.interval_task
    assert high - low == pytest.approx(0.094, abs=0.001)
    assert got.interval_run[1] - got.interval_run[0] == pytest.approx(1.96 / 120, abs=1e-4)
    assert (low, high)[int(reward)] == reward


def test_rewards_beyond_the_unit_interval_have_their_own_range():
    rewards = np.array([[-1.0, 1.0], [0.0, 0.0], [0.5, 1.5]])
    wide = estimate(scored(rewards, low=-2, high=2))
    unit = estimate(scored((rewards + 2) / 4))
    for name in ("score", "middle"):
        assert getattr(wide, name) == pytest.approx(4 * getattr(unit, name) - 2)
    for name in ("se_run", "se_task", "spread"):
        assert getattr(wide, name) == pytest.approx(4 * getattr(unit, name))
    assert wide.interval_task == pytest.approx([4 * end - 2 for end in unit.interval_task])


def test_attempts_closed_form():
    rewards = np.array([[1, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1], [1, 0, 0, NAN], [1, NAN, NAN, NAN]])
    all_of, any_of = (sample_of_attempts(rewards, 2, all_of=flag) for flag in (True, False))
    assert all_of.values_T == pytest.approx([1 / 2, 0, 1, 0])
    assert any_of.values_T == pytest.approx([1, 0, 1, 2 / 3])
    assert all_of.scored_N.tolist() == [True] * 4 + [False]
    # The jackknife of the first task: 3/3 without its wrong attempt, 1/3 without a right one.
    left = np.array([1 / 3, 1 / 3, 1, 1 / 3])
    assert all_of.noise_T[0] == pytest.approx(3 / 4 * ((left - left.mean()) ** 2).sum())
    assert sample_of_attempts(rewards[:3], 4, all_of=True).bounded
    assert sample_of_attempts(rewards[:3], 1, all_of=True).values_T == pytest.approx([3 / 4, 0, 1])
    mean = scored(rewards[:3])
    assert sample_of_attempts(rewards[:3], 1, all_of=False).noise_T == pytest.approx(mean.noise_T)


def test_majorities_are_a_sample_like_any():
    answers = [["4", "4", "5", "4"], ["1", "2", "3", "2"], ["7", None]]
    rewards = [[1.0, 1.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0], [1.0, 0.0]]
    got = sample_of_majorities(answers, rewards, 3)
    assert got.score == pytest.approx(maj_at_k(answers[:2], rewards[:2], [3])[3])
    assert got.scored_N.tolist() == [True, True, False]


@pytest.mark.parametrize(("k", "all_of"), [(2, True), (2, False), (4, True)])
def test_errors_of_attempts_cover(k, all_of):
    generator = np.random.default_rng(8)
    tasks, n = 60, 8
    rates = generator.beta(1, 1, tasks)
    truth = (rates**k if all_of else 1 - (1 - rates) ** k).mean()
    draws = (generator.random((800, tasks, n)) < rates[:, None]).astype(float)
    got = [estimate(sample_of_attempts(one, k, all_of=all_of)).interval_run for one in draws]
    assert 0.92 <= np.mean([low <= truth <= high for low, high in got]) <= 0.99


@pytest.mark.parametrize(
    ("groups", "size", "high"), [(5, 6, 1.0), (27, 8, 1.0), (10, 3, 1.0), (27, 8, 0.97), (5, 40, 0.99)]
)
def test_intervals_of_grouped_scores_cover(groups, size, high):
    """With two tasks more in each group in place of two in all, the truth was never within at 27 groups near 1."""
    generator = np.random.default_rng(9)
    means = np.linspace(0.3, 0.95, groups) if high == 1.0 else np.full(groups, high)
    layout = Layout.of(groups * size, by=[np.repeat(np.arange(groups), size).tolist()])
    hits = []
    for _ in range(600):
        m = np.repeat(means, size)
        rates = generator.beta(m * 1.5, (1 - m) * 1.5) if high == 1.0 else generator.random(m.shape) < m
        rewards = generator.random((groups * size, 4)) < np.asarray(rates)[:, None]
        low, up = estimate(scored(rewards.astype(float), layout)).interval_task
        hits.append(low <= means.mean() <= up)
    assert np.mean(hits) >= 0.925


@pytest.mark.parametrize(
    "rewards", [np.full((3, 2), NAN), np.ones(3), np.ones((0, 2)), np.ones((2, 0)), [[math.inf, 1.0]]]
)
def test_what_cannot_be_estimated_is_refused(rewards):
    with pytest.raises(ValueError, match="expected"):
        estimate(scored(rewards))


def test_labels_must_fit():
    with pytest.raises(ValueError, match="2 labels for 3 tasks"):
        Layout.of(3, clusters=["a", "b"])
    with pytest.raises(ValueError, match="layout has 2 tasks and the rewards 3"):
        scored(np.ones((3, 2)), Layout.of(2))


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
    got = estimate(scored(array))
    assert 0 <= got.score <= 1
    for interval in (got.interval_run, got.interval_task):
        assert interval is None or interval[0] <= got.score + 1e-12
        assert interval is None or interval[1] >= got.score - 1e-12
    assert got.tasks + got.tasks_unscored == len(rewards)
    # Neither the order of tasks nor that of repeats matters.
    generator = np.random.default_rng(seed)
    shuffled = estimate(scored(generator.permuted(array[generator.permutation(len(array))], axis=1)))
    for name in ("score", "se_run", "se_task", "within"):
        assert getattr(shuffled, name) == pytest.approx(getattr(got, name), abs=1e-9)


@pytest.mark.parametrize(
    ("a", "b", "tasks", "repeats"), [(1, 1, 30, 4), (2, 1, 60, 2), (0.5, 0.5, 100, 4), (0.2, 8, 200, 2), (30, 1, 60, 8)]
)
def test_both_intervals_cover(a, b, tasks, repeats):
    pilots = 1200
    rates, rewards = draw(np.random.default_rng(1), (a, b), pilots, tasks, repeats)
    got = [estimate(scored(x)) for x in rewards]
    over_tasks = np.mean([e.interval_task[0] <= a / (a + b) <= e.interval_task[1] for e in got])
    truths = rates.mean(axis=1)
    over_runs = np.mean([e.interval_run[0] <= p <= e.interval_run[1] for e, p in zip(got, truths, strict=True)])
    # Four Monte-Carlo errors at 95 %; near 0 and 1, where the two tasks more count, intervals cover more.
    assert 0.925 <= over_tasks <= 1
    assert 0.925 <= over_runs <= 0.985


def test_the_interval_over_tasks_covers_with_clusters():
    generator = np.random.default_rng(2)
    pilots, clusters, size = 1000, 25, 4
    rates = np.repeat(generator.beta(2, 2, (pilots, clusters)), size, axis=1)
    rewards = (generator.random((pilots, clusters * size, 2)) < rates[..., None]).astype(float)
    labels = [i // size for i in range(clusters * size)]

    def coverage(of):
        return np.mean([low <= 0.5 <= high for low, high in (of(x).interval_task for x in rewards)])

    assert 0.92 <= coverage(lambda x: estimate(clustered(x, labels))) <= 0.975
    assert coverage(lambda x: estimate(scored(x))) < 0.88


def test_above_chance():
    assert above_chance(0.4, 0.25) == pytest.approx(0.2)
    assert above_chance(0.4, 0) == 0.4
    assert above_chance(0.1, 0.25) < 0
    for chance in (-0.1, 1.0):
        with pytest.raises(ValueError, match="chance"):
            above_chance(0.5, chance)


def test_p_at_most_agrees_with_the_interval():
    saturated = np.ones((40, 4))
    saturated[0, 0] = 0
    for rewards in (np.random.default_rng(5).random((12, 1)), saturated, np.zeros((30, 2))):
        got = estimate(scored(rewards))
        assert got.p_at_most(got.bounds(0.95)[0]) == pytest.approx(0.025)
    assert estimate(scored(np.zeros((30, 2)))).p_at_most(0.3) > 0.999


def test_p_at_most_errs_at_its_level():
    _, rewards = draw(np.random.default_rng(6), (0.9, 2.1), 1500, 40, 2)
    assert Counter(estimate(scored(x)).p_at_most(0.3) < 0.05 for x in rewards)[True] / 1500 == pytest.approx(
        0.05, abs=0.025
    )

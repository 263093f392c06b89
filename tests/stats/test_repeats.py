import math

import numpy as np
import pytest
from scipy import stats

from assay.stats.estimates import estimate
from assay.stats.repeats import change_point, repeats_needed, run_effect
from assay.stats.sample import Layout, sample

NAN = math.nan


def needed(rewards, target_points=1.0):
    return repeats_needed(sample(rewards), target_points)


def draw(generator, beta, pilots, tasks, repeats):
    rates = generator.beta(*beta, (pilots, tasks))
    return rates, (generator.random((pilots, tasks, repeats)) < rates[..., None]).astype(float)


def test_f_is_that_of_a_two_way_table():
    rewards = np.random.default_rng(0).random((7, 4))
    grand, tasks, runs = rewards.mean(), rewards.mean(axis=1, keepdims=True), rewards.mean(axis=0, keepdims=True)
    ms_run = 7 * ((runs - grand) ** 2).sum() / 3
    ms_resid = ((rewards - tasks - runs + grand) ** 2).sum() / (3 * 6)
    got = run_effect(rewards)
    assert got.f == pytest.approx(ms_run / ms_resid)
    assert (got.df_run, got.df_resid, got.tasks, got.repeats) == (3, 18, 7, 4)
    assert got.p_high == pytest.approx(stats.f.sf(got.f, 3, 18))
    assert got.se == pytest.approx(math.sqrt(ms_run / 28))


def test_with_two_repeats_f_is_the_paired_t_squared():
    rewards = np.random.default_rng(0).random((9, 2))
    paired = stats.ttest_rel(rewards[:, 0], rewards[:, 1])
    got = run_effect(rewards)
    assert got.f == pytest.approx(paired.statistic**2)
    assert got.p_high == pytest.approx(paired.pvalue)


def test_on_outcomes_of_0_and_1_f_is_cochrans_q():
    rewards = np.random.default_rng(1).integers(0, 2, (30, 5)).astype(float)
    column, row = rewards.sum(axis=0), rewards.sum(axis=1)
    q = 4 * (5 * (column**2).sum() - column.sum() ** 2) / (5 * column.sum() - (row**2).sum())
    # Q = SS_run / (SS_within / (T (k-1))), and the residual is what of SS_within is left.
    assert run_effect(rewards).f == pytest.approx(q * 29 / (30 * 4 - q))


def test_a_task_with_one_score_and_a_repeat_that_never_ran_are_left_out():
    rewards = np.random.default_rng(0).random((8, 3))
    torn = np.full((9, 4), NAN)
    torn[:8, :3] = rewards
    torn[8, 0] = 1.0
    assert run_effect(torn) == run_effect(rewards)


def test_the_f_of_an_unbalanced_table_is_that_of_least_squares():
    rng = np.random.default_rng(3)
    rewards = rng.random((12, 4))
    rewards[rng.random(rewards.shape) < 0.2] = NAN
    task, repeat = np.nonzero(~np.isnan(rewards))
    y = rewards[task, repeat]
    of_tasks = np.eye(12)[task]
    both = np.hstack([of_tasks, np.eye(4)[repeat]])

    def rest(design):
        return float(((y - design @ np.linalg.lstsq(design, y, rcond=None)[0]) ** 2).sum())

    df = len(y) - np.linalg.matrix_rank(both)
    got = run_effect(rewards)
    assert (got.df_run, got.df_resid) == (3, df)
    assert got.f == pytest.approx((rest(of_tasks) - rest(both)) / 3 / (rest(both) / df))


def test_no_rollout_is_dropped_because_another_is_missing():
    rng, seen, whole = np.random.default_rng(4), 0, 0
    for _ in range(200):
        rates = rng.random((60, 1)) + np.array([0, 0, 0, 0.2])
        rewards = (rng.random((60, 4)) < rates).astype(float)
        whole += run_effect(rewards).p_high < 0.05
        rewards[rng.random(rewards.shape) < 0.05] = NAN
        seen += run_effect(rewards).p_high < 0.05
    assert seen > 0.9 * whole > 100


def test_repeats_with_gaps_are_rarely_called_too_much_alike():
    rng, called = np.random.default_rng(5), 0
    for _ in range(100):
        rewards = (rng.random((30, 4)) < rng.random((30, 1))).astype(float)
        rewards[rng.random(rewards.shape) < 0.1] = NAN
        got = run_effect(rewards)
        called += got is not None and got.p_low < 0.05
    assert called <= 12


def test_a_change_point_is_where_scores_change():
    rng = np.random.default_rng(0)
    rates = np.full((200, 6), 0.5)
    rates[:, 4:] = 0.7
    rewards = (rng.random(rates.shape) < rates).astype(float)
    got = change_point(rewards, 0.005)
    assert got.before == 4
    assert got.change == pytest.approx(0.2, abs=0.06)
    assert got.p < 0.005
    assert change_point(rewards[:, :1], 0.005) is None
    assert change_point(np.ones((5, 3)), 0.005) is None
    assert change_point(np.repeat([[0.0, 1.0]], 5, axis=0), 0.005).p == 0.0


def test_change_points_are_rarely_called_and_the_smallest_is_seen_in_80_percent():
    rng = np.random.default_rng(1)

    def drawn(change: float):
        rates = 0.2 + 0.6 * rng.random((100, 1)) + np.array([0, 0, change, change])
        return change_point((rng.random((100, 4)) < rates).astype(float), 0.05)

    alone = [drawn(0.0) for _ in range(400)]
    assert np.mean([one.p < 0.05 for one in alone]) < 0.08
    smallest = float(np.mean([one.smallest for one in alone]))
    assert np.mean([drawn(smallest).p < 0.05 for _ in range(400)]) == pytest.approx(0.8, abs=0.07)


def test_runs_that_score_the_same_have_an_f_of_zero():
    """Rounding makes a sum of squares of -1e-17 of these."""
    effect = run_effect([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])
    assert effect is not None and effect.f == pytest.approx(0.0) and effect.se == pytest.approx(0.0, abs=1e-8)


def test_no_f_without_repeats_tasks_or_differences():
    assert run_effect(np.random.default_rng(0).random((8, 1))) is None
    assert run_effect(np.random.default_rng(0).random((1, 8))) is None
    for same in (np.zeros((5, 3)), np.repeat(np.random.default_rng(0).random((6, 1)) / 3, 7, axis=1)):
        assert run_effect(same) is None


def test_runs_that_differ_and_nothing_else_have_an_endless_f():
    got = run_effect(np.add.outer([0.1, 0.4, 0.5], [0.0, 0.3]))
    assert math.isinf(got.f)
    assert got.p_high == 0


def logistic(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(("tasks", "repeats"), [(30, 4), (40, 2)])
def test_f_errs_at_its_level_on_independent_repeats(tasks, repeats):
    _, rewards = draw(np.random.default_rng(2), (1, 1), 250, tasks, repeats)
    got = [run_effect(x) for x in rewards]
    assert np.mean([e.p_high < 0.05 for e in got]) == pytest.approx(0.05, abs=0.035)
    assert np.mean([e.p_low < 0.05 for e in got]) < 0.085
    # Equal totals of two runs, which are common, are no sign of copies.
    assert all(e.p_low > 0.01 for e in got if e.f < 1e-9) or repeats > 2


def test_f_finds_runs_that_drift_and_its_se_counts_them():
    generator = np.random.default_rng(3)
    pilots, tasks, repeats, drift = 100, 150, 6, 0.6
    easy, drifts = generator.normal(0, 1, (pilots, tasks, 1)), generator.normal(0, drift, (pilots, 1, repeats))
    rewards = (generator.random((pilots, tasks, repeats)) < logistic(easy + drifts)).astype(float)
    got = [run_effect(x) for x in rewards]
    assert np.mean([e.p_high < 0.05 for e in got]) > 0.95
    between_runs = logistic(generator.normal(0, 1, (2000, 1)) + generator.normal(0, drift, 2000)).mean(axis=0).var()
    plain = np.mean([estimate(sample(x)).se_run ** 2 for x in rewards])
    assert np.mean([e.se**2 for e in got]) == pytest.approx(plain + between_runs / repeats, rel=0.2)
    assert between_runs / repeats > 2 * plain


def test_f_is_far_low_where_runs_are_forced_alike():
    # Each run gets the same number right: repeats that a seed ties together.
    base = (np.arange(40)[:, None] + np.arange(4)) % 4 < 2
    got = run_effect(base.astype(float))
    assert got.f == pytest.approx(0, abs=1e-9)
    assert got.p_low <= 0.02


def test_copied_rollouts_do_not_lower_f():
    generator = np.random.default_rng(4)
    _, rewards = draw(generator, (1, 1), 100, 60, 4)
    rewards[:, :50] = rewards[:, :50, :1]
    assert np.mean([run_effect(x).p_low < 0.05 for x in rewards]) < 0.12


@pytest.mark.parametrize(("tasks", "expected"), [(30, 34), (198, 6), (500, 2)])
def test_repeats_at_a_within_variance_of_one_tenth(tasks, expected):
    # Two scores a and a + sqrt(.2) have variance .1.
    got = needed(np.tile([0.0, math.sqrt(0.2)], (tasks, 1)))
    assert got.within == pytest.approx(0.1)
    assert got.k_star == got.k_upper == expected
    assert got.sd_at(expected) <= 1 + 1e-9 < got.sd_at(expected - 1)


def test_repeats_needed_closed_form():
    rewards = np.random.default_rng(0).integers(0, 2, (40, 4)).astype(float)
    v = rewards.var(axis=1, ddof=1)
    upper = v.mean() + stats.t.ppf(0.9, 39) * stats.sem(v)
    got = needed(rewards, target_points=2.0)
    assert got.within_upper == pytest.approx(upper)
    assert got.within_lower == pytest.approx(2 * v.mean() - upper)
    assert got.k_star == math.ceil(v.mean() * 1e4 / (40 * 4))
    assert got.k_upper == math.ceil(upper * 1e4 / (40 * 4))
    assert got.sd_now == pytest.approx(100 * math.sqrt(sample(rewards).variance_run()))
    assert got.sd_now_upper == pytest.approx(100 * math.sqrt(upper / 160))
    assert got.sd_now_lower < got.sd_now < got.sd_now_upper
    assert got.sd_upper_at(got.k_upper) <= 2 < got.sd_upper_at(got.k_upper - 1)
    assert got.k_now == pytest.approx(4)


def test_repeats_needed_with_gaps():
    got = needed([[1, 0, NAN, NAN], [1, 1, 1, 0], [0, NAN, NAN, NAN], [NAN] * 4])
    assert got.within == pytest.approx((0.5 + 0.25) / 2)
    assert got.tasks == pytest.approx(3)
    assert got.k_now == pytest.approx(3 / (1 / 2 + 1 / 4 + 1))
    assert needed([[1.0], [0.0]]) is None
    assert needed([[1.0, 0.0]]) is None
    with pytest.raises(ValueError, match="target_points"):
        needed([[1.0, 0.0], [0.0, 0.0]], target_points=0)


def test_repeats_that_all_agree_leave_some_doubt():
    got = needed(np.ones((30, 4)))
    assert got.within == 0
    assert got.k_star == 1
    assert got.within_upper == pytest.approx(math.log(10) / 120)
    # With that W, no disagreement in 120 rollouts has a chance below one in ten, whichever way W is spread.
    for tasks_varying in (1, 5, 30):
        product = got.within_upper * 30 / tasks_varying
        if product <= 0.25:
            p = 0.5 - math.sqrt(0.25 - product)
            assert (p**4 + (1 - p) ** 4) ** tasks_varying <= 0.1
    assert needed(np.full((30, 4), 7.0)).within_upper == pytest.approx(49 * math.log(10) / 120)  # a range from 0 to 7


def test_repeats_of_a_weighted_score_are_those_of_its_own_sd():
    rng = np.random.default_rng(8)
    groups = np.repeat([0, 1], [50, 10])
    layout = Layout.of(60, by=[groups])
    rates = np.where(groups == 0, 0.95, 0.5)
    sd = math.sqrt(float(layout.weights_T**2 @ (rates * (1 - rates))))
    found = [repeats_needed(sample((rng.random((60, 4)) < rates[:, None]).astype(float), layout)) for _ in range(300)]
    assert np.mean([one.sd_at(1) ** 2 for one in found]) == pytest.approx(1e4 * sd**2, rel=0.05)
    assert np.mean([one.sd_upper_at(1) >= 100 * sd for one in found]) > 0.86
    assert found[0].tasks == pytest.approx(1 / float((layout.weights_T**2).sum()))


@pytest.mark.parametrize(
    ("a", "b", "tasks", "repeats"), [(1, 1, 30, 4), (1, 1, 30, 2), (2, 1, 100, 2), (0.5, 0.5, 100, 4), (20, 2, 60, 8)]
)
def test_k_upper_is_enough_in_nine_of_ten_pilots(a, b, tasks, repeats):
    pilots = 1000
    rates, rewards = draw(np.random.default_rng(5), (a, b), pilots, tasks, repeats)
    within = (rates * (1 - rates)).mean(axis=1)
    found = [needed(x) for x in rewards]
    enough = np.mean([100 * math.sqrt(w / (tasks * n.k_upper)) <= 1 for w, n in zip(within, found, strict=True)])
    assert enough >= 0.9 - 3 * math.sqrt(0.9 * 0.1 / pilots)
    assert np.mean([100 * math.sqrt(w / (tasks * n.k_star)) <= 1 for w, n in zip(within, found, strict=True)]) < enough


def test_the_spread_of_run_means_is_a_noisier_way():
    _, rewards = draw(np.random.default_rng(6), (1, 1), 2000, 100, 4)
    by_tasks = rewards.var(axis=2, ddof=1).mean(axis=1)
    by_runs = rewards.mean(axis=1).var(axis=1, ddof=1) * 100
    assert by_runs.mean() == pytest.approx(by_tasks.mean(), rel=0.05)
    assert by_runs.std() / by_tasks.std() > 5


@pytest.mark.parametrize(
    ("a", "b", "tasks", "first", "target"), [(2, 1, 30, 2, 3.0), (2, 1, 200, 2, 1.0), (9, 1, 100, 2, 1.0)]
)
def test_stopping_once_the_score_stands_still(a, b, tasks, first, target):
    """Repeats are added one by one to every task until the upper bound of the SD is at the target."""
    generator = np.random.default_rng(7)
    pilots = 2000
    rates = generator.beta(a, b, (pilots, tasks))
    right = np.zeros((pilots, tasks))
    score, se, sd_true = (np.full(pilots, NAN) for _ in range(3))
    for k in range(1, 65):
        right += generator.random((pilots, tasks)) < rates
        if k < first:
            continue
        means = right / k
        v = means * (1 - means) * k / (k - 1)
        upper = v.mean(axis=1) + stats.t.ppf(0.9, tasks - 1) * v.std(axis=1, ddof=1) / math.sqrt(tasks)
        stops = np.isnan(score) & (100 * np.sqrt(upper / (tasks * k)) <= target)
        score[stops], se[stops] = means.mean(axis=1)[stops], np.sqrt(v.mean(axis=1) / (tasks * k))[stops]
        sd_true[stops] = 100 * np.sqrt((rates * (1 - rates)).mean(axis=1) / (tasks * k))[stops]
    off = score - rates.mean(axis=1)
    assert abs(100 * off.mean()) < 0.15
    assert 0.925 <= np.mean(np.abs(off) <= 1.96 * se) <= 0.965
    assert np.mean(sd_true <= target) > 0.97

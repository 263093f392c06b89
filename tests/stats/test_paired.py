"""Shifts of a candidate against closed forms, brute force and simulation."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from assay.stats.estimates import wilson
from assay.stats.paired import Spread, difference, growth, move_test
from assay.stats.sample import Layout, Sample
from assay.stats.sample import sample as scored

A_TK = [[1, 1], [0, 1], [0, 0], [1, 1]]
B_TK = [[1, 0], [0, 0], [0, 0], [1, math.nan]]


def drawn(rng: np.random.Generator, p_T: np.ndarray, k: int) -> np.ndarray:
    return (rng.random((p_T.size, k)) < p_T[:, None]).astype(float)


def by_t(a, b) -> Spread:
    """b - a over tasks by t alone, also where few tasks differ."""
    return replace(difference(scored(a), scored(b)).over_tasks, rare=None)


def test_a_difference_is_the_paired_t_test():
    generator = np.random.default_rng(0)
    a, b = generator.random((15, 3)), generator.random((15, 4))
    reference = stats.ttest_rel(b.mean(axis=1), a.mean(axis=1))
    found = difference(scored(a), scored(b))
    got = found.over_tasks
    assert found.shift == pytest.approx((b.mean(axis=1) - a.mean(axis=1)).mean())
    assert (got.lower, got.upper) == pytest.approx(tuple(reference.confidence_interval(0.95)))
    assert got.p == pytest.approx(reference.pvalue)
    assert got.p_at_most(0) == pytest.approx(stats.ttest_rel(b.mean(1), a.mean(1), alternative="greater").pvalue)
    assert got.p_at_least(0) == pytest.approx(stats.ttest_rel(b.mean(1), a.mean(1), alternative="less").pvalue)
    shifted = stats.ttest_1samp(b.mean(1) - a.mean(1), -0.05, alternative="greater")
    assert got.p_at_most(-0.05) == pytest.approx(shifted.pvalue)
    noise = (a.var(axis=1, ddof=1) / 3 + b.var(axis=1, ddof=1) / 4).sum()
    assert found.over_reruns is not None
    assert found.over_reruns.se == pytest.approx(math.sqrt(noise) / 15)
    assert found.over_reruns.upper - found.shift == pytest.approx(1.959964 * found.over_reruns.se)


def test_a_difference_has_the_means_of_both_sides():
    found = difference(scored(A_TK), scored(B_TK))
    assert (found.baseline, found.candidate) == (0.625, 0.375)
    assert found.over_tasks.p == pytest.approx(stats.ttest_1samp([-0.5, -0.5, 0, 0], 0).pvalue)


def test_only_tasks_that_both_scored():
    a = np.array([[0, 0], [1, 1], [1, 0], [1, 1], [math.nan, math.nan]])
    b = np.array([[1, 0], [math.nan, math.nan], [1, 1], [0, math.nan], [1, 0.0]])
    found = difference(scored(a), scored(b))
    assert (found.tasks, found.tasks_left_out) == (3, 2)
    assert found.shift == pytest.approx((0.5 + 0.5 - 1) / 3)


def test_one_repeat_on_a_side_has_no_rerun_error():
    assert difference(scored([[0.0, 1.0], [1.0, 1.0]]), scored([[1.0], [0.0]])).over_reruns is None


def test_tasks_that_all_move_alike():
    got = by_t(np.ones((5, 2)), np.ones((5, 2)))
    assert (got.se, got.lower, got.upper) == (0, 0, 0)
    assert got.p_at_most(-0.01) == 0
    assert got.p_at_most(0) == got.p_at_least(0) == 1


@pytest.mark.parametrize("shift", [lambda a, b: difference(scored(a), scored(b)), growth])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.ones((3, 2)), np.ones((4, 2))),
        ([[1.0, 1], [math.nan, math.nan]], [[1.0, 1], [1, 1]]),
        ([[1.0]], [[1.0]]),
    ],
)
def test_what_cannot_be_paired_is_refused(shift, a, b):
    with pytest.raises(ValueError, match="expected"):
        shift(a, b)


def test_the_paired_interval_covers():
    generator = np.random.default_rng(1)
    pilots = 1000
    base = generator.normal(0, 1, (pilots, 40, 1))
    gain = generator.normal(0.2, 0.5, (pilots, 40, 1))
    noise = generator.normal(0, 1, (2, pilots, 40, 3))
    pairs = zip(base + noise[1], base + gain + noise[0], strict=True)
    got = [difference(scored(a), scored(b)).over_tasks for a, b in pairs]
    assert np.mean([e.lower <= 0.2 <= e.upper for e in got]) == pytest.approx(0.95, abs=0.025)
    assert np.mean([e.p_at_most(0.2) < 0.05 for e in got]) == pytest.approx(0.05, abs=0.025)
    assert np.mean([e.p_at_least(0.2) < 0.05 for e in got]) == pytest.approx(0.05, abs=0.025)


def test_the_rerun_error_is_the_spread_over_re_runs():
    generator = np.random.default_rng(2)
    rates = np.broadcast_to(generator.random((1, 50, 1)), (1500, 50, 4))
    a, b = ((generator.random(rates.shape) < rates).astype(float) for _ in range(2))
    got = [difference(scored(x), scored(y)) for x, y in zip(a, b, strict=True)]
    reruns = [e.over_reruns.se for e in got if e.over_reruns]
    assert np.std([e.shift for e in got]) == pytest.approx(math.sqrt(np.mean(np.square(reruns))), rel=0.06)


def test_tasks_without_a_figure_on_one_side_are_left_out_and_counted():
    found = difference(scored([[1, 1], [0, 0], [1, 0]]), scored([[0, 0], [1, 0], [math.nan, math.nan]]))
    assert (found.tasks, found.tasks_left_out) == (2, 1)
    assert (found.baseline, found.candidate, found.shift) == (0.5, 0.25, -0.25)


rewards = st.lists(st.sampled_from([0.0, 1.0, 1.0, 1.0, 0.25]), min_size=2, max_size=12)
spreads = st.one_of(
    st.builds(
        Spread,
        shift=st.floats(-0.9, 0.9),
        se=st.floats(1e-3, 0.5),
        df=st.sampled_from([3.0, 50.0, math.inf]),
        tasks=st.integers(2, 3000),
    ),
    st.builds(lambda a: difference(scored([[1.0]] * len(a)), scored([[one] for one in a])).over_tasks, rewards),
)


@given(spreads)
def test_an_interval_ends_where_a_one_sided_test_gives_a_fortieth(spread: Spread):
    for end, p in ((spread.lower, spread.p_at_most), (spread.upper, spread.p_at_least)):
        outward = math.copysign(1e-6, end - spread.shift)
        at_the_edge = abs(abs(end) - spread.span) < 1e-6
        assert p(end + outward) <= 0.025 + 1e-9 or at_the_edge
        assert p(end - outward) >= 0.025 - 1e-9 or end == spread.shift


@pytest.mark.parametrize("tasks", [2, 10, 240, 2000])
@pytest.mark.parametrize("share", [0.0, 0.005, 0.02, 0.1])
def test_where_few_tasks_drop_the_interval_is_wilsons(tasks: int, share: float):
    dropped = round(share * tasks)
    found = difference(
        scored(np.ones((tasks, 2))), scored([[0.0, 0.0]] * dropped + [[1.0, 1.0]] * (tasks - dropped))
    ).over_tasks
    # The share of tasks that dropped is a proportion; its variance has T - 1 below.
    lower = wilson(dropped / tasks, tasks)[1]
    assert -found.lower == pytest.approx(lower, rel=0.01 if tasks > 50 else 0.1)
    z = (0.2 - dropped / tasks) / math.sqrt(0.2 * 0.8 / tasks)
    assert found.p_at_most(-0.2) == pytest.approx(stats.norm.cdf(-z), rel=0.3)


def test_where_few_tasks_are_lost_and_won_the_variance_is_tangos():
    """At no difference, the most likely shares of tasks lost and won are both the mean of those that were seen."""
    after = [[0.0]] * 5 + [[1.0]] * 21 + [[1.0]] * 47 + [[0.0]] * 47
    before = [[1.0]] * 5 + [[0.0]] * 21 + [[1.0]] * 47 + [[0.0]] * 47
    found = difference(scored(before), scored(after)).over_tasks
    assert found.rare is not None
    assert replace(found, se=0.0)._se(abs(found.shift), -1) == pytest.approx(math.sqrt(26) / 120)
    assert found.p == pytest.approx(2 * stats.norm.cdf(-16 / math.sqrt(26)))  # McNemar's test


def test_where_many_tasks_differ_the_interval_is_students():
    rng = np.random.default_rng(8)
    found = difference(scored(drawn(rng, np.full(90, 0.5), 2)), scored(drawn(rng, np.full(90, 0.5), 2))).over_tasks
    assert found.rare is None
    assert found.upper - found.shift == pytest.approx(stats.t.ppf(0.975, 89) * found.se)


def test_where_every_task_differs_alike_the_p_value_is_near_that_of_their_signs():
    zeros, ones = np.zeros((12, 1)), np.ones((12, 1))
    assert difference(scored(zeros), scored(ones)).over_tasks.p == pytest.approx(2 * 0.5**12, rel=0.1)
    assert difference(scored(ones), scored(zeros)).over_tasks.p == pytest.approx(2 * 0.5**12, rel=0.1)


@pytest.mark.parametrize(("tasks", "drop"), [(100, 0.02), (100, 0.05), (200, 0.02), (200, 0.05), (1000, 0.05)])
@pytest.mark.parametrize("rounds", [500, pytest.param(2000, marks=pytest.mark.slow)])
def test_a_limit_that_is_reached_is_passed_in_one_of_forty(tasks: int, drop: float, rounds: int):
    """Of tasks that were all solved, a share is lost for good. t passes up to 14 % of these."""
    rng = np.random.default_rng(9)
    before = np.ones((tasks, 1))
    passes = [
        difference(scored(before), scored(1.0 - (rng.random((tasks, 1)) < drop))).over_tasks.lower > -drop
        for _ in range(rounds)
    ]
    assert np.mean(passes) <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / rounds)


def test_growth_is_the_ratio_of_the_means():
    a, b = [[10.0], [20.0], [30.0]], [[11.0], [24.0], [31.0]]
    found = growth(a, b)
    assert found is not None
    assert found.shift == pytest.approx(0.1)
    residuals = [11 - 11, 24 - 22, 31 - 33]
    assert found.over_tasks.se == pytest.approx(np.std(residuals, ddof=1) / math.sqrt(3) / 20)
    assert found.over_reruns is None
    assert growth([[0.0], [0.0]], [[1.0], [1.0]]) is None
    doubled = growth(np.array(a), 2 * np.array(a))
    assert doubled is not None and (doubled.over_tasks.lower, doubled.over_tasks.upper) == (1.0, 1.0)


def test_intervals_of_shifts_cover_over_tasks_and_over_reruns():
    rng = np.random.default_rng(5)
    hits = {"difference": 0, "growth": 0, "reruns": 0}
    rounds, tasks = 1500, 80
    p_a = rng.beta(1.2, 1.2, tasks)
    p_b = np.clip(p_a - 0.1, 0, 1)
    for _ in range(rounds):
        other_a = rng.beta(1.2, 1.2, tasks)
        other_b = np.clip(other_a * 0.9, 0, 1)
        found = difference(scored(drawn(rng, other_a, 4)), scored(drawn(rng, other_b, 4))).over_tasks
        hits["difference"] += found.lower <= -0.05 <= found.upper
        lengths = rng.gamma(4, 25, tasks)
        grown = growth(rng.poisson(lengths[:, None], (tasks, 3)), rng.poisson(1.2 * lengths[:, None], (tasks, 3)))
        assert grown is not None
        hits["growth"] += grown.over_tasks.lower <= 0.2 <= grown.over_tasks.upper
        again = difference(scored(drawn(rng, p_a, 4)), scored(drawn(rng, p_b, 4))).over_reruns
        assert again is not None
        hits["reruns"] += again.lower <= (p_b - p_a).mean() <= again.upper
    # Three standard errors of a simulated 95 % are 1.7 points.
    assert all(abs(count / rounds - 0.95) < 0.017 for count in hits.values()), hits


def test_the_tasks_and_repeats_named_decide_four_times_in_five():
    rng = np.random.default_rng(6)

    def sample(tasks: int, k: int) -> tuple[Sample, Sample]:
        p_T = rng.beta(2, 2, tasks)
        return scored(drawn(rng, p_T, k)), scored(drawn(rng, np.clip(p_T - 0.04, 0, 1), k))

    large = difference(*sample(200_000, 2))
    bound = large.shift - 0.04  # the limit is as far below the shift
    pilot = replace(
        large,
        over_tasks=replace(large.over_tasks, se=large.over_tasks.se * math.sqrt(200_000 / 500)),
        over_reruns=replace(large.over_reruns, se=large.over_reruns.se * math.sqrt(200_000 / 500)),  # type: ignore[union-attr]
    )
    times = pilot.repeats_to_decide(bound, of_tasks=True)
    assert times is not None and 1 < times < 10
    for tasks, k in [(round(large.over_tasks.tasks_to_decide(bound)), 2), (500, round(2 * times))]:
        decided = [difference(*sample(tasks, k)).over_tasks.p_at_most(bound) <= 0.025 for _ in range(400)]
        assert 0.72 < np.mean(decided) < 0.88, (tasks, k)


def test_repeats_to_decide_leave_the_tasks_own_part():
    found = difference(
        scored([[1, 1], [0, 1], [0, 0], [1, 1], [1, 1]]), scored([[1, 0], [0, 0], [0, 0], [1, 1], [0, 0]])
    )
    assert found.over_reruns is not None
    own = found.over_tasks.se**2 - found.over_reruns.se**2
    times = found.repeats_to_decide(-3.0, of_tasks=True)
    assert times is not None and own > 0
    assert own + found.over_reruns.se**2 / times == pytest.approx(((3 + found.shift) / 2.80159) ** 2, rel=1e-4)
    assert found.repeats_to_decide(found.shift, of_tasks=True) == math.inf
    assert difference(scored([[1], [0]]), scored([[1], [1]])).repeats_to_decide(-0.1, of_tasks=False) is None


@given(
    st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=5),
    st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=5),
)
def test_a_task_of_right_and_wrong_moves_as_every_order_of_its_scores_says(a: list[float], b: list[float]):
    scores = np.array(a + b)

    def apart(chosen: tuple[int, ...]) -> float:
        inside = np.isin(np.arange(scores.size), chosen)
        return abs(scores[inside].mean() - scores[~inside].mean())

    orders = [apart(chosen) for chosen in itertools.combinations(range(scores.size), len(a))]
    seen = apart(tuple(range(len(a))))
    assert move_test(a, b)[0] == pytest.approx(np.mean([one >= seen - 1e-9 for one in orders]))
    p_each = [np.mean([other >= one - 1e-9 for other in orders]) for one in orders]
    assert move_test(a, b)[1] == pytest.approx(np.mean([p <= 0.05 for p in p_each]))


def test_a_task_of_graded_scores_moves_by_the_permutations_variance():
    a, b = [0.1, 0.2, 0.3, 0.2], [0.6, 0.7, 0.9, 0.8]
    p, chance = move_test(a, b)
    assert p == pytest.approx(0.0125, abs=0.01)
    assert chance == 0.05
    assert move_test([0.5, 0.5], [0.5, 0.5])[0] == 1
    assert move_test([0.2], [0.9])[0] == 1


def test_tasks_that_only_their_repeats_move_are_as_many_as_foretold():
    rng = np.random.default_rng(7)
    p_T = rng.beta(1, 1, 3000)
    found = [move_test(a.tolist(), b.tolist()) for a, b in zip(drawn(rng, p_T, 12), drawn(rng, p_T, 12), strict=True)]
    beyond, foretold = sum(p <= 0.05 for p, _ in found), sum(chance for _, chance in found)
    assert abs(beyond - foretold) < 4 * math.sqrt(foretold)
    assert foretold > 20


def test_groups_weigh_alike_in_a_difference_too():
    rng = np.random.default_rng(3)
    a_TK, b_TK = rng.random((30, 3)), rng.random((30, 3))
    layout = Layout.of(30, by=[["few"] * 6 + ["many"] * 24])
    found = difference(scored(a_TK, layout), scored(b_TK, layout))
    parts = [(b_TK - a_TK)[rows].mean() for rows in (slice(0, 6), slice(6, 30))]
    assert found.shift == pytest.approx(np.mean(parts))
    noise = sum(
        (x_TK[rows].var(axis=1, ddof=1) / 3).sum() / (4 * n * n)
        for x_TK in (a_TK, b_TK)
        for rows, n in ((slice(0, 6), 6), (slice(6, 30), 24))
    )
    assert found.over_reruns is not None
    assert found.over_reruns.se == pytest.approx(math.sqrt(noise))
    assert found.over_tasks.lower < found.shift < found.over_tasks.upper


def test_a_difference_is_over_the_tasks_of_both_sides_with_weights_of_their_own():
    layout = Layout.of(4, by=[["a", "a", "b", "b"]])
    found = difference(scored([[1.0], [math.nan], [0.0], [0.0]], layout), scored([[1.0], [0.0], [1.0], [0.0]], layout))
    assert found.shift == pytest.approx((0 + 0.5) / 2)
    assert (found.tasks, found.tasks_left_out) == (3, 1)

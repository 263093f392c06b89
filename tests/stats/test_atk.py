import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from assay.stats.atk import g_pass_at_k, maj_at_k, pass_at_k

counts = st.integers(1, 40).flatmap(
    lambda n: st.tuples(st.integers(0, n), st.just(n), st.integers(1, n))
)  # right, n, k


@given(counts)
def test_pass_at_k_is_the_ratio_of_binomials(case):
    right, n, k = case
    assert pass_at_k(right, n, k) == pytest.approx(1 - math.comb(n - right, k) / math.comb(n, k), abs=1e-12)


@given(counts, st.floats(0, 1))
def test_g_pass_at_k_is_the_hypergeometric_tail(case, tau):
    right, n, k = case
    enough = max(1, math.ceil(tau * k - 1e-9))
    assert g_pass_at_k(right, n, k, tau) == pytest.approx(stats.hypergeom.sf(enough - 1, n, right, k), abs=1e-9)


def test_ends_of_g_pass_at_k():
    right, n = np.array([0, 3, 7, 10]), 10
    np.testing.assert_allclose(g_pass_at_k(right, n, 4, 0), pass_at_k(right, n, 4), atol=1e-12)
    np.testing.assert_allclose(g_pass_at_k(right, n, 4, 1), [math.comb(c, 4) / math.comb(10, 4) for c in right])
    # Three of five is a tau of .6, also where .6 * 5 is a little more than 3.
    np.testing.assert_allclose(g_pass_at_k(3, 5, 5, 0.6), 1.0)


def test_large_counts_do_not_overflow():
    assert pass_at_k(1, 10_000, 5_000) == pytest.approx(0.5)
    assert g_pass_at_k(5_000, 10_000, 2_001, 0.5) == pytest.approx(0.5, abs=1e-6)


def test_tasks_may_have_different_numbers_of_attempts():
    got = pass_at_k([1, 2, 0], [4, 3, 9], 2)
    np.testing.assert_allclose(got, [0.5, 1.0, 0.0])
    assert got.shape == g_pass_at_k([1, 2, 0], [4, 3, 9], 2, 0.5).shape == (3,)


@pytest.mark.parametrize(("right", "n", "k"), [(1, 4, 5), (5, 4, 2), (-1, 4, 2), (1, 4, 0), ([1, 1], [4, 2], 3)])
def test_impossible_counts_are_refused(right, n, k):
    for call in (lambda: pass_at_k(right, n, k), lambda: g_pass_at_k(right, n, k, 0.5)):
        with pytest.raises(ValueError, match="expected 1 <= k <= n"):
            call()
    with pytest.raises(ValueError, match="tau"):
        g_pass_at_k(1, 4, 2, 1.5)


def test_pass_at_k_is_unbiased():
    right = np.random.default_rng(0).binomial(8, 0.3, 20_000)
    assert pass_at_k(right, 8, 3).mean() == pytest.approx(1 - 0.7**3, abs=0.008)


def majority_by_hand(answers, rewards, k):
    """Every k-subset, looked at one by one."""
    wrong = {answer for answer, reward in zip(answers, rewards, strict=True) if reward < 1}
    answers = [answer if answer is None or answer in wrong else "right" for answer in answers]
    values = []
    for subset in combinations(range(len(answers)), k):
        votes = {}
        for j in subset:
            if answers[j] is not None:
                votes.setdefault(answers[j], []).append(rewards[j])
        most = max((len(v) for v in votes.values()), default=0)
        winners = [np.mean(v) for v in votes.values() if len(v) == most]
        values.append(np.mean(winners) if winners else 0.0)
    return np.mean(values)


attempts = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", "d", None]), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=8
)


@given(attempts, st.data())
def test_maj_at_k_is_the_average_over_subsets(pairs, data):
    answers, rewards = [a for a, _ in pairs], [r for _, r in pairs]
    k = data.draw(st.integers(1, len(pairs)))
    assert maj_at_k([answers], [rewards], [k])[k] == pytest.approx(majority_by_hand(answers, rewards, k), abs=1e-12)


def test_maj_at_k_examples():
    assert maj_at_k([["4", "4", "5"]], [[1, 1, 0]], [3])[3] == 1
    assert maj_at_k([["4", "5"]], [[1, 0]], [2])[2] == 0.5  # a tie is shared
    assert maj_at_k([["3/4", "0.75", "2", "2"]], [[1, 1, 0, 0]], [4])[4] == 0.5  # equal answers vote together
    assert maj_at_k([["3/4", "0.75", "2"]], [[1, 1, 0]], [3])[3] == 1
    assert maj_at_k([["4", None, None]], [[1, 0, 0]], [3])[3] == 1  # silence is no vote
    assert maj_at_k([[None, None]], [[0, 0]], [2])[2] == 0
    assert maj_at_k([["4", "5", "5"], ["1", "1", "1"]], [[1, 0, 0], [1, 1, 1]], [3])[3] == 0.5
    # Not the first k: every pair of these three counts.
    assert maj_at_k([["4", "4", "5"]], [[1, 1, 0]], [2])[2] == pytest.approx((1 + 0.5 + 0.5) / 3)


def test_maj_at_one_is_the_mean_reward_of_attempts_that_answered():
    generator = np.random.default_rng(1)
    answers = [[str(a) for a in row] for row in generator.integers(0, 3, (20, 6))]
    rewards = [[float(a == "1") for a in row] for row in answers]
    assert maj_at_k(answers, rewards, [1])[1] == pytest.approx(np.mean(rewards))


def test_maj_at_k_of_many_attempts_agrees_with_sampled_subsets():
    generator = np.random.default_rng(2)
    answers = list(generator.choice(["right", "w1", "w2", "w3", "w4"], 64, p=[0.3, 0.3, 0.2, 0.1, 0.1]))
    rewards = [float(a == "right") for a in answers]
    sampled = []
    for _ in range(4000):
        names, votes = np.unique(generator.choice(answers, 9, replace=False), return_counts=True)
        winners = names[votes == votes.max()]
        sampled.append(np.mean(winners == "right"))
    assert maj_at_k([answers], [rewards], [9])[9] == pytest.approx(
        np.mean(sampled), abs=4 * np.std(sampled) / 4000**0.5
    )


def test_drawn_majorities_are_near_the_counted_ones():
    """Of 60 tasks with 16 attempts, counted; the same with a seventeenth that is never drawn into play, drawn."""
    generator = np.random.default_rng(3)
    right = generator.beta(2, 2, 60)
    answers = [
        list(generator.choice(["a", "b", "c", None], 16, p=[p, *(1 - p) * np.array([0.5, 0.3, 0.2])])) for p in right
    ]
    rewards = [[float(a == "a") for a in row] for row in answers]
    counted = maj_at_k(answers, rewards, [2, 4, 8, 16])
    few = [["a"] * 17]
    drawn = maj_at_k(answers + few, [*rewards, [1.0] * 17], [2, 4, 8, 16, 17])
    assert drawn == maj_at_k(answers + few, [*rewards, [1.0] * 17], [2, 4, 8, 16, 17])
    for k, value in counted.items():
        assert drawn[k] == pytest.approx((60 * value + 1) / 61, abs=0.01)
    assert drawn[17] == 1


def test_no_k_asks_for_nothing():
    assert maj_at_k([[], ["a"]], [[], [1.0]], []) == {}


def test_tasks_with_fewer_attempts_are_left_out_of_a_larger_k():
    assert maj_at_k([["a", "a"], ["b"]], [[1, 1], [0]], [1, 2]) == {1: 0.5, 2: 1.0}


@pytest.mark.parametrize(
    ("answers", "rewards", "k"),
    [([], [], 1), ([["a"]], [], 1), ([["a"]], [[1, 0]], 1), ([["a"]], [[1]], 2), ([["a"]], [[1]], 0)],
)
def test_maj_at_k_refuses(answers, rewards, k):
    with pytest.raises(ValueError, match="expected"):
        maj_at_k(answers, rewards, [k])

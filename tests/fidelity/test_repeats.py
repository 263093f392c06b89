"""Independence of repeats, what each number of them costs, and when to make more: on results made for it."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from assay.config import Prices
from assay.fidelity.gates.repeats import repeats_gate
from assay.fidelity.results.contender import Contender
from assay.fidelity.results.repeats import costs, next_step, towards
from assay.fidelity.results.results import Cell, Results
from assay.fidelity.results.summary import summarise, text
from assay.stats.repeats import RepeatsNeeded, repeats_needed
from assay.stats.sample import sample
from assay.types import Task

NAN = math.nan
Texts = Callable[[int, int], str]


def results(rewards_TK: NDArray[np.float64], texts: Texts = lambda i, j: f"{i}/{j}", *, failed: int = 0) -> Results:
    """A run of these rewards; NaN was never tried, but for the first `failed` of them, which failed."""
    cells = [
        Cell(i, j, float(x), "1", "completed", 3, texts(i, j).encode())
        for (i, j), x in np.ndenumerate(rewards_TK)
        if not np.isnan(x)
    ]
    gaps = [(int(i), int(j)) for i, j in np.argwhere(np.isnan(rewards_TK))]
    cells += [Cell(i, j, None, None, "failed", 0, b"") for i, j in gaps[:failed]]
    tasks = [Task(id=f"t{i}", input=[]) for i in range(len(rewards_TK))]
    return Results(tasks, rewards_TK, cells, {"input": 0, "cached": 0, "output": 0, "reasoning": 0}, 0.0)


def coins(tasks: int, k: int, p: float | NDArray[np.float64] = 0.5, seed: int = 0) -> NDArray[np.float64]:
    rates = np.broadcast_to(np.asarray(p, dtype=float), (tasks,))
    return (np.random.default_rng(seed).random((tasks, k)) < rates[:, None]).astype(float)


def tied(tasks: int, k: int) -> NDArray[np.float64]:
    """Every repeat gets as many right, though not the same ones."""
    return ((np.arange(tasks)[:, None] + np.arange(k)) % k < k // 2).astype(float)


def drifting(tasks: int, k: int) -> NDArray[np.float64]:
    return (np.random.default_rng(0).random((tasks, k)) < np.linspace(0.2, 0.8, k)).astype(float)


@pytest.mark.parametrize(
    ("run", "verdict", "words"),
    [
        (results(coins(60, 4)), "independent", "Nothing speaks against"),
        (
            results(coins(60, 4), lambda i, j: f"{i}/{j % 2}"),
            "dependent",
            "repeats 0 and 2 have identical texts, and so",
        ),
        (results(coins(60, 4), lambda i, j: str(i)), "dependent", "All repeats have identical texts"),
        (results(coins(20, 4), lambda i, j: str(i)), "unclear", "so easy that nothing varies"),
        (results(np.ones((60, 4)), lambda i, j: str(i)), "unclear", "so easy that nothing varies"),
        (results(np.ones((60, 4))), "independent", "Texts differ; scores don't"),
        (results(drifting(60, 8)), "dependent", "endpoint or judge drifts"),
        (results(tied(60, 4)), "dependent", "score too much alike"),
        (results(coins(60, 1)), "unclear", "run 2 repeats"),
        (results(np.full((60, 2), NAN)), "unclear", "run 2 repeats"),
    ],
)
def test_independence(run: Results, verdict: str, words: str):
    found = run.independence
    assert (found.verdict, words in found.reason) == (verdict, True), found.reason


def test_every_pair_of_copies_is_named():
    found = results(coins(60, 6), lambda i, j: f"{i}/{j % 3}").independence
    assert found.copied == [(0, 3), (1, 4), (2, 5)]
    assert not found.identical
    assert results(coins(60, 6), lambda i, j: str(i)).independence.identical


@pytest.mark.parametrize(("differing", "copied"), [(10, []), (11, [(0, 1)])])
def test_two_repeats_are_copies_where_more_than_ten_tasks_were_expected_to_differ(
    differing: int, copied: list[tuple[int, int]]
):
    run = results(coins(60, 3), lambda i, j: f"{i}/{j // 2 if i < differing else ''}")
    assert run.independence.copied == copied


def test_copies_are_found_where_repeats_have_gaps():
    rewards_TK = coins(60, 4)
    rewards_TK[::3, 1] = rewards_TK[1::5, 3] = NAN
    assert results(rewards_TK, lambda i, j: f"{i}/{j % 3}").independence.copied == [(0, 3)]


def test_a_repeat_that_has_just_begun_is_no_copy():
    """Its three tasks are easy ones, on which all repeats agree, as they do on each other's."""
    rewards_TK = coins(60, 4)
    rewards_TK[3:, 3] = NAN
    alike = results(rewards_TK, lambda i, j: f"{i}/{j if i >= 3 else ''}")
    assert alike.independence.verdict == "independent"


def test_independent_repeats_are_seldom_called_dependent():
    rng = np.random.default_rng(1)
    called = 0
    for seed in range(300):
        called += results(coins(50, 4, rng.beta(2, 1, 50), seed)).independence.verdict != "independent"
    assert called <= 9  # two tests at .005 each: 3 are expected


def test_the_gate_and_the_summary_say_the_same():
    copied = results(coins(60, 4), lambda i, j: f"{i}/{j % 2}")
    reason = copied.independence.reason
    gate = repeats_gate([Contender("m", "open", "instruct", 1, copied)])
    assert gate.verdict == "fail"
    assert reason in gate.reason
    assert gate.numbers["independence"]["m"]["repeats_copied"] == [(0, 2), (1, 3)]
    assert text(summarise(copied)).endswith(f"\nwarning: {reason}")
    for quiet in (results(coins(60, 4)), results(coins(60, 1)), results(np.ones((20, 4)), lambda i, j: str(i))):
        assert "\n" not in text(summarise(quiet))


def test_drift_widens_the_error_of_the_summary():
    run = results(drifting(60, 8))
    effect, needed = run.independence.effect, repeats_needed(sample(run.rewards_TK))
    assert effect is not None
    assert needed is not None
    assert summarise(run).se_run == effect.se > needed.sd_now / 100


def half_and_half(tasks: int, k: int) -> NDArray[np.float64]:
    """Each task right in every other repeat: v = k / (4 (k - 1)) for each, without any spread between tasks."""
    return np.tile((np.arange(k) % 2).astype(float), (tasks, 1))


def test_costs_in_closed_form():
    rewards_TK = half_and_half(500, 4)
    rewards_TK[:50, 3] = NAN
    run = priced(results(rewards_TK, failed=50))
    needed = repeats_needed(sample(rewards_TK), 1.0)
    assert needed is not None
    found = {cost.k: cost for cost in costs(run, needed, rollouts_per_s=5.0)}
    # W is 1/3 for tasks with four scores and 1/3 with three of them: 0, 1, 0.
    assert (needed.k_star, needed.k_upper) == (7, 7)
    assert list(found) == [1, 2, 4, 7, 8]
    assert found[2].sd == pytest.approx(100 * math.sqrt(1 / 3 / 1000))
    assert found[2].sd_upper == pytest.approx(found[2].sd)
    assert (found[2].rollouts, found[2].more, found[2].tokens, found[2].usd, found[2].wall_s) == (1000, 0, 0, 0, 0)
    assert (found[4].rollouts, found[4].more) == (2000, 50)  # those that failed
    assert (found[8].rollouts, found[8].more) == (4000, 2050)
    # 1,950 scores took 39,000 tokens: 20 each, the failed rollouts' among them.
    assert found[8].tokens == 2050 * 20
    assert found[8].usd == pytest.approx(2050 * (19500 * 1 + 19500 * 3) / 1e6 / 1950)
    assert found[8].wall_s == pytest.approx(410)


def priced(run: Results) -> Results:
    """The run with tokens and prices."""
    tokens = {"input": 19500, "cached": 0, "output": 19500, "reasoning": 0}
    return Results(run.tasks, run.rewards_TK, run.cells, tokens, 0.0, Prices(input=1.0, output=3.0))


def test_what_is_not_known_has_no_cost():
    for cost in costs(results(coins(60, 2)), None):
        assert (cost.sd, cost.tokens, cost.usd, cost.wall_s) == (None, None, None, None)
    assert [cost.k for cost in costs(results(coins(60, 1)), None)] == [1, 2]


def needing(k_now: float, target_points: float = 1.0, *, star: int = 17, upper: int = 20) -> RepeatsNeeded:
    return RepeatsNeeded(0.1, 0.08, 0.12, 0.5, 60, k_now, target_points, star, upper)


@given(k=st.integers(1, 40), star=st.integers(1, 3000), more=st.integers(0, 500))
def test_costs_go_by_doubling_up_to_what_is_needed_and_name_it(k: int, star: int, more: int):
    needed = needing(k, star=star, upper=star + more)
    found = costs(results(coins(3, k)), needed)
    ks = [cost.k for cost in found]
    assert {k, star, star + more, 1} <= set(ks)
    assert ks == sorted(set(ks))
    assert max(k, star + more) <= ks[-1] < 2 * max(k, star + more)
    assert all(b <= 2 * a for a, b in itertools.pairwise(ks))
    assert all(a.sd > b.sd for a, b in itertools.pairwise(found))


@pytest.mark.parametrize(
    ("needed", "repeats", "k", "words"),
    [
        (needing(4), 4, 8, "it takes 20 repeats to be sure, 17 by the estimate: run 8 and look again"),
        (needing(12), 12, 20, "it takes 20 repeats to be sure, 17 by the estimate: run 20."),
        # A fifth of the rollouts failed: so much more is asked for.
        (needing(12.8), 16, 25, "it takes 25 repeats"),
        # All that k_upper asks for was made, and failures keep the SD up.
        (needing(19), 20, 22, "run 22"),
        (needing(19.99), 20, 21, "run 21"),
        (needing(20), 20, None, "that is within 1 point."),
        # A hair above the target, by rounding: a climb still has to get on.
        (RepeatsNeeded(0.1, 0.08, 0.12 + 1e-14, 0.5, 60, 20.0, 1.0, 17, 20), 20, 21, "run 21"),
        (needing(4, 2.5, star=3, upper=4), 4, None, "that is within 2.5 points."),
    ],
)
def test_a_step_at_most_doubles_the_repeats(needed: RepeatsNeeded, repeats: int, k: int | None, words: str):
    step = towards(needed, repeats)
    assert step.k == k
    assert words in step.reason


def owing(k: int) -> Results:
    rewards_TK = coins(60, k)
    rewards_TK[40:, k - 1] = NAN
    return results(rewards_TK)


@pytest.mark.parametrize(
    ("run", "k", "words"),
    [
        (results(coins(60, 1)), 2, "2 are needed"),
        (results(coins(60, 2)), 4, "look again"),
        (results(coins(60, 4), lambda i, j: f"{i}/{j % 2}"), None, "More repeats would not help"),
        (results(coins(20, 4), lambda i, j: str(i)), None, "More repeats would not help"),
        (results(drifting(60, 8)), None, "endpoint or judge drifts"),
        (owing(4), 4, "20 of 240 rollouts are still owed"),
        (results(np.full((60, 2), NAN)), 2, "120 of 120 rollouts are still owed"),
        (results(np.full((60, 2), NAN), failed=120), None, "No rollout has a score"),
        (results(np.tile([1.0, NAN], (60, 1)), failed=60), None, "see to the failures"),
        # All agree so far, which two repeats prove little by.
        (results(np.ones((60, 2))), 4, "by the estimate"),
        (results(np.ones((60, 4))), None, "within 1 point"),
    ],
)
def test_when_to_make_more_repeats(run: Results, k: int | None, words: str):
    step = next_step(run)
    assert (step.k, words in step.reason) == (k, True), step


@pytest.mark.heavy
@pytest.mark.parametrize(("a", "b", "tasks", "target"), [(2, 1, 60, 2.0), (9, 1, 100, 1.0)])
def test_climbing_ends_at_the_target_after_few_looks_and_leaves_the_score_alone(
    a: float, b: float, tasks: int, target: float
):
    rng = np.random.default_rng(3)
    off: list[float] = []
    still: list[bool] = []
    spent: list[float] = []
    for _ in range(120):
        rates = rng.beta(a, b, tasks)
        rewards_TK = (rng.random((tasks, 2)) < rates[:, None]).astype(float)
        looks = 1
        while (step := next_step(results(rewards_TK), target)).k is not None:
            assert rewards_TK.shape[1] < step.k <= 2 * rewards_TK.shape[1]
            added = rng.random((tasks, step.k - rewards_TK.shape[1])) < rates[:, None]
            rewards_TK = np.hstack([rewards_TK, added])
            looks += 1
        assert looks <= 7
        if "within" not in step.reason:  # a false alarm, in 2 % of climbs
            continue
        variance = float((rates * (1 - rates)).mean()) * 1e4 / tasks
        off.append(100 * float(rewards_TK.mean() - rates.mean()))
        still.append(math.sqrt(variance / rewards_TK.shape[1]) <= target)
        spent.append(rewards_TK.shape[1] / max(2, math.ceil(variance / target**2)))
    assert len(off) > 110
    assert abs(np.mean(off)) < 0.15 + 2 * np.std(off) / math.sqrt(len(off))
    assert np.mean(still) >= 0.94
    assert np.mean(spent) < 1.25

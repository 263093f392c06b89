import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.stats.compare import (
    equivalence,
    equivalence_verdict,
    holm,
    repeats_to_decide,
    rerun_noise,
)
from assay.stats.sample import sample as scored

NAN = math.nan


def simulated_pairs(generator, pilots, tasks, repeats, shift):
    """Both sides' outcomes on the same tasks, B's success rates lower by `shift`, which no task is too easy for."""
    rates = generator.uniform(shift, 1, (pilots, tasks, 1))
    a = (generator.random((pilots, tasks, repeats)) < rates).astype(float)
    b = (generator.random((pilots, tasks, repeats)) < rates - shift).astype(float)
    return a, b


@pytest.mark.parametrize(
    ("difference", "se", "verdict"),
    [
        (0.0, 0.01, "equivalent"),
        (0.0, 0.02, "inconclusive"),
        (-0.01, 0.009, "equivalent"),
        (0.05, 0.01, "different"),
        (-0.05, 0.01, "different"),
        (0.03, 0.01, "inconclusive"),
        (0.02, 0.0, "equivalent"),
    ],
)
def test_verdicts_at_a_margin_of_two_and_a_half_points(difference, se, verdict):
    assert equivalence_verdict(difference, se, 0.025) == verdict


def test_equivalence_closed_form():
    generator = np.random.default_rng(3)
    a, b = generator.random((20, 4)), generator.random((20, 8))
    got = equivalence(scored(a), scored(b), margin=0.1)
    va, vb = a.var(axis=1, ddof=1), b.var(axis=1, ddof=1)
    assert got.se == pytest.approx(math.sqrt((va / 4 + vb / 8).sum()) / 20)
    assert got.k_to_decide == math.ceil((va.mean() + vb.mean()) / 20 * ((1.9600 + 1.6449) / 0.1) ** 2)
    assert (got.tasks, got.margin) == (20, 0.1)
    assert repeats_to_decide(0.0, 20, 0.1) == 1


def test_a_side_without_repeats_has_its_variance_within_tasks_bounded():
    generator = np.random.default_rng(8)
    a, b = generator.integers(0, 2, (40, 1)).astype(float), generator.integers(0, 2, (40, 4)).astype(float)
    got = equivalence(scored(a), scored(b), margin=0.1)
    p, vb = a.mean(), b.var(axis=1, ddof=1)
    bound = p * (1 - p) * 40 / 39
    assert got.bounded == (True, False)
    assert got.se == pytest.approx(math.sqrt(bound / 40 + (vb / 4).sum() / 40**2))
    assert got.k_to_decide == repeats_to_decide(bound + vb.mean(), 40, 0.1)


def test_scores_that_all_agree_do_not_prove_that_nothing_varies():
    for repeats in (1, 2):
        few, many = np.ones((10, repeats)), np.ones((2000, repeats))
        assert equivalence(scored(few), scored(few), margin=0.02).verdict == "inconclusive"
        assert equivalence(scored(many), scored(many), margin=0.02).verdict == "equivalent"
    noise = rerun_noise(scored([[1.0, 1.0], [0.0, 0.0]]))
    assert (noise.within, noise.bounded) == (0.25, False)  # ln(10) / 4 is more than any variance in [0, 1]


def test_one_task_with_two_scores_does_not_speak_for_the_rest():
    rewards = np.full((30, 2), NAN)
    rewards[:, 0] = np.arange(30) % 2
    rewards[0, 1] = 0.0
    noise = rerun_noise(scored(rewards))
    assert noise.bounded
    assert noise.within == pytest.approx(0.25 * 30 / 29, rel=0.02)


def test_single_scores_of_another_range_are_bounded_by_it():
    wide = rerun_noise(scored([[1.0], [3.0], [1.0], [3.0]], low=0, high=4))
    assert (wide.bounded, wide.within) == (True, pytest.approx(16 / 3))


@pytest.mark.parametrize("spread", [0.0, 0.2, 0.5])
def test_the_bound_keeps_both_errors_at_five_percent(spread: float):
    """With tasks alike (spread 0) the bound is W itself; the more they differ, the more it is above it."""
    generator = np.random.default_rng(9)
    pilots, tasks, margin = 1500, 80, 0.1
    rates = np.clip(0.5 + spread * generator.uniform(-1, 1, (pilots, tasks, 1)), margin, 1)
    a = (generator.random((pilots, tasks, 1)) < rates).astype(float)
    b = (generator.random((pilots, tasks, 4)) < rates - margin).astype(float)
    got = [equivalence(scored(x), scored(y), margin) for x, y in zip(a, b, strict=True)]
    # A true difference of exactly the margin: both errors are largest there.
    assert [e.verdict for e in got].count("equivalent") / pilots <= 0.065
    assert [e.verdict for e in got].count("different") / pilots <= 0.065
    covered = np.mean([abs(e.difference - margin) <= 1.645 * (e.se or 0) for e in got])
    assert covered >= 0.88
    if spread == 0.0:
        assert covered == pytest.approx(0.9, abs=0.02)


def test_equivalence_refuses():
    with pytest.raises(ValueError, match="margin"):
        equivalence(scored(np.ones((2, 2))), scored(np.ones((2, 2))), margin=0)
    with pytest.raises(ValueError, match="no rollout has a score"):
        equivalence(scored([[NAN, NAN]]), scored([[1.0, 1.0]]), margin=0.1)


def test_both_errors_of_equivalence_are_at_most_five_percent():
    pilots, margin = 1500, 0.1
    a, b = simulated_pairs(np.random.default_rng(4), pilots, 60, 8, margin)
    verdicts = [equivalence(scored(x), scored(y), margin).verdict for x, y in zip(a, b, strict=True)]
    # A true difference of exactly the margin is neither: the boundary is where both errors are largest.
    assert verdicts.count("equivalent") / pilots == pytest.approx(0.025, abs=0.015)
    assert verdicts.count("different") / pilots == pytest.approx(0.025, abs=0.015)


def looked(true: float, generator, margin: float, tasks: int, most: int = 5) -> tuple[str, int]:
    """What looks at more and more repeats come to, as many as each asks for, and their number."""
    rates = np.clip(generator.random((tasks, 1)), 0, 1 - true)
    sides = [(generator.random((tasks, 2)) < rates + add).astype(float) for add in (0.0, true)]
    ses: list[float] = []
    while True:
        got = equivalence(scored(sides[0]), scored(sides[1]), margin, ses)
        ses.append(got.se)
        more = got.k_to_decide - sides[0].shape[1]
        if got.verdict != "inconclusive" or len(ses) == most or more < 1:
            return got.verdict, len(ses)
        added = [(generator.random((tasks, more)) < rates + add).astype(float) for add in (0.0, true)]
        sides = [np.hstack(pair) for pair in zip(sides, added, strict=True)]


@pytest.mark.parametrize(("true", "wrong", "right"), [(0.0, "different", "equivalent"), (0.05, "equivalent", None)])
def test_looking_until_it_is_decided_keeps_both_errors_at_five_percent(true: float, wrong: str, right: str | None):
    generator, trials = np.random.default_rng(11), 400
    verdicts = [looked(true, generator, 0.05, 60)[0] for _ in range(trials)]
    assert verdicts.count(wrong) / trials <= 0.05 + 0.03
    if right:
        assert verdicts.count(right) / trials >= 0.9
    else:
        assert verdicts.count("different") / trials <= 0.08


def test_an_early_look_that_could_not_say_equivalent_costs_no_alpha_there():
    rewards = (np.random.default_rng(0).random((200, 40)) < 0.5).astype(float)
    a, b = scored(rewards[:, :20]), scored(rewards[:, 20:])
    alone = equivalence(a, b, 0.05)
    assert alone.verdict == "equivalent"
    edge = alone.difference and abs(alone.difference) + 1.97 * alone.se
    assert equivalence(a, b, edge).verdict == "equivalent"
    assert equivalence(a, b, edge, [edge]).verdict == "equivalent"  # margin / SE is 1
    assert equivalence(a, b, edge, [edge / 4]).verdict == "inconclusive"


def test_k_to_decide_shows_equivalence_nine_times_in_ten():
    generator = np.random.default_rng(5)
    tasks, margin, pilots = 60, 0.05, 600
    repeats = repeats_to_decide(2 / 6, tasks, margin)  # E[p (1-p)] is 1/6 for uniform p
    a, b = simulated_pairs(generator, pilots, tasks, repeats, 0.0)
    verdicts = [equivalence(scored(x), scored(y), margin).verdict for x, y in zip(a, b, strict=True)]
    assert verdicts.count("equivalent") / pilots == pytest.approx(0.9, abs=0.05)


def test_more_repeats_make_parity_harder_to_claim_by_accident():
    """The rule of overlapping ranges passes more often the more is run; TOST at a real difference does not."""
    generator = np.random.default_rng(6)
    overlap, equivalent = {}, {}
    for repeats in (2, 16):
        a, b = simulated_pairs(generator, 300, 60, repeats, 0.06)
        runs_a, runs_b = a.mean(axis=1), b.mean(axis=1)
        overlap[repeats] = np.mean(
            (runs_a.min(axis=1) <= runs_b.max(axis=1)) & (runs_b.min(axis=1) <= runs_a.max(axis=1))
        )
        equivalent[repeats] = np.mean(
            [equivalence(scored(x), scored(y), 0.02).verdict == "equivalent" for x, y in zip(a, b, strict=True)]
        )
    assert overlap[16] > overlap[2]
    assert equivalent[16] <= 0.02


def test_holm_closed_form():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}
    )
    assert holm({}) == {}
    assert holm({"x": 0.7, "y": 0.8}) == {"x": 1.0, "y": 1.0}
    for bad in (-0.1, 1.1, NAN):
        with pytest.raises(ValueError, match="floor"):
            holm({"floor": bad})


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=8))
def test_holm_properties(p):
    adjusted = holm(p)
    assert list(adjusted) == list(p)
    assert all(p[name] <= adjusted[name] <= min(1, len(p) * p[name]) for name in p)
    by_p = sorted(p, key=lambda name: p[name])
    assert [adjusted[n] for n in by_p] == sorted(adjusted.values())


def test_holm_keeps_the_chance_of_any_false_alarm():
    p = np.random.default_rng(7).random((3000, 6))
    false = np.mean([min(holm(dict(enumerate(map(float, row)))).values()) <= 0.05 for row in p])
    assert false == pytest.approx(0.05, abs=0.015)

"""Tasks that may be wrong themselves, on models made of known strength."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from msgspec import structs

from assay.fidelity.detectors.suspects import hypotheses, suspects, votes_of
from assay.fidelity.results.results import Results
from assay.fidelity.schema.evidence import SuspectTask
from assay.types import Task
from tests.fidelity.detectors.made import columns

STRONG = (0.0, 1.0, 2.0, 3.0, 3.5)
OPTIONS = "ABCD"


class World:
    """T tasks with four options of which some gold answers are wrong, and models that answer them k times each.

    Tasks differ in difficulty and each has a mistake that lies near; each model finds some tasks easier than others do.
    """

    def __init__(self, strengths: Sequence[float], *, wrong: float = 0.02, seed: int = 0, tasks: int = 400, k: int = 4):
        rng = np.random.default_rng(seed)
        truth_T = rng.integers(0, 4, tasks)
        near_T = (truth_T + rng.integers(1, 4, tasks)) % 4
        gold_T = truth_T.copy()
        self.wrong = [int(i) for i in rng.choice(tasks, round(wrong * tasks), replace=False)]
        for i in self.wrong:
            gold_T[i] = (truth_T[i] + rng.integers(1, 4)) % 4
        self.tasks = [Task(id=f"t{i}", input=[], gold=OPTIONS[gold]) for i, gold in enumerate(gold_T)]
        hard_T = rng.normal(0, 1.5, tasks)
        self.results: dict[str, Results] = {}
        for number, strength in enumerate(strengths):
            p_T = 1 / (1 + np.exp(hard_T - strength - rng.normal(0, 1, tasks)))
            right_TK = rng.random((tasks, k)) < p_T[:, None]
            strays_TK = (truth_T[:, None] + rng.integers(1, 4, (tasks, k))) % 4
            mistakes_TK = np.where(rng.random((tasks, k)) < 0.5, near_T[:, None], strays_TK)
            said_TK = np.where(right_TK, truth_T[:, None], mistakes_TK)
            rewards_TK = (said_TK == gold_T[:, None]).astype(float)
            answers = [[OPTIONS[a] for a in row] for row in said_TK]
            self.results[f"m{number}"] = columns(self.tasks, rewards_TK, answers=answers)


def in_top(found: Sequence[SuspectTask], world: World, share: float = 0.04) -> int:
    top = {one.task for one in found[: round(share * len(world.tasks))]}
    return sum(f"t{i}" in top for i in world.wrong)


def test_most_wrong_labels_are_at_the_top():
    worlds = [World(STRONG, seed=seed) for seed in range(10)]
    caught = sum(in_top(suspects(world.results), world) for world in worlds)
    assert caught >= 0.8 * sum(len(world.wrong) for world in worlds)


def test_suspicion_is_about_as_often_right_as_it_says():
    told: list[tuple[float, bool]] = []
    for seed in range(10):
        world = World(STRONG, seed=seed)
        wrong = {f"t{i}" for i in world.wrong}
        told += [(one.suspicion, one.task in wrong) for one in suspects(world.results) if "label suspect" in one.signs]
    said, right = np.array(told).T
    assert abs(said.mean() - right.mean()) < 0.15


def test_the_consensus_and_who_holds_it_are_told():
    world = World(STRONG)
    found = next(one for one in suspects(world.results) if one.task == f"t{world.wrong[0]}")
    assert "label suspect" in found.signs
    assert found.consensus != found.gold
    assert f"agree on {found.consensus}, gold is {found.gold}" in found.reason
    assert set(found.means) == set(world.results)


def test_of_a_task_without_a_gold_text_only_the_consensus_is_told():
    world = World(STRONG)
    bare = [structs.replace(task, gold=None) for task in world.tasks]
    results = {name: dataclasses.replace(one, tasks=bare) for name, one in world.results.items()}
    found = next(one for one in suspects(results) if one.task == f"t{world.wrong[0]}")
    assert f"agree on {found.consensus}, which is not rewarded: see which is right." in found.reason


def test_sound_tasks_are_rarely_suspect():
    named = sum(
        "label suspect" in one.signs for seed in range(5) for one in suspects(World(STRONG, wrong=0, seed=seed).results)
    )
    assert named <= 0.01 * 5 * 400


def table(rows: dict[str, list[list[float]]], tasks: int) -> dict[str, Results]:
    asked = [Task(id=f"t{i}", input=[], gold="42") for i in range(tasks)]
    return {name: columns(asked, np.array(rewards), answers=[[None] * 4] * tasks) for name, rewards in rows.items()}


def plain_rows(tasks: int = 100) -> dict[str, list[list[float]]]:
    """Three models, of which each solves what the weaker ones solve, and more."""
    rng = np.random.default_rng(5)
    hard = np.sort(rng.random(tasks))
    rates = {"weak": 0.4, "middle": 0.7, "strong": 0.95}
    return {name: [[float(h < rate)] * 4 for h in hard] for name, rate in rates.items()}


def test_a_task_that_weak_models_solve_and_strong_ones_do_not_is_named():
    rows = plain_rows()
    rows["weak"][10], rows["middle"][10], rows["strong"][10] = [1, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 0]
    found = suspects(table(rows, 100))
    assert found[0].task == "t10"
    assert "weak above strong" in found[0].signs


def test_what_no_model_solves_is_named():
    rows = plain_rows()
    named = {one.task for one in suspects(table(rows, 100)) if "never solved" in one.signs}
    assert named == {f"t{i}" for i in range(100) if not any(max(rows[name][i]) for name in rows)}


def test_a_task_without_any_score_is_not():
    rows = plain_rows()
    for name in rows:
        rows[name][99] = [float("nan")] * 4
    found = suspects(table(rows, 100))
    assert "t99" not in {one.task for one in found}


def test_a_model_that_lacks_a_task_has_no_mean_there():
    rows = plain_rows()
    rows["weak"][99] = [float("nan")] * 4
    rows["middle"][99] = rows["strong"][99] = [0.0] * 4
    found = next(one for one in suspects(table(rows, 100)) if one.task == "t99")
    assert found.means == {"weak": None, "middle": 0.0, "strong": 0.0}


@pytest.mark.parametrize("results", [{}, {"only": World((1.0,)).results["m0"]}])
def test_one_model_says_nothing_of_tasks(results: dict[str, Results]):
    assert suspects(results) == []


def test_runs_of_which_one_has_other_tasks_too_are_matched_by_id():
    world = World(STRONG)
    fewer = World(STRONG, tasks=400).results["m4"]
    part = Results(fewer.tasks[:50], fewer.rewards_TK[:50], [c for c in fewer.cells if c.task < 50], {}, 0.0)
    others = {name: results for name, results in world.results.items() if name != "m4"}
    named = {one.task for one in suspects(others | {"m4": part})}
    assert named == {one.task for one in suspects({"m4": part} | others)}
    assert len(named & {f"t{i}" for i in world.wrong}) >= 4


def test_the_stories_are_probabilities():
    world = World(STRONG)
    found = hypotheses(votes_of(world.tasks, world.results))
    total = sum(found.values())
    assert np.allclose(total, 1)
    assert all((p >= 0).all() for p in found.values())


def test_ten_thousand_tasks_take_seconds():
    world = World((0.0, 2.0), tasks=10_000, k=1)
    assert len(suspects(world.results)) > 100

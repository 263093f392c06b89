"""How often the detectors are right: on rollouts of real models, of which some were made to fail.

Whatever a detector names that was not planted counts as false, also where nature planted it. The one exception are
recorded outputs on whose marks two verifiers differ: these count neither way.
"""

import asyncio
import dataclasses
import itertools
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

from msgspec import structs

from assay.benchmark.catalog import load
from assay.collect.run import RunPlan, collect_run
from assay.config import load_suite
from assay.fidelity.detectors import find
from assay.fidelity.detectors.suspects import suspects
from assay.fidelity.results.results import Results, of_rollouts
from assay.store import read_rollouts
from assay.types import Rollout, Task
from studies.plants import CALCULATOR, LOOK_ALIKES, PLANTS, Variant, natural
from studies.row import UNCLAIMED, Row, at_least, share

EACH = 25
"""Rollouts of each plant and each look-alike."""
WRONG_LABELS, TOP = 0.02, 0.04
BENCHMARK = load("arithmetic")
TASKS = list(BENCHMARK.environment.tasks())


class Author(NamedTuple):
    """Real outputs in which failures are planted."""

    tasks: list[Task]
    """Their gold answers are whole numbers where failures are planted."""
    rollouts: dict[str, list[Rollout]]
    """By model."""
    disputed: frozenset[tuple[str, str, int]] = frozenset()
    """(model, task, repeat) of the rollouts on whose marks two verifiers differ."""


def runs(folder: Path, repeats: int = 2) -> dict[str, list[Rollout]]:
    """Returns the rollouts of the embedded models, by model."""
    found: dict[str, list[Rollout]] = {}
    for name, member in load_suite("embedded").models.items():
        place = folder / name
        plan = RunPlan.of(BENCHMARK, name=name, server=member.server(), folder=place, repeats=repeats)
        asyncio.run(collect_run(plan))
        found[name] = list(read_rollouts(place))
    return found


def detectors(trials: int) -> Iterator[Row]:
    """Precision and recall of each detector on 1,000 rollouts, and where wrong labels stand in the ranking of tasks."""
    with tempfile.TemporaryDirectory() as folder:
        rollouts = runs(Path(folder))
    yield from recall_rows(Author(TASKS, rollouts))
    yield from labels(rollouts, max(5, trials // 80))


def recall_rows(author: Author, seed: int = 0, count: int = 1000) -> Iterator[Row]:
    """Two lines a detector: how many that it names were planted, how many that were planted it names; then overall."""
    named: defaultdict[str, list[bool]] = defaultdict(list)
    caught: defaultdict[str, list[bool]] = defaultdict(list)
    tasks = [structs.replace(task, tools=[CALCULATOR]) for task in author.tasks]
    for changes in plant(author, tasks, seed, count):
        seen: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
        for finding in find("model", tasks, [rollout for change in changes for rollout in change.rollouts]):
            for spotted in finding.spotted if finding.detector != "rows missing" else ():  # only some were drawn
                seen[spotted.rollout.task, spotted.rollout.repeat].add(finding.detector)
        for change in changes:
            spotted = seen[change.rollouts[0].key]
            for detector in spotted - change.may:
                named[detector].append(detector in change.shows)
            for detector in change.shows:
                caught[detector].append(detector in spotted)
    for detector in sorted(named.keys() | caught.keys()):
        if named[detector]:
            yield share(f"{detector}: planted, of those named", named[detector], at_least(0.95))
        if caught[detector]:
            yield share(f"{detector}: named, of those planted", caught[detector], at_least(0.9))
    yield share("all detectors: planted, of those named", [*itertools.chain(*named.values())], at_least(0.95))
    yield share("all detectors: named, of those planted", [*itertools.chain(*caught.values())], at_least(0.9))


def plant(author: Author, tasks: Sequence[Task], seed: int, count: int) -> Iterator[list[Variant]]:
    """For each model an equal part of `count` of its rollouts, drawn by chance: some changed, the rest as they are."""
    rng = Random(seed)
    by_id = {task.id: task for task in tasks}
    todo = [transform for transform in (*PLANTS, *LOOK_ALIKES) for _ in range(EACH)]
    rng.shuffle(todo)
    for number, (model, attempts) in enumerate(author.rollouts.items()):
        sound = [one for one in attempts if (model, *one.key) not in author.disputed]
        drawn = rng.sample(sorted(sound, key=lambda rollout: rollout.key), count // len(author.rollouts))
        mine = todo[number :: len(author.rollouts)]
        changed = [change(rollout, by_id[rollout.task], rng) for change, rollout in zip(mine, drawn, strict=False)]
        yield changed + [natural(rollout) for rollout in drawn[len(changed) :]]


def labels(rollouts: Mapping[str, Sequence[Rollout]], trials: int) -> Iterator[Row]:
    """How many of planted wrong labels (2 % of the tasks) are in the top 4 % of the ranking."""
    every = {name: of_rollouts(TASKS, attempts) for name, attempts in rollouts.items()}
    weak = {name: results for name, results in every.items() if "thinking" not in name}
    for what, models, claim in (("five models", every, at_least(0.8)), ("the three weakest", weak, UNCLAIMED)):
        hits: list[bool] = []
        for trial in range(trials):
            wrong = wrong_labels(Random(trial))
            ranked = suspects({name: relabel(results, wrong) for name, results in models.items()})
            top = {task.task for task in ranked[: round(TOP * len(TASKS))]}
            hits += [task in top for task in wrong]
        yield share(f"wrong labels in the top 4 %: {what}", hits, claim)


def wrong_labels(rng: Random) -> dict[str, str]:
    """Wrong gold answers for some tasks, as slips of the pen make them."""
    drawn = rng.sample(TASKS, round(WRONG_LABELS * len(TASKS)))
    return {task.id: str(int(task.gold or 0) + rng.choice([-10, -2, -1, 1, 2, 9, 10, 100])) for task in drawn}


def relabel(results: Results, wrong: Mapping[str, str]) -> Results:
    """Returns the results as they are where some tasks have these gold answers."""
    tasks = [structs.replace(task, gold=wrong.get(task.id, task.gold)) for task in results.tasks]
    cells = [
        structs.replace(cell, reward=float(cell.answer == tasks[cell.task].gold))
        if tasks[cell.task].id in wrong and cell.reward is not None
        else cell
        for cell in results.cells
    ]
    rewards_TK = results.rewards_TK.copy()
    for cell in cells:
        if cell.reward is not None:
            rewards_TK[cell.task, cell.repeat] = cell.reward
    return dataclasses.replace(results, tasks=tasks, rewards_TK=rewards_TK, cells=cells)

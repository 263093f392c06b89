"""Which rollouts of a profile have to be read: a random sample of all, and some of each model.

The order is that of a hash of what was asked and answered. Rewards are not in it, so that a verifier that was mended
changes no draw, and new repeats only come in between.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import NamedTuple

from assay.digest import prompt_digest, task_digest
from assay.fidelity.results.columns import Cell
from assay.fidelity.results.results import Results
from assay.fidelity.review.marks import Key, content_of
from assay.types import Task

PASSING = 5
"""Passing rollouts of each model that are read, the main sample counted in."""
FEWEST, MOST = 8, 20
"""The same of failing ones, between which their number follows from the model's score."""
MISREAD, SEEN = 0.1, 0.95
"""If this share of a model's right answers is misread, its failing rollouts show one with this probability."""
LONG = 8000
"""Output tokens of a rollout, on average, above which fewer are read."""


class Look(NamedTuple):
    """A number of rollouts after which the sample may decide, and the chance to err there, a side."""

    rollouts: int
    alpha: float


class Rule(NamedTuple):
    """How many rollouts are read, and which share at fault is ruled out by them."""

    looks: tuple[Look, ...]
    limit: float


SHORT_RULE = Rule((Look(72, 0.025), Look(140, 0.0125), Look(280, 0.0125)), 0.05)
LONG_RULE = Rule((Look(36, 0.025), Look(70, 0.0125), Look(140, 0.0125)), 0.10)


@dataclass(frozen=True)
class Spot:
    """A rollout that may be read, by its figures alone."""

    model: str
    task: Task
    cell: Cell
    asked: str
    """Digest of what the model was asked."""

    @property
    def key(self) -> Key:
        return self.task.id, self.cell.repeat

    @property
    def failing(self) -> bool:
        """Whether it has less than full marks."""
        return self.cell.reward is None or self.cell.reward < 1

    @cached_property
    def content(self) -> str:
        return content_of(self.asked, self.cell.text)

    @cached_property
    def task_digest(self) -> str:
        return task_digest(self.task)


@dataclass(frozen=True)
class Population:
    """All rollouts with a score, in the order in which they are drawn."""

    spots: Sequence[Spot]

    @cached_property
    def rule(self) -> Rule:
        tokens = sum(spot.cell.output_tokens for spot in self.spots)
        return LONG_RULE if tokens > LONG * len(self.spots) else SHORT_RULE

    def quota(self, declared: Collection[str]) -> list[Spot]:
        """Returns the first failing and the first passing rollouts of each model, without those of declared tasks."""
        open_ = [spot for spot in self.spots if spot.task.id not in declared]
        made = Counter((spot.model, spot.failing) for spot in open_)
        room = {
            (model, failing): failing_quota(count, made[model, False]) if failing else PASSING
            for (model, failing), count in made.items()
        }
        chosen: list[Spot] = []
        for spot in open_:
            group = spot.model, spot.failing
            if room[group]:
                room[group] -= 1
                chosen.append(spot)
        return chosen


def failing_quota(failing: int, passing: int) -> int:
    """Returns how many failing rollouts of a model are read: more of a weak one, of whose failures few are misread."""
    misread = min(1.0, MISREAD / (1 - MISREAD) * passing / max(1, failing))
    if misread == 1:
        return FEWEST
    enough = math.log1p(-SEEN) / math.log1p(-misread) if misread else math.inf
    return math.ceil(min(MOST, max(FEWEST, enough)))


def population(results: Mapping[str, Results]) -> Population:
    """Returns the rollouts of these models."""
    ordered: list[tuple[bytes, Spot]] = []
    for name, found in results.items():
        asked = [prompt_digest(task) for task in found.tasks]
        begun = [
            blake2b(f"{prompt}\0{name}\0{task.id}\0".encode(), digest_size=16)
            for prompt, task in zip(asked, found.tasks, strict=True)
        ]
        for cell in found.scored:
            place = begun[cell.task].copy()
            place.update(f"{cell.repeat}\0{cell.text}".encode())
            ordered.append((place.digest(), Spot(name, found.tasks[cell.task], cell, asked[cell.task])))
    return Population([spot for _, spot in sorted(ordered, key=lambda pair: pair[0])])


def union(*groups: Iterable[Spot]) -> list[Spot]:
    """Returns the spots of all groups, each once, in their order."""
    return list({(spot.model, *spot.key): spot for group in groups for spot in group}.values())

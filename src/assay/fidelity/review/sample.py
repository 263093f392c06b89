"""The rollouts of a profile that have to be read: a random sample of all, and some of each model.

The order is that of a hash of prompts and answers, without rewards, so that a mended verifier does not change it, and
new repeats are only inserted.
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
"""The number of passing rollouts of each model to read, including the main sample."""
FEWEST, MOST = 8, 20
"""The range of the number of failing ones, which depends on the model's score."""
MISREAD, SEEN = 0.1, 0.95
"""If this share of a model's right answers is misread, the failing rollouts to read show one with this probability."""
LONG = 8000
"""The average output tokens of a rollout above which fewer are read."""


class Look(NamedTuple):
    """A number of rollouts after which the sample may decide, and the one-sided error there."""

    rollouts: int
    alpha: float


class Rule(NamedTuple):
    """The looks at the sample, and the share at fault that they have to rule out."""

    looks: tuple[Look, ...]
    limit: float


SHORT_RULE = Rule((Look(72, 0.025), Look(140, 0.0125), Look(280, 0.0125)), 0.05)
LONG_RULE = Rule((Look(36, 0.025), Look(70, 0.0125), Look(140, 0.0125)), 0.10)


@dataclass(frozen=True)
class Spot:
    """The figures of a rollout that may be read."""

    model: str
    task: Task
    cell: Cell
    asked: str
    """Digest of the prompt."""

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
    """Returns how many failing rollouts of a model to read: more for a weak one, few of whose failures are misread."""
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
    """Returns the spots of all groups, each once, in order."""
    return list({(spot.model, *spot.key): spot for group in groups for spot in group}.values())

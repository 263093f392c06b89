"""Faults of a benchmark or of an endpoint, put into simulated rollouts that were sound."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from assay.fidelity.forecast.simulation import Rollouts

Bools = NDArray[np.bool_]
Generator = np.random.Generator


@dataclass(frozen=True)
class Runs:
    """A profile's rollouts, and which of them have a reward that a careful reader would not give."""

    rollouts: dict[str, Rollouts]
    wrong: dict[str, Bools]
    published: float = 0.0
    """By how much the published scores are higher than the benchmark's true ones."""

    @classmethod
    def sound(cls, rollouts: dict[str, Rollouts]) -> "Runs":
        """Returns a profile without a fault."""
        return cls(rollouts, {name: np.zeros(one.rewards_TK.shape, np.bool_) for name, one in rollouts.items()})

    def judged(self, name: str, rewards_TK: NDArray[np.float64], **changes: NDArray[np.bool_]) -> "Runs":
        """Returns the profile with other rewards of one model, which are wrong where they differ."""
        before = self.rollouts[name]
        differ_TK = (rewards_TK != before.rewards_TK) & ~np.isnan(before.rewards_TK)
        after = replace(before, rewards_TK=rewards_TK, **changes)
        return replace(self, rollouts={**self.rollouts, name: after}, wrong={**self.wrong, name: differ_TK})

    def run_again(self, name: str, after: Rollouts) -> "Runs":
        """Returns the profile with other rollouts of one model, whose rewards are right."""
        return replace(self, rollouts={**self.rollouts, name: after})


Fault = Callable[[Runs, Generator], Runs]


def wrong_labels(runs: Runs, generator: Generator) -> Runs:
    """5 % of the tasks have a wrong reference answer: who solves them gets nothing."""
    tasks = len(next(iter(runs.rollouts.values())).rewards_TK)
    wrong_T = np.zeros(tasks, np.bool_)
    wrong_T[generator.choice(tasks, max(1, round(0.05 * tasks)), replace=False)] = True
    for name, one in runs.rollouts.items():
        runs = runs.judged(name, np.where(wrong_T[:, None] & ~np.isnan(one.rewards_TK), 0.0, one.rewards_TK))
    return runs


def drop_a_model(runs: Runs, generator: Generator) -> Runs:
    """The parser finds no answer in 10 % of one model's outputs."""
    name, one = _one(runs, generator)
    hit_TK = (generator.random(one.rewards_TK.shape) < 0.1) & ~np.isnan(one.rewards_TK)
    return runs.judged(name, np.where(hit_TK, 0.0, one.rewards_TK), silent_TK=one.silent_TK | hit_TK)


def misread(runs: Runs, generator: Generator) -> Runs:
    """The parser reads something else than the answer in 10 % of one model's outputs."""
    name, one = _one(runs, generator)
    hit_TK = (generator.random(one.rewards_TK.shape) < 0.1) & ~np.isnan(one.rewards_TK)
    return runs.judged(name, np.where(hit_TK, 0.0, one.rewards_TK))


def cut(runs: Runs, generator: Generator) -> Runs:
    """15 % of one thinking model's outputs reach the token cap."""
    name, one = _one(runs, generator, "thinking")
    hit_TK = (generator.random(one.rewards_TK.shape) < 0.15) & ~np.isnan(one.rewards_TK)
    after = replace(
        one,
        rewards_TK=np.where(hit_TK, 0.0, one.rewards_TK),
        capped_TK=one.capped_TK | hit_TK,
        silent_TK=one.silent_TK | hit_TK,
    )
    return runs.run_again(name, after)


def repeat_answers(share: float) -> Fault:
    """Returns the fault of a server that repeats its first output for a share of the tasks, of all its models."""

    def apply(made: Runs, generator: Generator) -> Runs:
        tasks = len(next(iter(made.rollouts.values())).rewards_TK)
        hit_T1 = (generator.permutation(tasks) < share * tasks)[:, None]
        for name in _ran(made):
            one = made.rollouts[name]
            made = made.run_again(name, _repeat(one, hit_T1))
        return made

    return apply


def lock_the_seed(runs: Runs, generator: Generator) -> Runs:
    """A server samples with one seed: all its models score the same at each repeat, in other words."""
    for name in _ran(runs):
        one = runs.rollouts[name]
        runs = runs.run_again(name, replace(_repeat(one, True), texts_TK=one.texts_TK))
    return runs


def other_score(runs: Runs, generator: Generator) -> Runs:
    """The published scores are aggregated otherwise: 4 points off, of all models alike."""
    return replace(runs, published=0.04)


def _repeat(one: Rollouts, hit_T1: Bools | bool) -> Rollouts:
    """The rollouts, those of some tasks being the first one each time."""
    return Rollouts(
        np.where(hit_T1, one.rewards_TK[:, :1], one.rewards_TK),
        np.where(hit_T1, one.capped_TK[:, :1], one.capped_TK),
        np.where(hit_T1, one.silent_TK[:, :1], one.silent_TK),
        np.where(hit_T1, one.texts_TK[:, :1], one.texts_TK),
        one.output_tokens,
        one.rates_T,
    )


def _one(runs: Runs, generator: Generator, kind: str = "") -> tuple[str, Rollouts]:
    """One of the models, of those with this in their name."""
    names = [name for name in runs.rollouts if kind in name]
    name = names[generator.integers(len(names))]
    return name, runs.rollouts[name]


def _ran(runs: Runs) -> list[str]:
    """The models of one server."""
    return [name for name in runs.rollouts if name.startswith("qwen")]

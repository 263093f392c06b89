"""Simulates a sound benchmark's rollouts: the figures that gates use, as arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from assay.config import Member
from assay.fidelity.forecast.expectation import Expectation
from assay.fidelity.forecast.rates import solve_rates
from assay.fidelity.results.columns import Cell
from assay.fidelity.results.contender import Contender
from assay.fidelity.results.results import Results
from assay.score import ScoreRule
from assay.stats.sample import Layout
from assay.types import Task

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Generator = np.random.Generator


@dataclass(frozen=True, slots=True)
class Rollouts:
    """One model's rollouts, [tasks, repeats] each."""

    rewards_TK: Floats
    """NaN if a rollout failed."""
    capped_TK: Bools
    """Whether it reached the token cap."""
    silent_TK: Bools
    """Whether it has no answer."""
    texts_TK: NDArray[np.int64]
    """A number for each text: copies have the same one."""
    output_tokens: float
    """Output tokens of each rollout."""
    rates_T: Floats
    """How often the model solves each task."""


class SimulatedResults(Results):
    """Results whose figures are in arrays, without a cell for each rollout, because there may be millions."""

    made: Rollouts

    @property
    def owed(self) -> int:
        return 0

    @cached_property
    def scored(self) -> list[Cell]:
        """One cell if anything has a score, because gates only need to know that."""
        cell = Cell(task=0, repeat=0, reward=0.0, answer="", stop="completed", output_tokens=1, text=0)
        return [] if np.isnan(self.rewards_TK).all() else [cell]

    @cached_property
    def texts_KT(self) -> NDArray[np.int64]:
        return np.where(np.isnan(self.rewards_TK), -1, self.made.texts_TK).T

    def figures_TK(self, metric: str) -> Floats:
        if metric == "score":
            return self.rewards_TK
        failed_TK = np.isnan(self.rewards_TK)
        if metric == "failures":
            return failed_TK.astype(np.float64)
        if metric == "output_tokens":
            return np.where(failed_TK, np.nan, self.made.output_tokens)
        happened_TK = {"token_cap": self.made.capped_TK, "no_answer": self.made.silent_TK}[metric]
        return np.where(failed_TK, np.nan, happened_TK)


def simulate(
    generator: Generator, expected: Mapping[str, Expectation], tasks: int, repeats: Mapping[str, int]
) -> dict[str, Rollouts]:
    """Returns the rollouts of each model on tasks whose solve rates are drawn first."""
    members = list(expected.values())
    rates_MT = solve_rates(generator, [one.score for one in members], tasks, [one.spread for one in members])
    return {
        name: simulate_model(generator, rates_T, repeats[name], one)
        for (name, one), rates_T in zip(expected.items(), rates_MT, strict=True)
    }


def simulate_model(generator: Generator, rates_T: Floats, repeats: int, expected: Expectation) -> Rollouts:
    """Returns one model's rollouts. Those at the token cap or without an answer score 0."""
    shape, rates = (len(rates_T), repeats), expected.rates
    rewards_TK = draw_rewards(generator, rates_T, repeats)
    unsolved = max(1e-9, 1 - float(rates_T.mean()))
    luck_TK = np.where(rewards_TK == 0, generator.random(shape) * unsolved, 1.0)
    capped_TK = luck_TK < rates.capped
    silent_TK = luck_TK < rates.capped + rates.silent
    rewards_TK[generator.random(shape) < rates.failed] = np.nan
    texts_TK = np.arange(rewards_TK.size).reshape(shape)
    return Rollouts(rewards_TK, capped_TK, silent_TK, texts_TK, expected.output_tokens, rates_T)


def draw_rewards(generator: Generator, rates_T: Floats, repeats: int) -> Floats:
    """Returns rewards of 0 and 1, [tasks, repeats], at these rates."""
    return (generator.random((len(rates_T), repeats)) < rates_T[:, None]).astype(np.float64)


def contender(
    name: str, member: Member, tasks: list[Task], made: Rollouts, score: ScoreRule, layout: Layout
) -> Contender:
    """Returns a model with these rollouts, as the gates see it."""
    results = SimulatedResults(tasks, made.rewards_TK, [], {}, 0.0, score=score)
    # What is the same for all models and profiles is computed once.
    vars(results).update(made=made, layout=layout)
    return Contender(name, member.role, member.kind, member.tier, results)

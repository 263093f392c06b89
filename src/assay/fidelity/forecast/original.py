"""Simulates the original code's runs, parity with them, and the published scores of a sound benchmark."""

import math
from collections.abc import Mapping
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from assay.fidelity.forecast.expectation import Expectation
from assay.fidelity.forecast.rates import solve_rates_of
from assay.fidelity.forecast.simulation import Generator, Rollouts, draw_rewards
from assay.fidelity.original.published import Published, PublishedScore, planned_margins
from assay.fidelity.schema.evidence import (
    OriginalSource,
    Parity,
    Reproduced,
    Rung,
    RungName,
    RungResult,
    SampleLook,
)
from assay.stats.compare import equivalence, repeats_to_decide
from assay.stats.published import fewest_repeats, reproduction
from assay.stats.sample import sample

LOOKS = 2
"""The most looks at fresh samples: a second one, with more repeats, if the first does not decide."""


def margins(expected: Mapping[str, Expectation], tasks: int, repeats: Mapping[str, int]) -> dict[str, float]:
    """Returns the margins that a profile registers before its runs."""
    scores = [one.published for one in expected.values() if one.published]
    members = [(one.published and one.published.model, repeats[name]) for name, one in expected.items()]
    return planned_margins(Published(original=True, scores=scores), tasks, tasks, members)


def cheapest(expected: Mapping[str, Expectation], tasks: int, planned: Mapping[str, int]) -> tuple[str, int]:
    """Returns the model whose parity needs the fewest tokens in addition to the planned repeats, and its repeats."""
    margin = margins(expected, tasks, planned)["parity"]
    repeats: dict[str, int] = {}
    for name, one in expected.items():
        rates_N = solve_rates_of(one.score, one.spread)
        repeats[name] = repeats_to_decide(2 * float((rates_N * (1 - rates_N)).mean()), tasks, margin)

    def tokens(name: str) -> tuple[float, float]:
        a_rollout = expected[name].input_tokens + expected[name].output_tokens
        return a_rollout * max(0, repeats[name] - planned[name]), a_rollout * repeats[name]

    name = min(expected, key=tokens)
    return name, repeats[name]


def parity(generator: Generator, made: Rollouts, margin: float) -> Parity:
    """Returns the parity of a model's rollouts with as many of the original code, which has the same solve rates.

    If they do not decide, both sides get the repeats that the first look requires, and there is a second look.
    """
    here_TK, there_TK = made.rewards_TK, draw_rewards(generator, made.rates_T, made.rewards_TK.shape[1])
    got = equivalence(sample(here_TK), sample(there_TK), margin)
    looks, ses = 1, [got.se]
    while got.verdict == "inconclusive" and looks < LOOKS and got.k_to_decide > here_TK.shape[1]:
        more = got.k_to_decide - here_TK.shape[1]
        here_TK, there_TK = (
            np.hstack([side_TK, draw_rewards(generator, made.rates_T, more)]) for side_TK in (here_TK, there_TK)
        )
        got = equivalence(sample(here_TK), sample(there_TK), margin, ses)
        looks, ses = looks + 1, [*ses, got.se]
    names: list[tuple[RungName, RungResult]] = [("verifiers", "identical"), ("samples", got.verdict)]
    reason = f"The margin is {100 * margin:g} points, with {here_TK.shape[1]} repeats a side."
    return Parity(
        benchmark="",
        version="",
        tasks_digest="",
        code="",
        model=None,
        reference=OriginalSource(file="", sha256="", rows=0, tasks=0, repeats=0, score=0.0),
        margin=margin,
        verdict=got.verdict,
        reason=reason,
        ladder=[Rung(name=name, verdict=verdict, reason=reason) for name, verdict in names],
        looks=[SampleLook(at="", difference=got.difference, se=se, repeats_here=0, repeats_there=0) for se in ses],
        at="",
    )


def compare_published(
    generator: Generator,
    expected: Mapping[str, Expectation],
    made: Mapping[str, Rollouts],
    margin: float,
    *,
    away: float = 0.0,
) -> list[Reproduced]:
    """Returns the comparison of published scores with the original code's runs and with those here.

    The published scores are drawn from the same solve rates, `away` from where they should be.
    """
    found: list[Reproduced] = []
    for name, one in expected.items():
        stated = one.published
        if not is_sampled(stated):
            continue
        rates_T, repeats_here = made[name].rates_T, made[name].rewards_TK.shape[1]
        score, repeats = _published_score(generator, rates_T, stated, away)
        again_TK = draw_rewards(generator, rates_T, repeats_here)
        there, here = (
            reproduction(sample(rewards_TK), score, margin, unit=stated.step, repeats=repeats)
            for rewards_TK in (again_TK, made[name].rewards_TK)
        )
        found.append(
            Reproduced(
                model=name,
                published_as=stated.model,
                score=score,
                unit=stated.step,
                subset=stated.scope,
                settings={},
                source=stated.source,
                date=stated.date,
                verdict=there.verdict,
                reason="",
                reference_score=score + there.difference,
                reference_se=there.se,
                here_score=score + here.difference,
                here_se=here.se,
                here_verdict=here.verdict,
                margin=margin,
                repeats=repeats,
                repeats_stated=stated.repeats is not None,
            )
        )
    return found


def is_sampled(stated: PublishedScore | None) -> TypeGuard[PublishedScore]:
    """Returns whether there is a published score of the declared kind whose outputs are not published."""
    return stated is not None and not stated.has_recorded_outputs and stated.aggregation is None


def _published_score(
    generator: Generator, rates_T: NDArray[np.float64], stated: PublishedScore, away: float
) -> tuple[float, int]:
    """Returns a published score as it is printed, and the repeats behind it."""
    tasks = stated.tasks or rates_T.size
    repeats = stated.repeats or fewest_repeats(stated.share, stated.step, tasks)
    noise = math.sqrt(float((rates_T * (1 - rates_T)).mean()) / (tasks * repeats))
    score = float(rates_T.mean()) + away + noise * float(generator.standard_normal())
    return min(1.0, max(0.0, round(score / stated.step) * stated.step)), repeats

"""The original code's runs and the published scores of a sound benchmark, simulated."""

import math
from collections.abc import Mapping
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from assay.fidelity.forecast.expected import Expected
from assay.fidelity.forecast.simulated import Generator, Rollouts
from assay.fidelity.original.published import Published, PublishedScore, planned_margins
from assay.fidelity.schema.evidence import Reproduced
from assay.stats.published import fewest_repeats, reproduction
from assay.stats.sample import sample


def margins(expected: Mapping[str, Expected], tasks: int, repeats: Mapping[str, int]) -> dict[str, float]:
    """Returns the margins that are registered before the runs."""
    known = [(one.published, repeats[name]) for name, one in expected.items() if one.published]
    if not known:
        return {}
    stated = Published(original=True, scores=[score for score, _ in known])
    return planned_margins(stated, tasks, tasks, [(score.model, count) for score, count in known])


def reproduced(
    generator: Generator,
    expected: Mapping[str, Expected],
    made: Mapping[str, Rollouts],
    margin: float,
    *,
    away: float = 0.0,
) -> list[Reproduced]:
    """Returns how published scores compare with runs of the original code, of as many repeats, and with those here.

    The published scores are drawn from the same solve rates, `away` from where they should be.
    """
    found: list[Reproduced] = []
    for name, one in expected.items():
        stated = one.published
        if not is_sampled(stated):
            continue
        rates_T, shape = made[name].rates_T, made[name].rewards_TK.shape
        score, repeats = _published(generator, rates_T, stated, away)
        again_TK = (generator.random(shape) < rates_T[:, None]).astype(np.float64)
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
    """Whether there is a published score, of the declared kind, whose outputs are not published."""
    return stated is not None and not stated.recorded and stated.aggregation is None


def _published(
    generator: Generator, rates_T: NDArray[np.float64], stated: PublishedScore, away: float
) -> tuple[float, int]:
    """A published score as it is printed, and the repeats behind it."""
    tasks = stated.tasks or rates_T.size
    repeats = stated.repeats or fewest_repeats(stated.share, stated.step, tasks)
    noise = math.sqrt(float((rates_T * (1 - rates_T)).mean()) / (tasks * repeats))
    score = float(rates_T.mean()) + away + noise * float(generator.standard_normal())
    return min(1.0, max(0.0, round(score / stated.step) * stated.step)), repeats

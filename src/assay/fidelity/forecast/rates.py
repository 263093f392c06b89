"""Solve rates of simulated models on simulated tasks."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TASK_SD = 2.6
"""SD of the tasks' difficulty, on the logit scale of a solve rate."""
INTERACTION_SD = 1.5
"""SD of the interaction of model and task, on the same scale.

With these two, the covariance between two models' scores of a task is .072, .039, .019, .053 and .077 where the
recorded runs of 8 models on MATH level 5, 5 on CRUXEval, 6 on GSM8K, 7 on IFEval and 2 on MMLU-Pro have .084, .045,
.024, .051 and .068; and W is .51 of p (1 - p) at a score of 81 %, .59 at 92 %."""
SPREAD = float(np.hypot(TASK_SD, INTERACTION_SD))
"""SD of one model's solve rates over tasks, on the logit scale."""
_STEPS = 60
_NORMAL = np.random.default_rng(0).standard_normal(4000)


def expit(logits: Floats) -> Floats:
    """Returns 1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-np.clip(logits, -500, 500)))


def solve_rates(
    generator: np.random.Generator, scores_M: Sequence[float], tasks: int, spreads_M: Sequence[float] | None = None
) -> Floats:
    """Returns how often each model solves each task, [models, tasks]: each model's mean is its score exactly.

    The logit of a rate is the model's strength + the task's difficulty + the interaction of the two. `spreads_M` are
    the SDs of the last two together where something is known of a model.
    """
    spreads_M = [SPREAD] * len(scores_M) if spreads_M is None else spreads_M
    difficulty_T = generator.standard_normal(tasks) * TASK_SD / SPREAD
    own_MT = generator.standard_normal((len(scores_M), tasks)) * INTERACTION_SD / SPREAD
    hardness_MT = (difficulty_T + own_MT) * np.asarray(spreads_M)[:, None]
    scores_M1 = np.clip(np.asarray(scores_M, dtype=np.float64), 1e-4, 1 - 1e-4)[:, None]
    return expit(_strengths(hardness_MT, scores_M1) + hardness_MT)


def _strengths(hardness_MT: Floats, scores_M1: Floats) -> Floats:
    """Returns the strength of each model at which the mean of its rates is its score, by bisection."""
    low_M1, high_M1 = np.full_like(scores_M1, -60.0), np.full_like(scores_M1, 60.0)
    for _ in range(_STEPS if hardness_MT.shape[1] < 1000 else _STEPS // 2):
        middle_M1 = (low_M1 + high_M1) / 2
        below_M1 = expit(middle_M1 + hardness_MT).mean(axis=1, keepdims=True) < scores_M1
        low_M1, high_M1 = np.where(below_M1, middle_M1, low_M1), np.where(below_M1, high_M1, middle_M1)
    return (low_M1 + high_M1) / 2


def spread_of(score: float, within: float) -> float:
    """Returns the spread of a model's solve rates that gives this W, the mean variance within a task, at this score.

    None of W leaves rates of 0 and 1 alone, all of p (1 - p) leaves every rate the same.
    """
    low, high = 0.0, 30.0
    for _ in range(40):
        middle = (low + high) / 2
        rates_N = solve_rates_of(score, middle)
        low, high = (middle, high) if (rates_N * (1 - rates_N)).mean() > within else (low, middle)
    return (low + high) / 2


def solve_rates_of(score: float, spread: float) -> Floats:
    """Returns the solve rates of many tasks at this score and spread."""
    hardness_1T = (_NORMAL * spread)[None]
    return expit(_strengths(hardness_1T, np.array([[score]])) + hardness_1T)[0]

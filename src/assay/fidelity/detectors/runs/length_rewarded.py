"""Rewards that go with the length of outputs, among the repeats of a task."""

import math

import numpy as np
from numpy.typing import NDArray

from assay.fidelity.detectors.detector import RunDetector, RunEvidence
from assay.fidelity.detectors.runs.shared import FAR, FEWEST_TASKS, z_of
from assay.fidelity.results.results import Results

LEAST_CORRELATION = 0.3
TINY = 1e-18
"""A sum of squares below this is rounding: the values are all the same."""


def look(results: Results) -> RunEvidence | None:
    cells = [cell for cell in results.scored if cell.output_tokens and cell.stop != "token_cap"]
    task_N = np.array([cell.task for cell in cells], dtype=np.int64)
    lengths_N = np.log([cell.output_tokens for cell in cells])
    rewards_N = np.array([cell.reward for cell in cells], dtype=np.float64)
    x_N, y_N = _less_mean(lengths_N, task_N), _less_mean(rewards_N, task_N)
    xx_T, yy_T, xy_T = (np.bincount(task_N, weights) for weights in (x_N * x_N, y_N * y_N, x_N * y_N))
    telling_T = (xx_T > TINY) & (yy_T > TINY)
    products, xx, yy = xy_T[telling_T], xx_T[telling_T], yy_T[telling_T]
    if len(products) < FEWEST_TASKS:
        return None
    correlation = float(products.sum() / math.sqrt(xx.sum() * yy.sum()))
    z = z_of(products)
    if abs(correlation) < LEAST_CORRELATION or abs(z) < FAR:
        return None
    sign = math.copysign(1, correlation)
    fits_N = sign * x_N * y_N * telling_T[task_N]
    order: list[int] = np.argsort(-fits_N, kind="stable").tolist()
    ranked = [cells[place] for place in order if fits_N[place] > 0]
    examples = [(c.task, c.repeat, f"{c.output_tokens:,} tokens, reward {c.reward:g}") for c in ranked]
    way = "longer outputs of a task score higher" if sign > 0 else "longer outputs of a task score lower"
    what = f"fit the rule that {way} (r = {correlation:+.2f} within {len(products)} tasks, z = {z:+.1f})"
    return RunEvidence(examples=examples, of=int(telling_T[task_N].sum()), what=what)


def _less_mean(values_N: NDArray[np.float64], task_N: NDArray[np.int64]) -> NDArray[np.float64]:
    """The values less the mean of their task."""
    return values_N - (np.bincount(task_N, values_N) / np.maximum(np.bincount(task_N), 1))[task_N]


DETECTOR = RunDetector(
    name="reward against length",
    fault="unclear",
    description="Rewards that go with the length of outputs, among the repeats of a task.",
    meaning=(
        "If longer is better, a judge may prefer length. If longer is worse, the model may lose its way, or a "
        "hidden limit may cut it off. Read the longest and the shortest."
    ),
    look=look,
)

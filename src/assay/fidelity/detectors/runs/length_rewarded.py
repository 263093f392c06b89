"""Rewards that go with the length of outputs, among the repeats of a task."""

import math
from collections import defaultdict

import numpy as np

from assay.fidelity.detectors.detector import RunDetector, Seen
from assay.fidelity.detectors.runs.shared import FAR, FEWEST_TASKS, z_of
from assay.fidelity.results.results import Cell, Results

LEAST_CORRELATION = 0.3


def look(results: Results) -> Seen | None:
    """Rewards that go with length, among the repeats of the same task. Capped outputs are left out."""
    by_task: defaultdict[int, list[Cell]] = defaultdict(list)
    for cell in results.scored:
        if cell.output_tokens and cell.stop != "token_cap":
            by_task[cell.task].append(cell)
    pieces: list[tuple[float, float, float]] = []
    places: list[tuple[float, Cell]] = []
    for cells in by_task.values():
        lengths = np.log([cell.output_tokens for cell in cells])
        rewards = np.array([cell.reward for cell in cells], dtype=np.float64)
        x, y = lengths - lengths.mean(), rewards - rewards.mean()
        if x.any() and y.any():
            pieces.append((float(x @ y), float(x @ x), float(y @ y)))
            places += zip((x * y).tolist(), cells, strict=True)
    if len(pieces) < FEWEST_TASKS:
        return None
    products, xx, yy = np.array(pieces).T
    correlation = float(products.sum() / math.sqrt(xx.sum() * yy.sum()))
    z = z_of(products)
    if abs(correlation) < LEAST_CORRELATION or abs(z) < FAR:
        return None
    sign = math.copysign(1, correlation)
    telling = sorted(((sign * product, cell) for product, cell in places), key=lambda pair: -pair[0])
    shown = [
        (c.task, c.repeat, f"{c.output_tokens:,} tokens, reward {c.reward:g}") for product, c in telling if product > 0
    ]
    way = "longer outputs of a task score higher" if sign > 0 else "longer outputs of a task score lower"
    what = f"fit the rule that {way} (r = {correlation:+.2f} within {len(pieces)} tasks, z = {z:+.1f})"
    return Seen(shown=shown, of=len(places), what=what)


DETECTOR = RunDetector(
    name="reward against length",
    fault="unclear",
    description="Rewards that go with the length of outputs, among the repeats of a task.",
    meaning=(
        "Where longer is better, a judge may be taken in by length; where it is worse, the model may lose "
        "its way, or a limit cut it off unseen. Read the longest and the shortest."
    ),
    look=look,
)

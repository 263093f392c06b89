"""Code that several detectors of this folder share."""

import itertools
import math
from collections.abc import Iterable, Sequence
from string import ascii_uppercase

import numpy as np

from assay.fidelity.detectors.answers.reading import options_of
from assay.fidelity.results.results import Cell, Results

FEWEST_TASKS = 20
"""The fewest tasks that can show a tendency."""
FAR = 4.0
"""Standard errors from 0 that show a tendency. By chance: below 1 in 10,000."""
LEAST_EXCESS = 0.10
"""The least excess of a letter over chance, as a share."""

Wrong = tuple[int, list[str], str, list[Cell]]
"""(task's index, options, gold letter, wrong answers that are an option's letter)."""


def wrong_letters(results: Results) -> list[Wrong]:
    cells = sorted(results.scored, key=lambda cell: (cell.task, cell.repeat))
    found: list[Wrong] = []
    for index, group in itertools.groupby(cells, key=lambda cell: cell.task):
        options, gold = options_of(results.tasks[index]), results.tasks[index].gold or ""
        if options is None or len(options) < 3:
            continue
        letters = ascii_uppercase[: len(options)]
        wrong = [c for c in group if c.answer and len(c.answer) == 1 and c.answer in letters and c.answer != gold]
        if wrong:
            found.append((index, options, gold, wrong))
    return found


def excess(cells: Sequence[Cell], letter: str, options: Sequence[str]) -> float:
    """How much more often than by chance wrong answers choose a letter, among the wrong options."""
    return sum(cell.answer == letter for cell in cells) / len(cells) - 1 / (len(options) - 1)


def z_of(values: Iterable[float]) -> float:
    """Returns the distance of the mean from 0 in standard errors, for independent values."""
    array = np.asarray(values, dtype=np.float64)
    spread = math.sqrt(float((array**2).sum()))
    return float(array.sum()) / spread if spread else 0.0

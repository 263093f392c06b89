"""A letter that wrong answers choose more often than by chance."""

from string import ascii_uppercase

import numpy as np

from assay.fidelity.detectors.detector import RunDetector, RunEvidence
from assay.fidelity.detectors.runs.shared import FAR, FEWEST_TASKS, LEAST_EXCESS, excess, wrong_letters, z_of
from assay.fidelity.results.results import Results


def look(results: Results) -> RunEvidence | None:
    wrong = wrong_letters(results)
    found: dict[str, tuple[float, float]] = {}
    for letter in sorted({letter for _, options, _, _ in wrong for letter in ascii_uppercase[: len(options)]}):
        tasks = [
            excess(cells, letter, options)
            for _, options, gold, cells in wrong
            if letter != gold and letter in ascii_uppercase[: len(options)]
        ]
        if len(tasks) >= FEWEST_TASKS:
            found[letter] = float(np.mean(tasks)), z_of(np.array(tasks))
    letter, (mean, z) = max(found.items(), key=lambda item: item[1][1], default=("", (0.0, 0.0)))
    if z < FAR or mean < LEAST_EXCESS:
        return None
    cells = [(cell, gold) for _, _, gold, cells in wrong for cell in cells]
    examples = [(c.task, c.repeat, f"answered {letter}, gold {gold}") for c, gold in cells if c.answer == letter]
    what = f"with a wrong option chose {letter}: {mean:.0%} more of them than by chance (z = {z:.1f})"
    return RunEvidence(examples=examples, of=len(cells), what=what)


DETECTOR = RunDetector(
    name="option letters",
    fault="model",
    description="A letter that wrong answers choose more often than by chance.",
    meaning=(
        "A model that guesses prefers a letter. With shuffled options the score is fair; in the file's order it "
        "may not be."
    ),
    look=look,
)

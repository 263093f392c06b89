"""Wrong answers with the letter that the right option has in the data's file."""

from string import ascii_uppercase

import numpy as np

from assay.fidelity.detectors.detector import RunDetector, RunEvidence
from assay.fidelity.detectors.runs.shared import FAR, FEWEST_TASKS, LEAST_EXCESS, excess, wrong_letters, z_of
from assay.fidelity.results.results import Results


def look(results: Results) -> RunEvidence | None:
    wrong = [
        (published, options, cells)
        for index, options, gold, cells in wrong_letters(results)
        if (published := _published_letter(results, index, gold)) is not None and published != gold
    ]
    if len(wrong) < FEWEST_TASKS or len({published for published, _, _ in wrong}) < 2:
        return None  # if it is the same letter for all, a preference for that letter would look the same
    excesses = np.array([excess(cells, letter, options) for letter, options, cells in wrong])
    z = z_of(excesses)
    if z < FAR or excesses.mean() < LEAST_EXCESS:
        return None
    examples = [
        (c.task, c.repeat, f"answered {letter}, where the file has the right option")
        for letter, _, cells in wrong
        for c in cells
        if c.answer == letter
    ]
    share = f"{excesses.mean():+.0%} against chance, z = {z:.1f}"
    what = f"with a wrong option chose the file's letter of the right one ({share})"
    return RunEvidence(examples=examples, of=sum(len(cells) for _, _, cells in wrong), what=what)


def _published_letter(results: Results, index: int, gold: str) -> str | None:
    """Returns the letter of the right option in the file's order, if the task's data has an `order`."""
    order = results.tasks[index].data.get("order")
    place = ascii_uppercase.index(gold)
    if not isinstance(order, list) or len(order) <= place or not isinstance(order[place], int):  # pyright: ignore[reportUnknownArgumentType]
        return None
    return ascii_uppercase[order[place]]


DETECTOR = RunDetector(
    name="published letters",
    fault="task",
    description="Wrong answers with the letter that the right option has in the data's file.",
    meaning=(
        "The model seems to know the file and not the answers. Its score may come from memory: compare with new tasks."
    ),
    look=look,
)

"""Rollouts that have the gold answer in the message and no marks."""

from assay.fidelity.detectors.answers.reading import gold_elsewhere, lenient
from assay.fidelity.detectors.detector import RolloutDetector, ScoredRollout
from assay.fidelity.detectors.texts.patterns import excerpt


def _spot(one: ScoredRollout) -> str | None:
    if one.score.reward > 0:
        return None
    place = gold_elsewhere(one.text, one.task, one.score.answer)
    if place is None or ((reading := lenient(one.text, one.task)) and reading.right):
        return None
    read = "nothing" if one.score.answer is None else repr(excerpt(one.score.answer, 40))
    return f"gold {excerpt(one.task.gold or '', 40)!r} in {excerpt(place)!r}; the verifier read {read}"


DETECTOR = RolloutDetector(
    name="gold in the text",
    fault="verifier",
    what="have the gold answer in the message and no marks",
    meaning="The verifier did not read that place, or the model mentioned the answer and chose another. Read some.",
    spot=_spot,
)

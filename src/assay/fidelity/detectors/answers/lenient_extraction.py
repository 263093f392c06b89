"""Rollouts that get another result by a lenient reading of the message."""

from assay.fidelity.detectors.answers.passing import stated_answers
from assay.fidelity.detectors.answers.reading import clearly_wrong, is_plain_answer, lenient
from assay.fidelity.detectors.detector import RolloutDetector, ScoredRollout
from assay.fidelity.detectors.texts.patterns import excerpt


def _spot(one: ScoredRollout) -> str | None:
    if 0 < one.score.reward < 1:
        return None
    if (one.score.answer == one.task.gold) == (one.score.reward >= 1) and is_plain_answer(one.text, one.score.answer):
        return None
    reading = lenient(one.text, one.task)
    if reading is None or len(stated_answers(one.text, one.task)) > 1:
        return None
    strict = "none" if one.score.answer is None else repr(excerpt(one.score.answer, 40))
    gold = repr(excerpt(one.task.gold or "", 40))
    readings = f"read leniently {excerpt(reading.answer, 40)!r}, by the verifier {strict}, gold {gold}"
    if one.score.reward <= 0 and reading.right:
        return f"no marks; {readings}"
    return f"full marks; {readings}" if one.score.reward >= 1 and clearly_wrong(reading, one.task) else None


DETECTOR = RolloutDetector(
    name="lenient extraction",
    fault="verifier",
    what="get another result by a lenient reading of the message",
    meaning=(
        "Without marks, a right answer was rejected for its format; with full marks, a wrong final answer was "
        "accepted. Correct the verifier or state the format, then rescore."
    ),
    spot=_spot,
)

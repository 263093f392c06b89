"""Rollouts that got full marks for an answer of another form than the gold answer."""

from assay.fidelity.detectors.answers.passing import other_form
from assay.fidelity.detectors.detector import RolloutDetector, ScoredRollout
from assay.fidelity.detectors.texts.patterns import excerpt


def _spot(one: ScoredRollout) -> str | None:
    if one.score.reward < 1 or (form := other_form(one.score.answer, one.task)) is None:
        return None
    read = "" if one.score.answer is None else f" {excerpt(one.score.answer, 60)!r}"
    return f"full marks; the verifier read{read} ({form}), gold {excerpt(one.task.gold or '', 40)!r}"


DETECTOR = RolloutDetector(
    name="answer of another form",
    fault="verifier",
    what="got full marks for an answer of another form than the gold answer",
    meaning=(
        "The verifier may look at a part of the answer, or accept anything: a list, a formula or a whole text where "
        "the gold answer is a number. Read some, and correct the verifier or the gold answer."
    ),
    needs_answers=True,
    spot=_spot,
)

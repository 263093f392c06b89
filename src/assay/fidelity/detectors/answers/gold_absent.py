"""Rollouts that got full marks without the gold answer in any text."""

from assay.fidelity.detectors.answers.passing import stands
from assay.fidelity.detectors.detector import RolloutDetector, ScoredRollout
from assay.fidelity.detectors.texts.patterns import excerpt


def _spot(one: ScoredRollout) -> str | None:
    if one.score.reward < 1 or not one.task.gold:
        return None
    if stands((*one.texts, *(call.arguments for call in one.calls)), one.task, one.score.answer):
        return None
    return f"full marks; gold {excerpt(one.task.gold, 40)!r} is nowhere in: {excerpt(one.text)}"


DETECTOR = RolloutDetector(
    name="gold nowhere",
    fault="verifier",
    what="got full marks without the gold answer in any text",
    meaning=(
        "The verifier may guess where it reads nothing, accept anything, or read what the model did not say. A judge "
        "may accept other words: read some."
    ),
    spot=_spot,
)

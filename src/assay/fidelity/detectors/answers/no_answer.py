"""Rollouts that ended with a message in which the verifier read no answer."""

from assay.fidelity.detectors.detector import RolloutDetector, ScoredRollout
from assay.fidelity.detectors.texts.patterns import declines, excerpt


def _spot(one: ScoredRollout) -> str | None:
    if one.score.answer is not None or one.score.reward > 0 or one.rollout.stop != "completed":
        return None
    return f"ends: {excerpt(one.text)}" if one.text.strip() and not declines(one.text) else None


DETECTOR = RolloutDetector(
    name="no answer found",
    fault="unclear",
    what="ended with a message in which the verifier read no answer",
    meaning=(
        "The model did not keep to the format, or the verifier reads too little: read some, and see whether "
        "the prompt says how to answer."
    ),
    needs_answers=True,
    spot=_spot,
)

"""Rollouts that declined the task."""

from assay.fidelity.detectors.detector import RolloutDetector, ScoredRollout
from assay.fidelity.detectors.texts.patterns import declines, excerpt


def _spot(one: ScoredRollout) -> str | None:
    if one.score.reward >= 1:
        return None
    if one.rollout.stop == "refused":
        return excerpt(one.refusal or one.text) or "the server withheld the answer (content filter)"
    return declines(one.text)


DETECTOR = RolloutDetector(
    name="refusal",
    fault="model",
    what="declined the task",
    meaning="They score as wrong answers. If the task is harmless, its wording may trigger a filter.",
    spot=_spot,
)

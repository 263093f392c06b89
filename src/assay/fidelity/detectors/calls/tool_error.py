"""Rollouts that were shown an error by a tool."""

from assay.fidelity.detectors.detector import RolloutDetector, ScoredRollout
from assay.fidelity.detectors.texts.patterns import excerpt, tells_error
from assay.types import FunctionCallOutput


def _spot(one: ScoredRollout) -> str | None:
    for turn in one.rollout.turns:
        for item in turn.input:
            if isinstance(item, FunctionCallOutput) and tells_error(item.text):
                return excerpt(item.text[:300])
    return None


DETECTOR = RolloutDetector(
    name="tool error",
    fault="unclear",
    what="were shown an error by a tool",
    meaning="A wrong call is the model's; a tool that can't do what it should is the environment's. Read some.",
    spot=_spot,
)

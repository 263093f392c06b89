"""Rollouts that got an error from a tool."""

from assay.fidelity.detectors.detector import RolloutDetector, ScoredRollout
from assay.fidelity.detectors.texts.patterns import begins_as_error, excerpt
from assay.types import FunctionCallOutput


def _spot(one: ScoredRollout) -> str | None:
    for turn in one.rollout.turns:
        for item in turn.input:
            if isinstance(item, FunctionCallOutput) and begins_as_error(item.text):
                return excerpt(item.text[:300])
    return None


DETECTOR = RolloutDetector(
    name="tool error",
    fault="unclear",
    what="got an error from a tool",
    meaning="A wrong call is the model's fault, a broken tool the environment's. Read some.",
    spot=_spot,
)

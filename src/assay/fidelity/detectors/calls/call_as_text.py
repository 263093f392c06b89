"""Rollouts that have a tool's call in the message as text, so that it wasn't carried out."""

from assay.fidelity.detectors.detector import RolloutDetector, ScoredRollout
from assay.fidelity.detectors.texts.patterns import excerpt, raw_call


def _spot(one: ScoredRollout) -> str | None:
    if not one.task.tools:
        return None
    for text in one.texts:
        if found := raw_call(text):
            return f"{found} in the message: {excerpt(text)}"
    return None


DETECTOR = RolloutDetector(
    name="tool call as text",
    fault="environment",
    what="have a tool's call in the message as text, so that it wasn't carried out",
    meaning="The server does not parse this model's calls: set its tool parser and run again.",
    spot=_spot,
)

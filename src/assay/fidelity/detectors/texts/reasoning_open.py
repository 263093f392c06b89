"""Rollouts that ended with reasoning and without a message."""

from assay.fidelity.detectors.detector import RolloutDetector, ScoredRollout
from assay.fidelity.detectors.texts.patterns import excerpt
from assay.types import FunctionCall


def _spot(one: ScoredRollout) -> str | None:
    ended = one.rollout.stop == "completed" and not one.text.strip() and not one.refusal
    if not ended or not one.reasoning.strip() or any(isinstance(item, FunctionCall) for item in one.last.output):
        return None
    return f"reasoning ends: {excerpt(one.reasoning)}"


DETECTOR = RolloutDetector(
    name="reasoning left open",
    fault="environment",
    what="ended with reasoning and without a message",
    meaning=(
        "The reasoning parser may have swallowed the answer, or the chat template opens a block that is "
        "never closed: look at the model server's `reasoning` setting."
    ),
    spot=_spot,
)

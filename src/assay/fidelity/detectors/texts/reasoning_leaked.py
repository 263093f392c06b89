"""Rollouts that have reasoning in the message."""

from assay.fidelity.detectors.detector import RolloutDetector, ScoredRollout
from assay.fidelity.detectors.texts.patterns import excerpt, leak

COPIED = 200
"""The length of reasoning from which a verbatim copy in the message counts."""


def _spot(one: ScoredRollout) -> str | None:
    for text, thought in zip(one.texts, one.reasonings, strict=True):
        if found := leak(text, one.prompt):
            return f"{found} in the message: {excerpt(text)}"
        reasoning = thought.strip()
        if len(reasoning) >= COPIED and reasoning in text:
            return f"the message repeats the reasoning: {excerpt(reasoning)}"
    return None


DETECTOR = RolloutDetector(
    name="reasoning leaked",
    fault="environment",
    what="have reasoning in the message",
    meaning=(
        "The verifier reads it as part of the answer. Set `reasoning` of the model server so that it splits the tags."
    ),
    spot=_spot,
)

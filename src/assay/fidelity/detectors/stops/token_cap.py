"""Rollouts that reached the token cap."""

from assay.fidelity.detectors.detector import RolloutDetector, ScoredRollout
from assay.fidelity.detectors.texts.patterns import excerpt


def _spot(one: ScoredRollout) -> str | None:
    if one.rollout.stop not in ("token_cap", "tokens"):
        return None
    tokens = sum(turn.response.usage.output_tokens for turn in one.rollout.turns)
    written = excerpt(one.text)
    return f"after {tokens:,} tokens: {written}" if written else f"after {tokens:,} tokens, before any message"


DETECTOR = RolloutDetector(
    name="token cap",
    fault="model",
    what="reached the token cap",
    meaning=(
        "The score is that of the text before the cap. If the cap is too low for the model, raise "
        "max_output_tokens and run again."
    ),
    spot=_spot,
)

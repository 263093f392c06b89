"""Rollouts that ended with nothing written."""

from assay.fidelity.detectors.detector import RolloutDetector, ScoredRollout


def _spot(one: ScoredRollout) -> str | None:
    if not one.rollout.turns:
        return None  # the agent asks no model, as a reference solution does
    if one.rollout.stop != "completed" or one.text.strip() or one.reasoning.strip() or one.refusal:
        return None
    if one.calls and one.score.reward >= 1:
        return None  # the work was done by calls, and nothing was left to say
    return f"{one.last.usage.output_tokens:,} tokens, no text" if one.last.usage.output_tokens else "no text"


DETECTOR = RolloutDetector(
    name="empty output",
    fault="environment",
    what="ended with nothing written",
    meaning=("A server, a parser or a stop sequence may have removed the text: look at the raw response."),
    spot=_spot,
)

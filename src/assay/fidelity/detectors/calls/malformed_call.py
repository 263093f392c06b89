"""Rollouts that called a tool that is not offered, or with arguments that are no JSON object."""

import msgspec

from assay.fidelity.detectors.detector import RolloutDetector, ScoredRollout
from assay.fidelity.detectors.texts.patterns import excerpt


def _spot(one: ScoredRollout) -> str | None:
    names = {tool.name for tool in one.task.tools} if one.calls else set[str]()
    for call in one.calls:
        if call.name not in names:
            return f"a call of {call.name!r}, which is not offered"
        try:
            arguments = msgspec.json.decode(call.arguments or "{}")
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            arguments = None
        if not isinstance(arguments, dict):
            return f"{call.name} with {excerpt(call.arguments)!r}"
    return None


DETECTOR = RolloutDetector(
    name="malformed tool call",
    fault="model",
    what="called a tool that is not offered, or with arguments that are no JSON object",
    meaning="Where one model alone does it, it is the model; where all do, look at the tools' schemas.",
    spot=_spot,
)

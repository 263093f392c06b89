"""Code that several detectors of this folder share."""

from assay.fidelity.detectors.detector import ScoredRollout
from assay.types import StopReason


def stopped_by(one: ScoredRollout, *reasons: StopReason) -> str | None:
    """Returns how long a rollout took that one of these limits stopped; None for any other."""
    if one.rollout.stop not in reasons:
        return None
    calls = len(one.rollout.turns)
    return f"after {one.rollout.wall_s:,.1f} s and {calls} model call{'' if calls == 1 else 's'} ({one.rollout.stop})"

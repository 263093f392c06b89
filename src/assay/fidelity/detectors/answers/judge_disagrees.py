"""Rollouts that were judged both ways by the same judge."""

from assay.fidelity.detectors.detector import RolloutDetector, ScoredRollout


def _spot(one: ScoredRollout) -> str | None:
    apart = one.score.metrics.get("disagreement", 0.0)
    return f"two samples differ about {apart:.0%} of the criteria, reward {one.score.reward:g}" if apart > 0 else None


DETECTOR = RolloutDetector(
    name="judge disagrees",
    fault="verifier",
    what="were judged both ways by the same judge",
    meaning="Sharpen the criteria, ask for more samples, or take another judge.",
    spot=_spot,
)

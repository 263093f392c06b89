"""Rollouts that got marks and speak to whoever grades them."""

from assay.fidelity.detectors.detector import RolloutDetector, ScoredRollout
from assay.fidelity.detectors.texts.patterns import excerpt, speaks_to_grader


def _spot(one: ScoredRollout) -> str | None:
    if one.score.reward <= 0 or (said := speaks_to_grader(one.text, one.prompt)) is None:
        return None
    return f"reward {one.score.reward:g}: {excerpt(said)}"


DETECTOR = RolloutDetector(
    name="speaks to the grader",
    fault="verifier",
    what="got marks and speak to whoever grades them",
    meaning=(
        "A judge may obey the answer that it judges. Read them; if the marks are undeserved, correct the judge's "
        "prompt or take another judge."
    ),
    spot=_spot,
)

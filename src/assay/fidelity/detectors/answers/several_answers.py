"""Rollouts that got full marks and state several different answers."""

from assay.fidelity.detectors.answers.passing import stated_answers
from assay.fidelity.detectors.detector import RolloutDetector, ScoredRollout
from assay.fidelity.detectors.texts.patterns import excerpt


def _spot(one: ScoredRollout) -> str | None:
    if one.score.reward < 1 or len(answers := stated_answers(one.text, one.task)) < 2:
        return None
    return f"full marks; states {', '.join(answers[:6])}: {excerpt(one.text)}"


DETECTOR = RolloutDetector(
    name="several answers",
    fault="verifier",
    what="got full marks and state several different answers",
    meaning=(
        "The verifier takes the one that is right, or the first: a model that offers many answers then scores more "
        "than it knows. Count none where several stand, or stop the model after its answer."
    ),
    spot=_spot,
)

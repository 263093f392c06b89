"""Rollouts that say the same again and again."""

from assay.fidelity.detectors.detector import RolloutDetector, ScoredRollout
from assay.fidelity.detectors.texts.patterns import excerpt, loop


def _spot(one: ScoredRollout) -> str | None:
    cut_off = one.rollout.stop in ("token_cap", "tokens")
    for text in (*one.texts, *one.reasonings):
        if piece := loop(text, cut_off=cut_off):
            return f"repeats: {excerpt(piece) or repr(piece[:20])}"
    return None


DETECTOR = RolloutDetector(
    name="looping text",
    fault="model",
    what="say the same again and again",
    meaning=(
        "Greedy decoding, a wrong chat template or a broken quantisation can cause it: compare the sampling with "
        "the recommendation of the model's authors."
    ),
    spot=_spot,
)

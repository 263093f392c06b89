"""The reproduced gate: whether the original code gives the published numbers, and the runs here too."""

from collections.abc import Sequence
from typing import Any, Literal

from assay.fidelity.gates.rule import FAILS, GateRule
from assay.fidelity.schema.evidence import Reproduced
from assay.fidelity.schema.profile import Gate
from assay.stats.published import CEILING, LEAST_MARGIN, WIDEST_MARGIN, Pool, pool

Side = Literal["reference", "here"]
FEW = 2
"""The most comparisons of recorded outputs with a sentence each."""


def reproduced_gate(comparisons: Sequence[Reproduced], margin: float | None, *, original: bool) -> Gate:
    """Returns the gate: does the original code give the published numbers?

    The differences of all models are pooled (`assay.stats.published.pool`), and compared with the margin that was
    registered before the runs. If recorded outputs are scored again, the digits have to be the published ones. It
    passes if the original code gives them, and fails if the original code or the run here gives others. A better
    verifier than the original's scores some outputs differently: it may change a score within the margin.
    """
    if not comparisons:
        reason = (
            "This benchmark is the original, as it claims: there is no other code that could have given a number."
            if original
            else "No score is published for any of these models: see `published` in the suite, and published.toml."
        )
        return Gate("reproduced", "not run", reason)
    words = _words(comparisons)
    there, here = _pool(comparisons, "reference", margin), _pool(comparisons, "here", margin)
    numbers = _numbers(comparisons, margin, there, here)
    apart = [one for one in comparisons if not one.whole and "different" in (one.verdict, one.here_verdict)]
    digits = [one for one in comparisons if _is_off(one, margin)]
    if digits or apart:
        return Gate("reproduced", "fail", " ".join(words), numbers)
    p_fail = [side.p_fail for side in (there, here) if side]
    p_fail = min(1.0, len(p_fail) * min(p_fail)) if p_fail else None
    said = [
        f"{name}, {len(side.weights_M)} pooled: {100 * side.difference:+.2f} ± {100 * side.se:.2f} points, "
        f"{side.verdict} within {100 * side.margin:g}."
        for name, side in (("The original code", there), ("The runs here", here))
        if side
    ]
    words = [*said, *words]
    verdict, bound = "inconclusive", ""
    if margin is None and there:
        words.insert(0, "No margin was registered before the runs: begin the profile anew.")
    elif margin is not None and margin > WIDEST_MARGIN:
        words.insert(0, f"Not refutable at this size: the margin is {100 * margin:g} points, above 5.")
    elif "different" in (there and there.verdict, here and here.verdict):
        # Each side is tested at 5 %, and the gate at 5 % over both.
        verdict = "fail" if p_fail is not None and p_fail <= FAILS else "inconclusive"
    elif there and margin is not None:
        if there.verdict == "equivalent":
            verdict, bound = "pass", f"reproduced within {100 * margin:g}"
    elif any(_exact(one, "reference") == "identical" for one in comparisons):
        verdict, bound = "pass", "published digits reproduced"
    unseen = "Aggregations that differ by less than a point are invisible to sampling."
    if there:
        unseen = f"It would have noticed, with 80 %, a difference of {100 * there.margin:g} points. {unseen}"
    return Gate("reproduced", verdict, " ".join(words), numbers, unseen=unseen, bound=bound, p_fail=p_fail)


def _words(comparisons: Sequence[Reproduced]) -> list[str]:
    """Returns what each comparison found. Those of recorded outputs that give the published digits share a sentence."""
    alike = [one for one in comparisons if _exact(one, "reference") == "identical" and _exact(one, "here")]
    if len(alike) <= FEW:
        return [f"{one.model}: {one.reason}" for one in comparisons]
    words = [f"The original code gives {len(alike)} of {len(comparisons)} published scores to the digit."]
    if apart := [one for one in alike if _exact(one, "here") == "different"]:
        points = ", ".join(f"{one.model} {100 * ((one.here_score or 0.0) - one.score):+.2f}" for one in apart)
        words.append(f"The verifier here gives others on the same outputs, in points: {points}.")
    return [*words, *(f"{one.model}: {one.reason}" for one in comparisons if one not in alike)]


def _pool(comparisons: Sequence[Reproduced], side: Side, margin: float | None) -> Pool | None:
    """The models with a run on this side, sampled with the published settings; None if there is none."""
    known = [one for one in comparisons if _is_pooled(one, side)]
    if not known:
        return None
    scores = [_of(one, side)[0] or 0.0 for one in known]
    ses = [_of(one, side)[1] or 0.0 for one in known]
    away = [score - one.score for score, one in zip(scores, known, strict=True)]
    return pool(away, ses, known[0].margin if margin is None else margin)


def _of(one: Reproduced, side: Side) -> tuple[float | None, float | None, str]:
    if side == "reference":
        return one.reference_score, one.reference_se, one.verdict
    return one.here_score, one.here_se, one.here_verdict


def _is_pooled(one: Reproduced, side: Side) -> bool:
    score, se, _ = _of(one, side)
    return one.whole and score is not None and bool(se) and max(score, one.score) <= CEILING


def _exact(one: Reproduced, side: Side) -> str | None:
    """Returns the result if recorded outputs were scored again, without chance."""
    _, se, verdict = _of(one, side)
    return verdict if se is None and verdict in ("identical", "different") else None


def _is_off(one: Reproduced, margin: float | None) -> bool:
    """Returns whether the same outputs give another score than the published one."""
    there, here = _exact(one, "reference"), _exact(one, "here")
    if there == "identical" and here == "different":
        return abs((one.here_score or 0.0) - one.score) > (LEAST_MARGIN if margin is None else margin)
    return "different" in (there, here)


def _numbers(
    comparisons: Sequence[Reproduced], margin: float | None, there: Pool | None, here: Pool | None
) -> dict[str, Any]:
    numbers: dict[str, Any] = {"margin": margin}
    for name, side in (("original", there), ("here", here)):
        if side:
            numbers[name] = {"difference": side.difference, "se": side.se, "models": len(side.weights_M)}
    numbers["models"] = {
        one.model if one.whole else f"{one.model}: {one.published_as}": {
            "published": one.score,
            "unit": one.unit,
            "reference": one.reference_score,
            "reference_se": one.reference_se,
            "verdict": one.verdict,
            "here": one.here_score,
            "here_se": one.here_se,
            "here_verdict": one.here_verdict,
            "published_repeats": one.repeats,
            "repeats_source": "stated" if one.repeats_stated else "the fewest that give the digits",
            "producible": one.producible,
            "left_out": max(one.score, one.reference_score or 0.0) > CEILING,
        }
        for one in comparisons
    }
    return numbers


GATE = GateRule(
    name="reproduced",
    question="Does the original code give the published numbers?",
    needs="`assay parity`, `published.toml`",
    of_facts=lambda facts: reproduced_gate(facts.reproduced, facts.margins.get("reproduced"), original=facts.original),
    compares_with_original=True,
)

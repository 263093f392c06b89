"""The reproduced gate: whether the original code gives the published number, and the run here too."""

from collections.abc import Sequence

from assay.fidelity.gates.rule import GateRule
from assay.fidelity.schema.evidence import Reproduced
from assay.fidelity.schema.profile import Gate


def reproduced_gate(comparisons: Sequence[Reproduced], *, original: bool) -> Gate:
    """Does the original code give the published number?

    It passes if the original code gives each of them. It fails if the original code or the run here gives another.
    """
    numbers = {
        one.model: {
            "published": one.score,
            "unit": one.unit,
            "reference": one.reference_score,
            "reference_se": one.reference_se,
            "verdict": one.verdict,
            "here": one.here_score,
            "here_verdict": one.here_verdict,
            "margin": one.margin,
            "published_repeats": one.repeats,
            "repeats_stated": one.repeats_stated,
            "producible": one.producible,
        }
        for one in comparisons
    }
    if not comparisons:
        reason = (
            "This benchmark is the original: there is no other code that could have given a number."
            if original
            else "No score is published for any of these models: see `published` in the suite, and published.toml."
        )
        return Gate("reproduced", "not run", reason, numbers)
    words = " ".join(f"{one.model}: {one.reason}" for one in comparisons)
    if any("different" in (one.verdict, one.here_verdict) for one in comparisons):
        return Gate("reproduced", "fail", words, numbers)
    if all(one.verdict in ("identical", "equivalent") for one in comparisons):
        return Gate("reproduced", "pass", words, numbers)
    return Gate("reproduced", "inconclusive", words, numbers)


GATE = GateRule(
    name="reproduced",
    question="Does the original code give the published number?",
    needs="`assay parity`, `published.toml`",
    of_facts=lambda facts: reproduced_gate(facts.reproduced, original=facts.original),
    compares_with_original=True,
)

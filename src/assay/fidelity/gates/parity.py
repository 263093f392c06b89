"""The parity gate: whether the benchmark here gives the same scores as the original code."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from assay.fidelity.gates.rule import SHOWN, GateRule, by_reason
from assay.fidelity.schema.evidence import Parity, RungName, RungResult
from assay.fidelity.schema.profile import Gate, RolloutRef


def parity_gate(parities: Mapping[str, Parity], now: tuple[str, str], margin: float | None, *, original: bool) -> Gate:
    """Returns the gate: does the benchmark here give what the original code gives? `parities` are by the model's name
    in the profile, `now` has the digests of the benchmark's tasks and code, and `margin` was registered before the
    first run.

    It passes if recorded outputs are scored identically and fresh samples are equivalent, for one model or for two, and
    none is different or inconclusive. A parity by a wider margin than the registered one counts as inconclusive. A
    parity of other tasks or another verifier than today's does not count.
    """
    if not parities:
        reason = (
            "This benchmark is the original: there is no other code that it could differ from."
            if original
            else "There are no results of the original code: give them to `assay parity`, with --run for a model's run."
        )
        return Gate("parity", "not run", reason)
    counted = {model: one for model, one in parities.items() if (one.tasks_digest, one.code) == now}
    expired: list[str] = []
    for model in [model for model in parities if model not in counted]:
        then = parities[model].tasks_digest, parities[model].code
        changed = " and ".join(what for what, a, b in zip(("tasks", "verifier"), then, now, strict=True) if a != b)
        expired.append(
            f"{model}: its parity does not count: the benchmark's {changed} changed since. Run `assay parity` again."
        )
    numbers = _numbers(counted, [name for name in parities if name not in counted])
    words = " ".join([*by_reason({model: one.reason for model, one in counted.items()}), *expired])
    if not counted:
        return Gate("parity", "not run", words, numbers)
    verdicts = {one.verdict for one in counted.values()}
    if "different" in verdicts:
        showing = [
            RolloutRef(model, one.task, one.repeat)
            for model, parity in counted.items()
            for rung in parity.ladder
            for one in rung.disagreements
            if one.repeat is not None
        ]
        return Gate("parity", "fail", words, numbers, showing[:SHOWN])
    if "inconclusive" in verdicts:
        return Gate("parity", "inconclusive", words, numbers)
    fresh = {name: one for name, one in counted.items() if one.verdict == "equivalent"}
    if fresh and margin is None:
        reason = f"{words} No margin was registered before the runs: begin the profile anew."
        return Gate("parity", "inconclusive", reason, numbers)
    if wide := [name for name, one in fresh.items() if one.margin > (margin or 0.0) + 1e-9]:
        reason = f"{words} By a wider margin than was registered: {', '.join(wide)}; expected at most "
        return Gate("parity", "inconclusive", f"{reason}{100 * (margin or 0.0):g} points.", numbers)
    if not _has(counted.values(), "verifiers", "identical"):
        return Gate("parity", "inconclusive", f"{words} Missing: the original's outputs, scored again here.", numbers)
    if not _has(counted.values(), "samples", "equivalent"):
        return Gate("parity", "inconclusive", f"{words} Missing: a fresh run here beside the original's.", numbers)
    widest = max(100 * one.margin for one in fresh.values())
    unseen = (
        f"A difference of {widest:g} points passes in at most 5 % over all looks; smaller ones can be missed, and what "
        "both sides have in common."
    )
    return Gate("parity", "pass", words, numbers, unseen=unseen, bound=f"parity within {widest:g}")


def _numbers(counted: Mapping[str, Parity], expired: Sequence[str]) -> dict[str, Any]:
    models = {
        model: {
            "verdict": one.verdict,
            "margin": one.margin,
            "looks": len(one.looks),
            "ladder": {rung.name: rung.verdict for rung in one.ladder},
        }
        for model, one in counted.items()
    }
    return {"models": models, "expired": [*expired]}


def _has(parities: Iterable[Parity], name: RungName, verdict: RungResult) -> bool:
    return any(rung.name == name and rung.verdict == verdict for parity in parities for rung in parity.ladder)


GATE = GateRule(
    name="parity",
    question="Does the benchmark here give what the original code gives?",
    needs="`assay parity`",
    of_facts=lambda facts: parity_gate(
        facts.parities, facts.digests, facts.margins.get("parity"), original=facts.original
    ),
    compares_with_original=True,
)

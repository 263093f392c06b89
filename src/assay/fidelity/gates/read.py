"""The read gate: whether rollouts were read, failing and passing, and how many of their rewards are wrong."""

from collections.abc import Sequence
from typing import Any

from msgspec import to_builtins

from assay.fidelity.gates.rule import SHOWN, GateRule
from assay.fidelity.review.findings import rollouts_to_read
from assay.fidelity.review.plants import FOUND, KINDS, REPORTED
from assay.fidelity.schema.evidence import Mark, Reader, Review
from assay.fidelity.schema.profile import Gate, RolloutRef, Verdict
from assay.stats.distributions import binomial_lower, binomial_upper


def read_gate(review: Review) -> Gate:
    """Returns the gate: were rollouts read, and are their rewards right? In this order:

    - not run: there is nothing to read, or nobody has read anything.
    - inconclusive: something of the sample, or of the planted faults, is not read yet.
    - inconclusive: a reader found fewer than 10 of 12 planted faults, or reported more than a tenth of sound rollouts.
    - fail: the lower bound of the share at fault reaches the limit.
    - fail: a reader found a fault, in the sample or not, that is neither mended nor declared.
    - inconclusive: a reader could not decide on a rollout, a finding is not accounted for, or the upper bound reaches
      the limit at the last look.
    - pass: otherwise.
    """
    numbers = _numbers(review)
    if not review.made:
        return Gate("read", "not run", "No rollout has a score, so there is nothing to read.", numbers)
    if not review.readers:
        reason = f"Nobody has read rollouts yet: {_rest(review)} wait in `assay review`."
        return Gate("read", "not run", reason, numbers)
    verdict, reason, refs = _verdict(review)
    return Gate(
        "read",
        verdict,
        f"{reason} {_readers(review)}".strip(),
        numbers,
        refs[:SHOWN],
        unseen=_blind_spots(review),
        bound=f"at fault < {_points(review.bounds[1])} points" if review.bounds else "",
        explained=[one for found in review.models.values() for one in found.explained if one.detector in found.settled],
    )


def _verdict(review: Review) -> tuple[Verdict, str, list[RolloutRef]]:
    if review.left:
        return "inconclusive", f"Still to be read: {_rest(review)}, by `assay review`.", []
    if unfit := [by for by, one in review.readers.items() if one.planted and not is_measured(one)]:
        reason = f"The reading can't be relied on: {', '.join(unfit)} missed planted faults or reported sound rollouts."
        return "inconclusive", reason, []
    assert review.bounds
    lower, upper = review.bounds
    share = f"{review.at_fault} of {review.sample} sampled rollouts are at fault"
    if lower >= review.limit:
        reason = f"{share}: at least {_points(lower)} points, and {_points(review.limit)} are the limit."
        return "fail", reason, _refs(review.standing)
    if review.standing:
        words = "; ".join(f"the {mark.fault} at {_place(mark)}" for mark in review.standing[:3])
        more = f" and {len(review.standing) - 3} more" if len(review.standing) > 3 else ""
        reason = (
            f"A reader found faults that are neither mended nor declared: {words}{more}. Correct and rescore, or "
            "declare the task in `Benchmark.defects`."
        )
        return "fail", reason, _refs(review.standing)
    if review.unclear:
        reason = f"A second reader has to settle what is unclear: {', '.join(map(_place, review.unclear[:3]))}."
        return "inconclusive", reason, _refs(review.unclear)
    if review.waiting:
        words = "; ".join(f"{one.model}: {one.detector} ({one.count:,} of {one.of:,})" for one in review.waiting[:3])
        more = f" and {len(review.waiting) - 3} more" if len(review.waiting) > 3 else ""
        refs = [one.rollout for finding in review.waiting for one in rollouts_to_read(finding)]
        return "inconclusive", f"Findings are not accounted for: {words}{more}. Explain, declare or mend them.", refs
    if upper >= review.limit:
        reason = f"{share}: up to {_points(upper)} points, and {_points(review.limit)} are the limit."
        return "inconclusive", reason, []
    known = f", {review.declared:,} rollouts of declared tasks counted in" if review.declared else ""
    anew = ", read after the verifier was mended" if review.fresh else ""
    return "pass", f"{share}{anew}: below {_points(upper)} points{known}.", []


def is_measured(reader: Reader) -> bool:
    """Returns whether a reader found enough of the planted faults and reported few sound rollouts."""
    found = reader.planted > 0 and reader.found * len(KINDS) >= FOUND * reader.planted
    return found and reader.reported <= REPORTED * reader.sound


def _blind_spots(review: Review) -> str:
    """Returns the share at fault of which a sample of this size shows a rollout with 80 %."""
    if not review.bounds:
        return ""
    return (
        f"It would have noticed, with 80 %, {1 - 0.2 ** (1 / max(1, review.sample)):.1%} of rollouts at fault. It does "
        "not see what its readers do not see."
    )


def _readers(review: Review) -> str:
    """Returns who read what, when, and how well."""
    return " ".join(
        f"{by} read {one.read} in {one.minutes:.0f} minutes, {one.first[:10]} to {one.last[:10]}{_quality(one)}."
        for by, one in review.readers.items()
    )


def _quality(one: Reader) -> str:
    if not one.planted:
        return ""
    found, reported = _interval(one.found, one.planted), _interval(one.reported, one.sound)
    return (
        f", found {one.found} of {one.planted} planted faults ({_share(found)}) and reported {one.reported} of "
        f"{one.sound} sound rollouts ({_share(reported)})"
    )


def _interval(count: int, n: int) -> tuple[float, float]:
    """Returns Clopper and Pearson's 95 % interval."""
    return (binomial_lower(count, n, 0.975), binomial_upper(count, n, 0.975)) if n else (0.0, 1.0)


def _share(interval: tuple[float, float]) -> str:
    return f"95 %: {interval[0]:.0%} to {interval[1]:.0%}"


def _numbers(review: Review) -> dict[str, Any]:
    names = ("made", "declared", "limit", "sample", "at_fault", "bounds", "left", "minutes")
    numbers = {name: getattr(review, name) for name in names}
    readers: dict[str, Any] = to_builtins(review.readers)
    for by, one in review.readers.items():
        if one.planted:
            intervals = {"found": _interval(one.found, one.planted), "reported": _interval(one.reported, one.sound)}
            readers[by] |= {f"{name}_interval": interval for name, interval in intervals.items()}
    return numbers | {"standing": len(review.standing), "waiting": len(review.waiting), "readers": readers}


def _rest(review: Review) -> str:
    rollouts = f"{review.left:,} rollout{'' if review.left == 1 else 's'}"
    return f"{rollouts} (about {max(1, round(review.minutes))} minutes)"


def _points(share: float) -> str:
    return f"{100 * share:.3g}"


def _place(mark: Mark) -> str:
    return f"{mark.model} {mark.task} (repeat {mark.repeat})"


def _refs(marks: Sequence[Mark]) -> list[RolloutRef]:
    return [RolloutRef(mark.model, mark.task, mark.repeat) for mark in marks]


GATE = GateRule(
    name="read",
    question="Were rollouts read, failing and passing, and are their rewards right?",
    needs="`assay review`",
    of_facts=lambda facts: read_gate(facts.review),
    waits=True,
)

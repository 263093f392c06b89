"""The failures gate: whether a person read failing rollouts, and whether the models are at fault."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from assay.fidelity.gates.rule import SHOWN, GateRule
from assay.fidelity.review.review import WHOSE, is_settled, rollouts_to_read
from assay.fidelity.schema.evidence import Fault, Finding, Mark, ReviewState
from assay.fidelity.schema.profile import Gate, RolloutRef

POINTS = 1.0
"""The most percentage points by which faulty tasks may move a score."""


def failures_gate(reviews: Mapping[str, ReviewState], findings: Sequence[Finding]) -> Gate:
    """Were failing rollouts read, and are the models at fault? In this order:

    - not run: there are failures to read, and nobody marked or explained any.
    - fail: a person found the verifier or the infrastructure at fault for a rollout, in the sample or not. After the
      repair the content is different, and the mark no longer holds.
    - fail: the share of faulty tasks in a sample, times the model's rate of failing, is above one point of its score.
      Rollouts outside of the sample don't count here, because they were not drawn at random.
    - inconclusive: a part of a model's sample is not read.
    - fail: a finding is open. Nobody explained it, and not all of its shown rollouts are the model's fault.
    - inconclusive: more than half of a model's sample is unclear.
    - pass: otherwise, also if nothing failed. The reason names the unclear rollouts.

    Marks that a model proposed don't count. Findings about models without a review are left out.
    """
    standing = [
        finding
        for finding in findings
        if (found := reviews.get(finding.model))
        and not is_settled(finding, {(m.task, m.repeat): m for m in found.marks}, found.explained)
    ]
    numbers = _numbers(reviews, findings, standing)
    if not reviews:
        return Gate("failures", "not run", "No model has run whose failures could be read.", numbers)
    if not any(found.marks or found.explained for found in reviews.values()) and (
        standing or any(found.sample for found in reviews.values())
    ):
        sampled = _plural(sum(found.sample for found in reviews.values()), "sampled failure")
        waiting = f"{sampled} and {_plural(len(standing), 'finding')}" if standing else sampled
        reason = f"Nobody has read failures yet: {waiting} wait in `assay review`."
        return Gate("failures", "not run", reason, numbers, _unread(reviews))
    for fault, remedy in (("verifier", "correct it and rescore"), ("infrastructure", "correct it and run those again")):
        if laid := [_ref(mark) for found in reviews.values() for mark in found.marks if mark.fault == fault]:
            reason = f"A reader found the {fault} at fault: {_places(laid)}. First {remedy}, then read what is new."
            return Gate("failures", "fail", reason, numbers, laid[:SHOWN])
    if moved := {name: points for name, found in reviews.items() if (points := task_points(found)) > POINTS}:
        words = "; ".join(
            f"{name}: {reviews[name].faults['task']} of {reviews[name].sample} sampled failures are the tasks', with "
            f"{reviews[name].failing / reviews[name].made:.1%} failing up to {points:.1f} points"
            for name, points in moved.items()
        )
        refs = [_ref(m) for name in moved for m in reviews[name].marks if m.fault == "task"]
        reason = f"Faulty tasks move scores by more than {POINTS:g} point: {words}. Correct or drop them."
        return Gate("failures", "fail", reason, numbers, refs[:SHOWN])
    if left := {name: len(found.unread) for name, found in reviews.items() if found.unread}:
        words = ", ".join(f"{name} {count} of {reviews[name].sample}" for name, count in left.items())
        return Gate(
            "failures", "inconclusive", f"Sampled failures are still to be read: {words}.", numbers, _unread(reviews)
        )
    if standing:
        words = "; ".join(f"{one.model}: {one.detector} ({one.count:,} of {one.of:,})" for one in standing)
        refs = [spotted.rollout for one in standing for spotted in rollouts_to_read(one)]
        return Gate("failures", "fail", f"Findings stand unexplained: {words}.", numbers, refs[:SHOWN])
    unclear = [_ref(mark) for found in reviews.values() for mark in found.marks if mark.fault == "unclear"]
    if vague := [name for name, found in reviews.items() if 2 * found.faults.get("unclear", 0) > found.sample]:
        reason = f"More than half of the sampled failures are unclear to their reader: {', '.join(vague)}."
        return Gate("failures", "inconclusive", reason, numbers, unclear[:SHOWN])
    return Gate("failures", "pass", _passed(reviews, findings, unclear), numbers, unclear[:SHOWN])


def task_points(state: ReviewState) -> float:
    """Returns the points by which faulty tasks could move the score: their share of the sample times the rate."""
    share = state.faults.get("task", 0) / state.sample if state.sample else 0.0
    return 100 * share * state.failing / state.made if state.made else 0.0


def _passed(reviews: Mapping[str, ReviewState], findings: Sequence[Finding], unclear: list[RolloutRef]) -> str:
    faults = sum((Counter[Fault](found.faults) for found in reviews.values()), Counter[Fault]())
    if not faults:
        text = f"Nothing failed that would have to be read, of {_plural(len(reviews), 'model')}."
    else:
        tally = ", ".join(f"{faults[fault]} {words}" for fault, words in WHOSE.items() if faults[fault])
        text = f"A person read {faults.total()} sampled failures of {_plural(len(reviews), 'model')}: {tally}."
    if most := max(map(task_points, reviews.values())):
        text += f" Faulty tasks could move a score by at most {most:.2f} points."
    if unclear:
        text += f" Unclear: {_places(unclear)}."
    accounted = sum(finding.model in reviews for finding in findings)
    if not accounted:
        return f"{text} No detector found anything."
    return text + (
        " The one finding is accounted for." if accounted == 1 else f" All {accounted} findings are accounted for."
    )


def _numbers(
    reviews: Mapping[str, ReviewState], findings: Sequence[Finding], standing: Sequence[Finding]
) -> dict[str, Any]:
    models = {
        name: {
            "made": found.made,
            "failing": found.failing,
            "sample": found.sample,
            "marked": found.marked,
            "faults": dict(found.faults),
            "task_points": task_points(found),
        }
        for name, found in reviews.items()
    }
    accounted = sum(finding.model in reviews for finding in findings) - len(standing)
    return {"limit_points": POINTS, "models": models, "findings_settled": accounted, "findings_open": len(standing)}


def _unread(reviews: Mapping[str, ReviewState]) -> list[RolloutRef]:
    """Returns the first unread rollouts of each model in turn, so that the reason names each model."""
    most = max((len(found.unread) for found in reviews.values()), default=0)
    turns = [found.unread[i] for i in range(most) for found in reviews.values() if i < len(found.unread)]
    return turns[:SHOWN]


def _ref(mark: Mark) -> RolloutRef:
    return RolloutRef(mark.model, mark.task, mark.repeat)


def _places(refs: Sequence[RolloutRef]) -> str:
    text = ", ".join(f"{ref.model} {ref.task} (repeat {ref.repeat})" for ref in refs[:3])
    return text + (f" and {len(refs) - 3} more" if len(refs) > 3 else "")


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


GATE = GateRule(
    name="failures",
    question="Were failing rollouts read by a person?",
    needs="`assay review`",
    of_facts=lambda facts: failures_gate(facts.reviews, facts.findings),
    waits=True,
)

"""Reading failing rollouts: which are to be read, how far that has come, and the gate that it answers."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from msgspec import structs

from assay.collect.run import GATES_OWN
from assay.config import Suite
from assay.digest import digest
from assay.fidelity.detectors.across import ACROSS
from assay.fidelity.gates.gates import Contender
from assay.fidelity.results.results import Results
from assay.fidelity.review.marks import Key, content, counted, explanations, persons
from assay.fidelity.schema.evidence import Explanation, Fault, Finding, Mark, Reviewed, Said, Spotted
from assay.fidelity.schema.profile import Gate, RolloutRef
from assay.types import Rollout, Task

SAMPLE = 10
"""Failing rollouts of each model that are to be read."""
SHOWN = 3
"""Rollouts of a finding that are to be read."""
FAR_MORE, FEW = 2, 3
"""An explanation holds until more than twice as many rollouts show the finding, and a few."""
POINTS = 1.0
"""Percentage points by which tasks' own faults may move a score."""
NAMED = 12
"""Rollouts that the gate names at most."""
AS_A_WHOLE = {detector.name for detector in ACROSS}
"""Detectors that look at a run as a whole."""
WHOSE: dict[Fault, str] = {
    "model": "the model's",
    "verifier": "the verifier's",
    "task": "the task's",
    "infrastructure": "the infrastructure's",
    "unclear": "unclear",
}


@dataclass(frozen=True, slots=True)
class Opened:
    """A rollout that is to be read."""

    model: str
    rollout: Rollout
    task: Task
    content: str

    @property
    def ref(self) -> RolloutRef:
        return RolloutRef(self.model, self.rollout.task, self.rollout.repeat)


def to_read(suite: Suite, contenders: Iterable[Contender]) -> dict[str, Results]:
    """The models whose failures are to be read, with their results. The gates' own fail on purpose, or never."""
    own = {name for name, member in suite.models.items() if member.role == "policy" and member.dialect in GATES_OWN}
    return {one.name: one.results for one in contenders if one.name not in own}


def failing(results: Results) -> list[Key]:
    """The (task, repeat) that scored less than full marks, or failed and have no score."""
    return [
        (results.tasks[cell.task].id, cell.repeat) for cell in results.cells if cell.reward is None or cell.reward < 1
    ]


def drawn(keys: Iterable[Key], count: int) -> list[Key]:
    """`count` of them by chance, or all where there are fewer: those with the smallest hashes.

    A key's hash depends on nothing else. So the draw is the same each time and for each model, a smaller one is the
    beginning of a larger one, and where rollouts are added only those drop out which new ones come before.
    """
    return sorted(keys, key=lambda key: digest([0, *key]))[:count]


def shown(finding: Finding) -> list[Spotted]:
    """Up to three rollouts of a finding to read, drawn likewise; none where it is of the run as a whole."""
    by_key = {(one.rollout.task, one.rollout.repeat): one for one in finding.spotted}
    return [by_key[key] for key in drawn(by_key, SHOWN)]


def opened(run: Path, model: str, results: Results, keys: Iterable[Key]) -> dict[Key, Opened]:
    """The rollouts at these keys, ready to be read. Raises InputError where the run is damaged."""
    tasks, wanted = {task.id: task for task in results.tasks}, set(keys)
    found = counted(run, {task for task, _ in wanted}, wanted.__contains__) if wanted else {}
    return {key: Opened(model, one, tasks[one.task], content(one)) for key, one in found.items()}


def review(run: Path, model: str, results: Results, said: Sequence[Said], sample: int = SAMPLE) -> Reviewed:
    """How far a model's failing rollouts were read, by what was said in the profile that its run is part of.

    A mark holds for every rollout of this model with the content that was read, and for no other: once an output or
    its score is another one, it has to be read again. Raises InputError where the run is damaged.
    """
    fallen = failing(results)
    chosen = drawn(fallen, sample)
    marks = persons(said, model)
    tasks = {mark.task for mark in marks.values()}
    held: dict[Key, Mark] = {}
    for key, rollout in counted(run, tasks, lambda _: True).items() if marks else ():
        if mark := marks.get(content(rollout)):
            held[key] = structs.replace(mark, repeat=rollout.repeat)
    faults = Counter(held[key].fault for key in chosen if key in held)
    return Reviewed(
        failing=len(fallen),
        made=len(results.cells),
        sample=len(chosen),
        marked=faults.total(),
        faults={fault: faults[fault] for fault in get_args(Fault) if faults[fault]},
        marks=[held[key] for key in sorted(held)],
        explained=list(explanations(said, model).values()),
        unread=[RolloutRef(model, *key) for key in chosen if key not in held],
    )


def settled(finding: Finding, marks: Mapping[Key, Mark], explained: Iterable[Explanation]) -> bool:
    """Whether a finding is accounted for: a person explained it, or laid all of its shown rollouts at the model.

    What is seen in a run as a whole, such as copied repeats, no single rollout can account for: it takes words.
    """
    if any(explains(one, finding) for one in explained):
        return True
    if finding.detector in AS_A_WHOLE:
        return False
    keys = [(one.rollout.task, one.rollout.repeat) for one in shown(finding)]
    return bool(keys) and all(key in marks and marks[key].fault == "model" for key in keys)


def explains(said: Explanation, finding: Finding) -> bool:
    """Whether a person's words are about this finding, which does not show far more than they knew of."""
    known = said.share is None or finding.count <= FAR_MORE * said.share * finding.of + FEW
    return said.detector == finding.detector and known


def failures_gate(reviews: Mapping[str, Reviewed], findings: Sequence[Finding]) -> Gate:
    """Were failing rollouts read, and are they the models' own? In this order:

    - not run: there is something to read, and nobody marked or explained anything.
    - fail: a person laid a rollout, of the sample or not, at the verifier or the infrastructure. That is mended first;
      afterwards the content is another one, and the mark no longer holds.
    - fail: the tasks' share of a sample, times the model's rate of failing, is above one point of its score. Rollouts
      outside of the sample don't count here, for they were not drawn by chance.
    - inconclusive: a model's sample is not read to its end.
    - fail: a finding stands that nobody explained, and that is not settled by its shown rollouts being the model's.
    - inconclusive: more than half of a model's sample is unclear, so that it tells little.
    - pass: otherwise, also where nothing failed. What is unclear is named.

    What a model proposed counts nowhere. Findings about models that have no review here are left out.
    """
    standing = [finding for finding in findings if _stands(finding, reviews)]
    numbers = _numbers(reviews, findings, standing)
    if not reviews:
        return Gate("failures", "not run", "No model has run whose failures could be read.", numbers)
    if not any(found.marks or found.explained for found in reviews.values()) and (
        standing or any(found.sample for found in reviews.values())
    ):
        count = sum(found.sample for found in reviews.values())
        reason = (
            f"Nobody has read failures yet: {count} sampled ones and {len(standing)} findings wait in `assay review`."
        )
        return Gate("failures", "not run", reason, numbers, _unread(reviews))
    for fault, remedy in (("verifier", "mend it and rescore"), ("infrastructure", "mend it and run those again")):
        if laid := [_ref(mark) for found in reviews.values() for mark in found.marks if mark.fault == fault]:
            reason = f"Laid at the {fault} by a reader: {_named(laid)}. First {remedy}; what is new is to be read then."
            return Gate("failures", "fail", reason, numbers, laid[:NAMED])
    if moved := {name: points for name, found in reviews.items() if (points := task_points(found)) > POINTS}:
        words = "; ".join(
            f"{name}: {reviews[name].faults['task']} of {reviews[name].sample} sampled failures are the tasks', with "
            f"{reviews[name].failing / reviews[name].made:.1%} failing up to {points:.1f} points"
            for name, points in moved.items()
        )
        refs = [_ref(m) for name in moved for m in reviews[name].marks if m.fault == "task"]
        reason = f"Faulty tasks move scores by more than {POINTS:g} point: {words}. Mend or drop them."
        return Gate("failures", "fail", reason, numbers, refs[:NAMED])
    if left := {name: len(found.unread) for name, found in reviews.items() if found.unread}:
        words = ", ".join(f"{name} {count} of {reviews[name].sample}" for name, count in left.items())
        return Gate(
            "failures", "inconclusive", f"Sampled failures are still to be read: {words}.", numbers, _unread(reviews)
        )
    if standing:
        words = "; ".join(f"{one.model}: {one.detector} ({one.count:,} of {one.of:,})" for one in standing)
        refs = [spotted.rollout for one in standing for spotted in shown(one)]
        return Gate("failures", "fail", f"Findings stand unexplained: {words}.", numbers, refs[:NAMED])
    unclear = [_ref(mark) for found in reviews.values() for mark in found.marks if mark.fault == "unclear"]
    if vague := [name for name, found in reviews.items() if 2 * found.faults.get("unclear", 0) > found.sample]:
        reason = f"More than half of the sampled failures are unclear to their reader: {', '.join(vague)}."
        return Gate("failures", "inconclusive", reason, numbers, unclear[:NAMED])
    return Gate("failures", "pass", _passed(reviews, findings, unclear), numbers, unclear[:NAMED])


def task_points(found: Reviewed) -> float:
    """Points of the score that tasks' own faults could move: their share of the sample times the rate of failing."""
    share = found.faults.get("task", 0) / found.sample if found.sample else 0.0
    return 100 * share * found.failing / found.made if found.made else 0.0


def _stands(finding: Finding, reviews: Mapping[str, Reviewed]) -> bool:
    found = reviews.get(finding.model)
    return found is not None and not settled(finding, {(m.task, m.repeat): m for m in found.marks}, found.explained)


def _passed(reviews: Mapping[str, Reviewed], findings: Sequence[Finding], unclear: list[RolloutRef]) -> str:
    faults = sum((Counter[Fault](found.faults) for found in reviews.values()), Counter[Fault]())
    if not faults:
        told = f"Nothing failed that would have to be read, of {_models(len(reviews))}."
    else:
        tally = ", ".join(f"{faults[fault]} {words}" for fault, words in WHOSE.items() if faults[fault])
        told = f"A person read {faults.total()} sampled failures of {_models(len(reviews))}: {tally}."
    if most := max(map(task_points, reviews.values())):
        told += f" Faulty tasks could move a score by at most {most:.2f} points."
    if unclear:
        told += f" Unclear: {_named(unclear)}."
    accounted = sum(finding.model in reviews for finding in findings)
    return told + (f" All {accounted} findings are accounted for." if accounted else " No detector found anything.")


def _numbers(
    reviews: Mapping[str, Reviewed], findings: Sequence[Finding], standing: Sequence[Finding]
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


def _unread(reviews: Mapping[str, Reviewed]) -> list[RolloutRef]:
    """The first of each model's unread ones, in turns, so that each model is named."""
    most = max((len(found.unread) for found in reviews.values()), default=0)
    turns = [found.unread[i] for i in range(most) for found in reviews.values() if i < len(found.unread)]
    return turns[:NAMED]


def _ref(mark: Mark) -> RolloutRef:
    return RolloutRef(mark.model, mark.task, mark.repeat)


def _named(refs: Sequence[RolloutRef]) -> str:
    told = ", ".join(f"{ref.model} {ref.task} (repeat {ref.repeat})" for ref in refs[:3])
    return told + (f" and {len(refs) - 3} more" if len(refs) > 3 else "")


def _models(count: int) -> str:
    return f"{count} model{'' if count == 1 else 's'}"

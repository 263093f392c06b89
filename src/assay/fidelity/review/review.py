"""Reading of failing rollouts: which to read, and how many are read."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from msgspec import structs

from assay.digest import digest
from assay.fidelity.results.results import Results
from assay.fidelity.review.marks import Key, content, explanations, persons, rollouts_at
from assay.fidelity.schema.evidence import Explanation, Fault, Finding, Mark, Remark, ReviewState, Sighting
from assay.fidelity.schema.profile import RolloutRef
from assay.types import Rollout, Task

SAMPLE = 10
"""The number of failing rollouts of each model to read."""
SHOWN = 3
"""The number of rollouts of a finding to read."""
FAR_MORE, FEW = 2, 3
"""An explanation holds up to twice as many rollouts, and three more."""
WHOSE: dict[Fault, str] = {
    "model": "the model's",
    "verifier": "the verifier's",
    "task": "the task's",
    "infrastructure": "the infrastructure's",
    "unclear": "unclear",
}


@dataclass(frozen=True, slots=True)
class OpenRollout:
    """A rollout to read."""

    model: str
    rollout: Rollout
    task: Task
    content: str

    @property
    def ref(self) -> RolloutRef:
        return RolloutRef(self.model, self.rollout.task, self.rollout.repeat)


def failing(results: Results) -> list[Key]:
    """Returns the (task, repeat) with less than full marks, or with a failure and no score."""
    return [
        (results.tasks[cell.task].id, cell.repeat) for cell in results.cells if cell.reward is None or cell.reward < 1
    ]


def draw(keys: Iterable[Key], count: int) -> list[Key]:
    """Returns a random sample of `count` keys, or all if there are fewer: those with the smallest hashes.

    A hash depends on its key alone. So the sample is the same each time and for each model, a smaller sample is the
    beginning of a larger one, and added rollouts replace only those with larger hashes.
    """
    return sorted(keys, key=lambda key: digest([0, *key]))[:count]


def rollouts_to_read(finding: Finding) -> list[Sighting]:
    """Returns up to three rollouts of a finding, sampled in the same way. None if it is about the run as a whole."""
    by_key = {(one.rollout.task, one.rollout.repeat): one for one in finding.spotted}
    return [by_key[key] for key in draw(by_key, SHOWN)]


def open_rollouts(run: Path, model: str, results: Results, keys: Iterable[Key]) -> dict[Key, OpenRollout]:
    """Returns the rollouts at these keys. Raises InputError where the run is damaged."""
    tasks, wanted = {task.id: task for task in results.tasks}, set(keys)
    found = rollouts_at(run, {task for task, _ in wanted}, wanted.__contains__) if wanted else {}
    return {key: OpenRollout(model, one, tasks[one.task], content(one)) for key, one in found.items()}


def review(
    model: str, results: Results, remarks: Sequence[Remark], contents: Mapping[Key, str], sample: int = SAMPLE
) -> ReviewState:
    """Returns how many of a model's failing rollouts are read, by the remarks in its profile.

    A mark holds for every rollout of this model with the content that was read, and for no other. A rollout with a new
    output or score has to be read again. `contents` are those of the marked rollouts.
    """
    fallen = failing(results)
    chosen = draw(fallen, sample)
    marks = persons(remarks, model)
    held = {key: structs.replace(marks[one], repeat=key[1]) for key, one in contents.items() if one in marks}
    faults = Counter(held[key].fault for key in chosen if key in held)
    return ReviewState(
        failing=len(fallen),
        made=len(results.cells),
        sample=len(chosen),
        marked=faults.total(),
        faults={fault: faults[fault] for fault in get_args(Fault) if faults[fault]},
        marks=[held[key] for key in sorted(held)],
        explained=list(explanations(remarks, model).values()),
        unread=[RolloutRef(model, *key) for key in chosen if key not in held],
    )


def is_settled(finding: Finding, marks: Mapping[Key, Mark], explained: Iterable[Explanation]) -> bool:
    """Returns whether a finding is settled: a person explained it, or found the model at fault for all shown rollouts.

    A finding about a run as a whole, such as copied repeats, needs an explanation.
    """
    if any(explains(one, finding) for one in explained):
        return True
    if finding.scope == "run":
        return False
    keys = [(one.rollout.task, one.rollout.repeat) for one in rollouts_to_read(finding)]
    return bool(keys) and all(key in marks and marks[key].fault == "model" for key in keys)


def explains(explanation: Explanation, finding: Finding) -> bool:
    """Returns whether an explanation is about this finding, and the finding has not become much larger."""
    known = explanation.share is None or finding.count <= FAR_MORE * explanation.share * finding.of + FEW
    return explanation.detector == finding.detector and known

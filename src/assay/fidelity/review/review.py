"""Reading failing rollouts: which are to be read, and how far that has come."""

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
"""Failing rollouts of each model that are to be read."""
SHOWN = 3
"""Rollouts of a finding that are to be read."""
FAR_MORE, FEW = 2, 3
"""An explanation holds until more than twice as many rollouts show the finding, and a few."""
WHOSE: dict[Fault, str] = {
    "model": "the model's",
    "verifier": "the verifier's",
    "task": "the task's",
    "infrastructure": "the infrastructure's",
    "unclear": "unclear",
}


@dataclass(frozen=True, slots=True)
class OpenRollout:
    """A rollout that is to be read."""

    model: str
    rollout: Rollout
    task: Task
    content: str

    @property
    def ref(self) -> RolloutRef:
        return RolloutRef(self.model, self.rollout.task, self.rollout.repeat)


def failing(results: Results) -> list[Key]:
    """The (task, repeat) that scored less than full marks, or failed and have no score."""
    return [
        (results.tasks[cell.task].id, cell.repeat) for cell in results.cells if cell.reward is None or cell.reward < 1
    ]


def draw(keys: Iterable[Key], count: int) -> list[Key]:
    """`count` of them by chance, or all where there are fewer: those with the smallest hashes.

    A key's hash depends on nothing else. So the draw is the same each time and for each model, a smaller one is the
    beginning of a larger one, and where rollouts are added only those drop out which new ones come before.
    """
    return sorted(keys, key=lambda key: digest([0, *key]))[:count]


def rollouts_to_read(finding: Finding) -> list[Sighting]:
    """Up to three rollouts of a finding to read, drawn likewise; none where it is of the run as a whole."""
    by_key = {(one.rollout.task, one.rollout.repeat): one for one in finding.spotted}
    return [by_key[key] for key in draw(by_key, SHOWN)]


def open_rollouts(run: Path, model: str, results: Results, keys: Iterable[Key]) -> dict[Key, OpenRollout]:
    """The rollouts at these keys, ready to be read. Raises InputError where the run is damaged."""
    tasks, wanted = {task.id: task for task in results.tasks}, set(keys)
    found = rollouts_at(run, {task for task, _ in wanted}, wanted.__contains__) if wanted else {}
    return {key: OpenRollout(model, one, tasks[one.task], content(one)) for key, one in found.items()}


def review(
    model: str, results: Results, said: Sequence[Remark], contents: Mapping[Key, str], sample: int = SAMPLE
) -> ReviewState:
    """How far a model's failing rollouts were read, by what was said in the profile that its run is part of.

    A mark holds for every rollout of this model with the content that was read, and for no other: once an output or
    its score is another one, it has to be read again. `contents` are those of the rollouts that marks are about.
    """
    fallen = failing(results)
    chosen = draw(fallen, sample)
    marks = persons(said, model)
    held = {key: structs.replace(marks[one], repeat=key[1]) for key, one in contents.items() if one in marks}
    faults = Counter(held[key].fault for key in chosen if key in held)
    return ReviewState(
        failing=len(fallen),
        made=len(results.cells),
        sample=len(chosen),
        marked=faults.total(),
        faults={fault: faults[fault] for fault in get_args(Fault) if faults[fault]},
        marks=[held[key] for key in sorted(held)],
        explained=list(explanations(said, model).values()),
        unread=[RolloutRef(model, *key) for key in chosen if key not in held],
    )


def is_settled(finding: Finding, marks: Mapping[Key, Mark], explained: Iterable[Explanation]) -> bool:
    """Whether a finding is accounted for: a person explained it, or laid all of its shown rollouts at the model.

    What is seen in a run as a whole, such as copied repeats, no single rollout can account for: it takes words.
    """
    if any(explains(one, finding) for one in explained):
        return True
    if finding.scope == "run":
        return False
    keys = [(one.rollout.task, one.rollout.repeat) for one in rollouts_to_read(finding)]
    return bool(keys) and all(key in marks and marks[key].fault == "model" for key in keys)


def explains(said: Explanation, finding: Finding) -> bool:
    """Whether a person's words are about this finding, which does not show far more than they knew of."""
    known = said.share is None or finding.count <= FAR_MORE * said.share * finding.of + FEW
    return said.detector == finding.detector and known

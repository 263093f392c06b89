"""The screens of a review, in a terminal or a browser. Each remark is stored at once."""

import getpass
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import structs

from assay.fidelity.review.findings import is_settled, rollouts_to_read
from assay.fidelity.review.marks import (
    Key,
    Place,
    Standing,
    explanations,
    keep,
    last_word,
    marks_of,
    read_remarks,
    standing,
)
from assay.fidelity.review.plants import Plant
from assay.fidelity.review.readings import OpenRollout, now, open_rollouts
from assay.fidelity.review.review import Material, Progress, reading_minutes
from assay.fidelity.review.sample import Spot
from assay.fidelity.schema.evidence import Explanation, Fault, Finding, Mark, Remark

KEYS: dict[str, Fault] = {"m": "model", "v": "verifier", "t": "task", "e": "environment", "u": "unclear"}
"""The key of each mark."""


@dataclass(frozen=True, slots=True)
class Screen:
    """One screen: a rollout, or a finding before and after its rollouts are read."""

    model: str
    rollout: OpenRollout | None = None
    finding: Finding | None = None
    """The finding for which the rollout is shown, if it is not from the sample."""
    evidence: str = ""

    @property
    def place(self) -> Place:
        """The subject of the screen: the rollout's content, or the detector."""
        return self.rollout.place if self.rollout else (self.model, self.finding.detector if self.finding else "")


@dataclass(slots=True)
class Screens:
    """The screens of one reader of a profile, and all remarks so far.

    Several readers may work on one profile, in terminals and browsers, so each step reads the others' remarks.
    """

    folder: Path
    material: Material
    models: Sequence[str]
    by: str
    all: list[Screen] = field(init=False)
    said: list[Remark] = field(init=False)
    kept: int = 0
    """The number of remarks made here."""
    skipped: set[Place] = field(default_factory=set[Place])

    def __post_init__(self) -> None:
        self.said = read_remarks(self.folder)
        self.all = self._due()

    def _due(self) -> list[Screen]:
        """Returns each finding with its rollouts, and then the sample, all models mixed."""
        progress = Progress(self.material, self.said)
        queue = [one for one in progress.queue(self.by) if _model(one) in self.models]
        first, drawn = list[Screen](), dict[Place, OpenRollout]()
        for name in self.models:
            findings = [one for one in self.material.findings if one.model == name]
            shown = [(s.rollout.task, s.rollout.repeat) for finding in findings for s in rollouts_to_read(finding)]
            spots = [one for one in queue if isinstance(one, Spot) and one.model == name]
            plants = [one for one in queue if isinstance(one, Plant) and one.base.model == name]
            tasks = self.material.results[name].tasks
            keys = [*shown, *(spot.key for spot in spots)]
            there, planted = open_rollouts(self.folder / "runs" / name, name, tasks, keys, plants)
            first += _of_findings(name, findings, there)
            drawn |= {(name, spot.content): there[spot.key] for spot in spots}
            drawn |= {(name, content): one for content, one in planted.items()}
        return first + [Screen(_model(one), drawn[_model(one), one.content]) for one in queue]

    def draw_more(self) -> bool:
        """Adds the screens that are due after the last remarks. Returns whether there is a new rollout."""
        self.refresh()
        known = {one.rollout.place for one in self.all if one.rollout}
        more = self._due()
        if is_new := any(one.rollout and one.rollout.place not in known for one in more):
            self.all = more
        return is_new

    def refresh(self) -> None:
        """Reads remarks that others have made meanwhile."""
        self.said = read_remarks(self.folder)

    def next(self, at: int = -1) -> int | None:
        """Returns the index of the first screen after this one that is not done; None if all are."""
        self.refresh()
        return next((i for i in range(at + 1, len(self.all)) if not self.is_done(self.all[i])), None)

    def find(self, place: Place) -> int | None:
        """Returns the index of the first screen about this; None if there is none."""
        return next((number for number, one in enumerate(self.all) if one.place == place), None)

    @property
    def left(self) -> list[OpenRollout]:
        """The rollouts that are still to be read here."""
        return [one.rollout for one in self.all if one.rollout and not self.is_done(one)]

    @property
    def minutes(self) -> int:
        """About how many minutes it takes to read them."""
        return max(1, round(reading_minutes(one.output_tokens for one in self.left)))

    def is_done(self, screen: Screen) -> bool:
        finding, one = screen.finding, screen.rollout
        if finding and ((finding.model, finding.detector) in self.skipped or self._is_settled(finding)):
            return True
        if one is None:
            return False
        # A rollout of a finding needs one reader, anybody; one of the sample is here because this reader has to read
        # it.
        return one.place in self.skipped or (self._word(one) if finding else self.own(one)) is not None

    def _is_settled(self, finding: Finding) -> bool:
        read = [one.rollout for one in self.all if one.rollout and one.finding is finding]
        standings: dict[Key, Standing | None] = {
            one.rollout.key: standing(mark, one.rollout.task_digest, one.reward)
            for one in read
            if (mark := self._word(one))
        }
        return is_settled(finding, standings, explanations(self.said, finding.model).values())

    def _marks(self, one: OpenRollout) -> list[Mark]:
        about = (said for said in self.said if isinstance(said, Mark) and said.content == one.content)
        return marks_of(about).get(one.place, [])

    def _word(self, one: OpenRollout) -> Mark | None:
        return last_word(self._marks(one), one.rollout.task_digest, one.reward)

    def own(self, one: OpenRollout) -> Mark | None:
        """Returns this reader's mark of the rollout as it is now; None if there is none."""
        own = [mark for mark in self._marks(one) if mark.by == self.by]
        return last_word(own, one.rollout.task_digest, one.reward)

    def mark(self, one: OpenRollout, fault: Fault, note: str = "") -> None:
        """Stores the reader's mark of a rollout."""
        self._keep(one.mark(fault, by=self.by, note=note))

    def explain(self, finding: Finding, note: str) -> None:
        """Stores the reader's explanation of a finding."""
        model, detector, share = finding.model, finding.detector, finding.share
        self._keep(Explanation(model=model, detector=detector, note=note, by=self.by, at=now(), share=share))

    def undo(self) -> Remark | None:
        """Withdraws this reader's last valid remark, made here or earlier. Returns it; None if there is none."""
        self.refresh()
        own = [one for one in self.said if one.by == self.by and self._stands(one)]
        if not own:
            return None
        self._keep(structs.replace(own[-1], withdrawn=True, at=now()))
        return own[-1]

    def _stands(self, one: Remark) -> bool:
        if isinstance(one, Mark):
            return any(one is mark for marks in marks_of(self.said).values() for mark in marks)
        return one is explanations(self.said, one.model).get(one.detector)

    def _keep(self, said: Remark) -> None:
        keep(self.folder, said)
        self.said.append(said)
        self.kept += 1


def about(said: Remark) -> Place:
    """Returns the subject of a remark."""
    return (said.model, said.content if isinstance(said, Mark) else said.detector)


def who() -> str:
    """Returns the user's name: git's, else the login."""
    try:
        asked = subprocess.run(
            ["git", "config", "user.name"], capture_output=True, text=True, errors="replace", timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return getpass.getuser()
    return asked.stdout.strip() or getpass.getuser()


def _model(one: Spot | Plant) -> str:
    return one.model if isinstance(one, Spot) else one.base.model


def _of_findings(model: str, findings: Iterable[Finding], there: Mapping[Key, OpenRollout]) -> list[Screen]:
    made: list[Screen] = []
    for finding in findings:
        about = Screen(model, finding=finding)
        examples = [(there.get((s.rollout.task, s.rollout.repeat)), s.evidence) for s in rollouts_to_read(finding)]
        read = [Screen(model, one, finding, evidence) for one, evidence in examples if one]
        made += [about, *read, about] if read else [about]
    return made

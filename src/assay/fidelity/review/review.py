"""The progress and the results of reading a profile."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from typing import get_args

from msgspec import structs

from assay.digest import prompt_digest
from assay.fidelity.results.contender import Contender
from assay.fidelity.results.results import Results
from assay.fidelity.review.findings import is_settled, suspect_findings
from assay.fidelity.review.marks import (
    FAULTS,
    Key,
    Place,
    Standing,
    explanations,
    faults_in,
    last_word,
    marks_of,
    standing,
)
from assay.fidelity.review.plants import Plant, plant
from assay.fidelity.review.sample import Population, Spot, population, union
from assay.fidelity.schema.evidence import (
    Explanation,
    Fault,
    Finding,
    Mark,
    ModelReview,
    Reader,
    Remark,
    Review,
    SuspectTask,
)
from assay.stats.distributions import binomial_lower, binomial_upper

WHOSE: dict[Fault, str] = {
    "model": "the model's",
    "verifier": "the verifier's",
    "task": "the task's",
    "environment": "the environment's",
    "unclear": "unclear",
}
WORDS_A_MINUTE = 238
"""Words per minute that adults read of English non-fiction: the mean of 190 studies (Brysbaert 2019, Journal of Memory
and Language 109); most read 175 to 300."""
WORDS_A_TOKEN = 0.75
SECONDS = 25
"""Assumed seconds to judge a rollout after reading it, and to press a key."""
PAUSE_S = 600
"""Seconds between two marks above which the time counts as a pause."""


@dataclass(frozen=True)
class Material:
    """What there is to read in a profile. It follows from the rollouts alone, not from readers."""

    results: Mapping[str, Results]
    """The results of the measured models."""
    declared: frozenset[str]
    """The tasks that the benchmark declares as defective."""
    rescored: Mapping[str, datetime]
    """By model, when its rollouts were scored again, if they were."""
    population: Population
    plants: Sequence[Plant]
    findings: Sequence[Finding]
    """The detectors' findings, and one for each suspect task."""


def material(
    contenders: Sequence[Contender],
    suspects: Sequence[SuspectTask] = (),
    declared: Iterable[str] = (),
    rescored: Mapping[str, datetime] | None = None,
) -> Material:
    """Returns what there is to read in these models' rollouts. `declared` are tasks that are known to be defective."""
    results, left_out = {one.name: one.results for one in contenders}, frozenset(declared)
    drawn = population(results)
    found = [finding for one in contenders for finding in one.findings]
    found = [one for one in found if not one.spotted or any(s.rollout.task not in left_out for s in one.spotted)]
    found += suspect_findings(suspects, results, left_out)
    return Material(
        results=results,
        declared=left_out,
        rescored=rescored or {},
        population=drawn,
        plants=plant(
            drawn.spots,
            {one.name for one in contenders if one.kind == "thinking"},
            left_out | {one.task for one in suspects},
        ),
        findings=found,
    )


@dataclass(frozen=True)
class Progress:
    """The material of a profile with the readers' remarks."""

    material: Material
    remarks: Sequence[Remark]
    marks: dict[Place, list[Mark]] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "marks", marks_of(self.remarks))

    @cached_property
    def marked_tasks(self) -> set[tuple[str, str]]:
        """The (model, task) of all marks, so that other rollouts need not be compared."""
        return {(mark.model, mark.task) for marks in self.marks.values() for mark in marks}

    def marks_on(self, spot: Spot) -> Sequence[Mark]:
        if (spot.model, spot.task.id) not in self.marked_tasks:
            return ()
        return self.marks.get((spot.model, spot.content), ())

    def word(self, spot: Spot) -> Mark | None:
        """Returns the mark that decides on a rollout; None if it has to be read."""
        return last_word(self.marks_on(spot), spot.task_digest, spot.cell.reward)

    def standing(self, spot: Spot) -> Standing | None:
        return standing(mark, spot.task_digest, spot.cell.reward) if (mark := self.word(spot)) else None

    @cached_property
    def marked_spots(self) -> list[Spot]:
        """The real rollouts with a mark, with or without a score."""
        failed = (
            Spot(name, task, cell, prompt_digest(task))
            for name, results in self.material.results.items()
            for cell in results.failed
            if (name, (task := results.tasks[cell.task]).id) in self.marked_tasks
        )
        scored = (spot for spot in self.material.population.spots if (spot.model, spot.task.id) in self.marked_tasks)
        return [spot for spot in (*scored, *failed) if self.marks_on(spot)]

    @cached_property
    def fresh(self) -> bool:
        """Whether a verifier or environment at fault was mended, so that the sample begins anew.

        Earlier marks don't show what the mended one does elsewhere: the reported faults are mended, but others may not
        be.
        """
        return any(
            mark.fault in ("verifier", "environment") and mark.reward != spot.cell.reward
            for spot in self.marked_spots
            for mark in self.marks_on(spot)
        )

    @cached_property
    def pool(self) -> list[Spot]:
        """The rollouts from which the main sample is drawn, in order.

        The first rollout that showed a faulty task stays even when the task is mended or declared, because it stands
        for faulty tasks that nobody has found yet. Other rollouts of that task are left out.
        """
        found, kept = set[str](), list[Spot]()
        for spot in self.material.population.spots:
            marks = self.marks_on(spot)
            if spot.task.id in found or (spot.task.id in self.material.declared and not marks):
                continue
            if self.fresh and self._was_read_before_mend(spot):
                continue
            kept.append(spot)
            if any(mark.fault == "task" for mark in faults_in(marks)):
                found.add(spot.task.id)
        return kept

    def _was_read_before_mend(self, spot: Spot) -> bool:
        since = self.material.rescored.get(spot.model)
        return since is not None and any(datetime.fromisoformat(one.at) < since for one in self.marks_on(spot))

    @cached_property
    def look(self) -> tuple[list[Spot], tuple[float, float] | None]:
        """The part of the main sample that has to be read by now, and its bounds if all of it is read.

        The next look is due if the one before does not decide, unless something has to be mended or settled first.
        """
        rule, chosen, bounds = self.material.population.rule, list[Spot](), None
        for look in rule.looks:
            chosen = self.pool[: look.rollouts]
            if any(self.is_unread(spot) for spot in chosen):
                return chosen, None
            bounds = self._bounds(sum(map(self.is_at_fault, chosen)), len(chosen), look.alpha)
            decided = bounds[1] < rule.limit or bounds[0] >= rule.limit
            if decided or len(chosen) == len(self.pool) or any(map(self._is_pending, chosen)):
                break
        return chosen, bounds

    def is_unread(self, spot: Spot) -> bool:
        return self.word(spot) is None and spot.task.id not in self.material.declared

    def is_at_fault(self, spot: Spot) -> bool:
        """Returns whether a rollout counts as at fault, even if it was mended or declared."""
        return bool(faults_in(self.marks_on(spot))) or self.standing(spot) == "unclear"

    def _is_pending(self, spot: Spot) -> bool:
        """Returns whether a verifier or environment has to be mended, or a second reader has to decide."""
        mark = self.word(spot)
        return mark is not None and mark.fault not in ("model", "task") and self.standing(spot) != "right"

    def _bounds(self, faults: int, read: int, alpha: float) -> tuple[float, float]:
        """Returns the bounds of the share at fault. All rollouts of declared tasks count as at fault."""
        spots = self.material.population.spots
        whole, share = read == len(self.pool), faults / max(1, read)
        lower = share if whole else binomial_lower(faults, read, 1 - alpha)
        upper = share if whole else binomial_upper(faults, read, 1 - alpha)
        known = sum(spot.task.id in self.material.declared for spot in spots) / max(1, len(spots))
        return (1 - known) * lower, known + (1 - known) * upper

    @cached_property
    def to_read(self) -> list[Spot]:
        """The real rollouts to read, except those of findings: main sample and quota."""
        return union(self.look[0], self.material.population.quota(self.material.declared))

    @cached_property
    def readers(self) -> list[str]:
        """The readers with a mark of a rollout, real or planted. All have to be measured."""
        marks = [*map(self.marks_on, self.marked_spots), *map(self.planted_marks, self.material.plants)]
        return list(dict.fromkeys(mark.by for one in marks for mark in one))

    def plants_left(self, by: str) -> list[Plant]:
        """Returns the planted faults that a reader has not read."""
        return [one for one in self.material.plants if self.planted_mark(one, by) is None]

    def planted_mark(self, one: Plant, by: str) -> Mark | None:
        return next((mark for mark in self.planted_marks(one) if mark.by == by), None)

    def planted_marks(self, one: Plant) -> Sequence[Mark]:
        return self.marks.get((one.base.model, one.content), ())

    @cached_property
    def unread(self) -> list[Spot]:
        return [spot for spot in self.to_read if self.is_unread(spot)]

    @cached_property
    def left(self) -> list[Spot]:
        """The rollouts that are still to be read, with the planted faults of each reader."""
        planted = [self.plants_left(by) for by in self.readers] or [self.material.plants]
        return [*self.unread, *(one.base for plants in planted for one in plants)]

    def queue(self, by: str) -> list[Spot | Plant]:
        """Returns what a reader has to read, with planted faults among it.

        That is what nobody has read, and what another reader could not decide or reported as a fault. The order is that
        of the contents' digests, so they are mixed.
        """
        others = [spot for spot in self.marked_spots if self.standing(spot) in ("fault", "unclear")]
        others = [spot for spot in others if all(mark.by != by for mark in self.marks_on(spot))]
        real = [*self.unread, *others]
        planted = self.plants_left(by) if real or by in self.readers else []
        return sorted([*real, *planted], key=lambda one: one.content)

    def is_settled(self, finding: Finding) -> bool:
        standings: dict[Key, Standing | None] = {
            spot.key: self.standing(spot) for spot in self.marked_spots if spot.model == finding.model
        }
        return is_settled(finding, standings, self.explained(finding.model))

    def explained(self, model: str) -> list[Explanation]:
        return list(explanations(self.remarks, model).values())


def review(read: Progress) -> Review:
    """Returns the progress of reading. The content of single marks is left out until all is read.

    Otherwise a reader could learn from it which rollout was planted.
    """
    finished, (chosen, bounds) = not read.left, read.look
    spots, declared = read.material.population.spots, read.material.declared
    known = [spot for spot in read.marked_spots if spot.task.id not in declared] if finished else []
    return Review(
        made=len(spots),
        declared=sum(spot.task.id in declared for spot in spots),
        limit=read.material.population.rule.limit,
        sample=len(chosen),
        at_fault=sum(map(read.is_at_fault, chosen)) if finished else 0,
        bounds=bounds if finished else None,
        fresh=read.fresh if finished else False,
        left=len(read.left),
        minutes=reading_minutes(spot.cell.output_tokens for spot in read.left),
        standing=_words(read, [spot for spot in known if read.standing(spot) == "fault"]),
        unclear=_words(read, [spot for spot in known if read.standing(spot) == "unclear"]),
        waiting=[finding for finding in read.material.findings if not read.is_settled(finding)],
        readers={by: _reader(read, by, finished) for by in _readers(read)},
        models={name: _model(read, name, finished) for name in read.material.results},
    )


def reading_minutes(output_tokens: Iterable[int]) -> float:
    """Returns about how many minutes it takes to read rollouts completely, by the output tokens of each."""
    return sum(SECONDS / 60 + WORDS_A_TOKEN * tokens / WORDS_A_MINUTE for tokens in output_tokens)


def _words(read: Progress, spots: Iterable[Spot]) -> list[Mark]:
    """Returns the deciding mark of each of these rollouts, one for each content."""
    made = {(spot.model, spot.content): (spot, mark) for spot in spots if (mark := read.word(spot))}
    return [structs.replace(mark, repeat=spot.cell.repeat) for spot, mark in made.values()]


def _readers(read: Progress) -> list[str]:
    return list(dict.fromkeys(mark.by for mark in read.remarks if isinstance(mark, Mark)))


def minutes_between(marks: Sequence[Mark]) -> float:
    """Returns how many minutes a reader needed for these marks, without pauses."""
    times = [datetime.fromisoformat(mark.at) for mark in marks]
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
    return sum(gap for gap in gaps if 0 <= gap <= PAUSE_S) / 60


def _reader(read: Progress, by: str, finished: bool) -> Reader:
    made = [one for one in read.remarks if isinstance(one, Mark) and one.by == by]
    own = Reader(
        read=len({(mark.model, mark.content) for mark in made if not mark.withdrawn}),
        first=made[0].at,
        last=made[-1].at,
        minutes=minutes_between(made),
    )
    if not finished:
        return own
    planted = [mark for one in read.material.plants if (mark := read.planted_mark(one, by))]
    right = {(s.model, s.content): s for s in read.marked_spots if read.standing(s) == "right"}.values()
    sound = [mark for spot in right for mark in read.marks_on(spot) if mark.by == by and _still_holds(mark, spot)]
    return structs.replace(
        own,
        planted=len(planted),
        found=sum(mark.fault in FAULTS for mark in planted),
        sound=len(sound),
        reported=sum(mark.fault in FAULTS for mark in sound),
    )


def _still_holds(mark: Mark, spot: Spot) -> bool:
    """Returns whether a mark is about the rollout's reward now. A report of a mended fault was not false."""
    return (mark.task_digest, mark.reward) == (spot.task_digest, spot.cell.reward)


def _model(read: Progress, name: str, finished: bool) -> ModelReview:
    spots = [spot for spot in read.to_read if spot.model == name]
    planted = [one for one in read.material.plants if one.base.model == name]
    held = _words(read, [spot for spot in read.marked_spots if spot.model == name]) if finished else []
    faults = Counter(mark.fault for mark in held)
    scored = read.material.results[name].scored
    return ModelReview(
        made=len(scored),
        failing=sum(cell.reward is None or cell.reward < 1 for cell in scored),
        sample=len(spots) + len(planted),
        marked=sum(not read.is_unread(spot) for spot in spots)
        + sum((name, one.content) in read.marks for one in planted),
        faults={fault: faults[fault] for fault in get_args(Fault) if faults[fault]},
        marks=held,
        explained=read.explained(name),
        settled=[one.detector for one in read.material.findings if one.model == name and read.is_settled(one)],
    )

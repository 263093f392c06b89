"""The rollouts that a page shows, the links to them, and the remarks on each."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from assay.fidelity.results.results import Results
from assay.fidelity.review.findings import rollouts_to_read
from assay.fidelity.schema.evidence import Finding, Mark, RolloutRef
from assay.fidelity.schema.profile import Piece, Profile, Reading

LIMIT = 150
"""The most rollouts in a page."""
TEXT = 12_000
"""The most characters of one text in a page, half of those of one rollout. The run directory has the rest."""
SUSPECTS = 20
"""The number of suspect tasks of which a page always shows a failing rollout."""
PIECES = 60
"""The most pieces of a rollout in a page."""
OPEN = 6
"""The most pieces of a rollout that are open. Of more pieces, those in the middle are folded."""

Place = tuple[str, str, int]
"""(model, task, repeat)."""


class Candidate(NamedTuple):
    """A rollout that could be in the page."""

    model: str
    task: str
    repeat: int
    category: str
    failing: bool
    """Less than full marks, or a failure."""


def place(item: RolloutRef | Mark | Reading | Candidate) -> Place:
    return item.model, item.task, item.repeat


def candidates(results: Mapping[str, Results]) -> list[Candidate]:
    """Returns every rollout that was made, by model."""
    return [
        Candidate(
            name,
            result.tasks[cell.task].id,
            cell.repeat,
            result.tasks[cell.task].tags.get("category", ""),
            cell.reward is None or cell.reward < 1,
        )
        for name, result in results.items()
        for cell in result.cells
    ]


def choose(rollouts: Sequence[Candidate], profile: Profile, limit: int = LIMIT) -> list[Candidate]:
    """Returns up to `limit` rollouts, in three groups in which models and categories take turns.

    First those that gates and marks name, some of each finding and one of each suspect task; then the others that
    findings name; then the others that fail.
    """
    first = {place(ref) for gate in profile.gates for ref in gate.rollouts}
    first |= {place(mark) for review in profile.review.models.values() for mark in review.marks}
    first |= {place(one.rollout) for finding in profile.findings for one in rollouts_to_read(finding)}
    later = {place(one.rollout) for finding in profile.findings for one in finding.spotted}
    suspects = {one.task for one in profile.suspects[:SUSPECTS]}
    # Of the last model that fails it: suites list the stronger ones later.
    first |= set({one.task: place(one) for one in rollouts if one.failing and one.task in suspects}.values())
    turns: Counter[tuple[int, str, str]] = Counter()
    ranks: list[tuple[int, int, int]] = []
    for index, one in enumerate(rollouts):
        rank = 0 if place(one) in first else 1 if place(one) in later else 2
        if rank == 2 and not one.failing:
            continue
        group = rank, one.model, one.category
        ranks.append((rank, turns[group], index))
        turns[group] += 1
    return [rollouts[index] for _, _, index in sorted(ranks)[: max(0, limit)]]


@dataclass(frozen=True, slots=True)
class Card:
    """A rollout as the page shows it."""

    reading: Reading
    mark: Mark | None
    """The last word on it."""
    findings: list[tuple[int, Finding, str]]
    """The place of each finding that names it, the finding, and the evidence."""


def cards(readings: Iterable[Reading], profile: Profile) -> list[Card]:
    """Returns the readings, each with its mark and its findings."""
    marks = {place(mark): mark for review in profile.review.models.values() for mark in review.marks}
    findings: dict[Place, list[tuple[int, Finding, str]]] = {}
    for index, finding in enumerate(profile.findings):
        for one in finding.spotted:
            findings.setdefault(place(one.rollout), []).append((index, finding, one.evidence))
    return [Card(one, marks.get(place(one)), findings.get(place(one), [])) for one in readings]


class Positions:
    """The address of each rollout in the page."""

    def __init__(self, readings: Sequence[Reading] = ()) -> None:
        self._places = {place(one): f"#reading-{index}" for index, one in enumerate(readings)}
        self._tasks: dict[str, str] = {}
        for one in readings:
            self._tasks.setdefault(one.task, self._places[place(one)])

    def of(self, ref: RolloutRef | Mark) -> str | None:
        """Returns the address of a rollout; None where it is not in the page."""
        return self._places.get(place(ref))

    def of_task(self, task: str) -> str | None:
        """Returns the address of a task's rollouts: here the first; None where none is in the page."""
        return self._tasks.get(task)

    def of_finding(self, finding: Finding) -> str | None:
        """Returns the address of all rollouts of a finding; None where the page has none."""
        return None

    def links(self, refs: Iterable[RolloutRef]) -> tuple[list[tuple[RolloutRef, str]], list[RolloutRef]]:
        """Returns the rollouts that are in the page, with their addresses, and those that are not."""
        addresses = [(ref, self.of(ref)) for ref in refs]
        return [(ref, at) for ref, at in addresses if at is not None], [ref for ref, at in addresses if at is None]


@dataclass(frozen=True, slots=True)
class Layout:
    """The pieces of a rollout in a page."""

    first: list[Piece]
    middle: list[Piece]
    last: list[Piece]
    left_out: int
    """The number of folded pieces that are not in the page."""
    limit: int
    """The most characters of each piece."""


def lay_out(pieces: Sequence[Piece]) -> Layout:
    """Returns the first and the last pieces, with those in the middle folded, so that a long rollout stays short."""
    limit = min(TEXT, max(300, 2 * TEXT // max(1, len(pieces))))
    if len(pieces) <= OPEN:
        return Layout([*pieces], [], [], 0, limit)
    first, middle, last = pieces[: OPEN // 2], [*pieces[OPEN // 2 : -OPEN // 2]], pieces[-OPEN // 2 :]
    half = PIECES // 2
    left_out = max(0, len(middle) - 2 * half)
    some = middle[:half] + middle[-half:] if left_out else middle
    return Layout([*first], some, [*last], left_out, limit)

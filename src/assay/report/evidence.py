"""What the page shows of originals, machines and persons, ready to be laid out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assay.fidelity.review.review import WHOSE, explains, is_settled, rollouts_to_read
from assay.fidelity.schema.evidence import (
    Explanation,
    Finding,
    Mark,
    Reproduced,
    ReviewState,
    Rung,
    RungName,
    Sighting,
)
from assay.fidelity.schema.profile import Profile, Verdict
from assay.report.cards import Shelf, place
from assay.report.words import THIN, by_unit, points

SHOWN = 12
"""Rollouts of a finding that the page lists; what is more is counted, as it is of the next two."""
SUSPECTS = 40
"""Suspect tasks."""
DISAGREEMENTS = 50
"""Places of a rung where the original and what is here are not the same."""
RUNGS: dict[RungName, str] = {
    "data": "Are the tasks the same, and their gold answers?",
    "prompts": "Is the model shown the same, byte by byte?",
    "verifiers": "Are the same outputs scored the same?",
    "samples": "Do fresh samples score the same, up to the margin?",
}
FAULTS = {fault: (words, f"var(--fault-{fault})") for fault, words in WHOSE.items()}
"""How the page calls and colours whose a failure is."""
TONES: dict[str, Verdict] = {
    "identical": "pass",
    "equivalent": "pass",
    "different": "fail",
    "refused": "inconclusive",
}
"""How verdicts about an original look; the others look like a gate's."""


def tone(verdict: str) -> str:
    """The gate's verdict that this one looks like, as a class's name."""
    return TONES.get(verdict, verdict).replace(" ", "-")


@dataclass(frozen=True, slots=True)
class FindingView:
    """A finding as the page shows it."""

    place: int
    """Among the profile's findings."""
    finding: Finding
    explained: Explanation | None
    settled: bool
    """Explained by a person, or all of its shown rollouts laid at the model."""
    spotted: list[tuple[Sighting, int | None]]
    """Some of its rollouts, with their place among the page's cards."""

    @property
    def more(self) -> int:
        return max(0, self.finding.count - len(self.spotted))


def finding_views(profile: Profile, shelf: Shelf, order: Sequence[str]) -> dict[str, list[FindingView]]:
    """By model, what machines found, the most frequent first."""
    views: dict[str, list[FindingView]] = {name: [] for name in order}
    for index, finding in enumerate(profile.findings):
        found = profile.review.get(finding.model, _UNREAD)
        explained = next((one for one in found.explained if explains(one, finding)), None)
        view = FindingView(index, finding, explained, _settled(finding, found), _spotted(finding, shelf))
        views.setdefault(finding.model, []).append(view)
    return {name: sorted(held, key=lambda view: -view.finding.count) for name, held in views.items() if held}


def standing(profile: Profile) -> int:
    """How many findings nobody has accounted for."""
    return sum(not _settled(one, profile.review.get(one.model, _UNREAD)) for one in profile.findings)


_UNREAD = ReviewState(failing=0, sample=0, marked=0)


def _settled(finding: Finding, found: ReviewState) -> bool:
    return is_settled(finding, {(mark.task, mark.repeat): mark for mark in found.marks}, found.explained)


def _spotted(finding: Finding, shelf: Shelf) -> list[tuple[Sighting, int | None]]:
    first = {place(one.rollout) for one in rollouts_to_read(finding)}
    at = [(one, shelf.places.get(place(one.rollout))) for one in finding.spotted]
    ranked = sorted(at, key=lambda pair: (place(pair[0].rollout) not in first, pair[1] is None))
    return ranked[:SHOWN]


def notable_marks(found: ReviewState) -> list[tuple[Mark, int]]:
    """A model's marks that say more than that it is the model's, and those with a note: each content once, with how
    many rollouts it holds for."""
    alike = Counter(mark.content for mark in found.marks)
    first: dict[str, Mark] = {}
    for mark in found.marks:
        first.setdefault(mark.content, mark)
    ranked = sorted(first.values(), key=lambda mark: mark.fault == "model")
    return [(mark, alike[mark.content]) for mark in ranked if mark.fault != "model" or mark.note]


@dataclass(frozen=True, slots=True)
class Figure:
    """One of the numbers that stand side by side for a published score."""

    name: str
    value: str
    note: str
    verdict: str | None = None


def figures(one: Reproduced) -> list[Figure]:
    """The published score, the original code's, and the one here."""
    repeats = "repeats not stated" if one.repeats is None else f"avg@{one.repeats}"
    if one.repeats is not None and not one.repeats_stated:
        repeats += " at the least"
    error = "" if one.reference_se is None else f"± {by_unit(one.reference_se, one.unit)}"
    return [
        Figure("published", by_unit(one.score, one.unit), repeats if one.producible else "no repeats can print it"),
        Figure("the original code", by_unit(one.reference_score, one.unit), error, one.verdict),
        Figure("here", by_unit(one.here_score, one.unit), "", one.here_verdict),
    ]


@dataclass(frozen=True, slots=True)
class Within:
    """A difference with its 90 % interval beside the margin, in per cent of a line's length; zero is at 50."""

    margin: tuple[float, float]
    interval: tuple[float, float]
    difference: float
    label: str


def within(rung: Rung) -> Within | None:
    """The drawing of a rung that compares scores; None where it has no difference with its error."""
    notable_marks: Mapping[str, Any] = rung.numbers
    difference, se, margin = (notable_marks.get(name) for name in ("difference", "se", "margin"))
    if difference is None or se is None or not margin:
        return None
    low, high = difference - 1.645 * se, difference + 1.645 * se
    reach = 1.15 * max(margin, abs(low), abs(high))

    def at(value: float) -> float:
        return round(50 + 50 * value / reach, 2)

    bounds = f"{points(100 * low)} to {points(100 * high)}"
    label = f"{points(100 * difference)} points, 90{THIN}% interval {bounds}; the margin is {points(100 * margin)}"
    return Within((at(-margin), at(margin)), (at(low), at(high)), at(difference), label)

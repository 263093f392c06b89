"""The page's views of the original, of detectors' findings and of readers' marks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assay.fidelity.review.findings import explains, rollouts_to_read
from assay.fidelity.review.review import WHOSE
from assay.fidelity.schema.evidence import (
    Explanation,
    Finding,
    Mark,
    ModelReview,
    Reproduced,
    Rung,
    RungName,
    Sighting,
)
from assay.fidelity.schema.profile import Profile, Verdict
from assay.report.cards import Positions, place
from assay.report.words import THIN, by_unit, points

MOST_ROLLOUTS = 12
"""The most rollouts of a finding in the page. The rest is counted, as for the next two."""
SUSPECTS = 40
"""The most suspect tasks."""
DISAGREEMENTS = 50
"""The most disagreements of a step of the ladder."""
RUNGS: dict[RungName, str] = {
    "data": "Are the tasks the same, and their gold answers?",
    "prompts": "Are the prompts the same, byte by byte?",
    "verifiers": "Are the same outputs scored the same?",
    "samples": "Do fresh samples score the same, up to the margin?",
}
FAULTS = {fault: (words, f"var(--fault-{fault})") for fault, words in WHOSE.items()}
"""The words and the colour for what is at fault."""
TONES: dict[str, Verdict] = {
    "identical": "pass",
    "equivalent": "pass",
    "different": "fail",
    "refused": "inconclusive",
}
"""The gate's verdict whose style each result has. Other results look like the verdict of that name."""


def tone(verdict: str) -> str:
    """Returns the gate's verdict whose style a result has, as the name of a CSS class."""
    return TONES.get(verdict, verdict).replace(" ", "-")


@dataclass(frozen=True, slots=True)
class FindingView:
    """A finding as the page shows it."""

    place: int
    """Its position among the profile's findings."""
    finding: Finding
    explanation: Explanation | None
    is_settled: bool
    """Whether a person explained it, or the rewards of all shown rollouts were found right."""
    rollouts: list[tuple[Sighting, str | None]]
    """Some of its rollouts, with their addresses in the page."""

    @property
    def more(self) -> int:
        return max(0, self.finding.count - len(self.rollouts))


def finding_views(profile: Profile, positions: Positions, order: Sequence[str]) -> dict[str, list[FindingView]]:
    """Returns the findings by model, the most frequent first."""
    views: dict[str, list[FindingView]] = {name: [] for name in order}
    for index, finding in enumerate(profile.findings):
        review = profile.review.models.get(finding.model, _NO_REVIEW)
        explanation = next((one for one in review.explained if explains(one, finding)), None)
        view = FindingView(
            index, finding, explanation, finding.detector in review.settled, _first_rollouts(finding, positions)
        )
        views.setdefault(finding.model, []).append(view)
    return {
        name: sorted(of_model, key=lambda view: -view.finding.count) for name, of_model in views.items() if of_model
    }


def standing(profile: Profile) -> int:
    """Returns the number of open findings."""
    done = {(name, detector) for name, review in profile.review.models.items() for detector in review.settled}
    return sum((one.model, one.detector) not in done for one in profile.findings)


_NO_REVIEW = ModelReview(made=0, failing=0, sample=0, marked=0)


def _first_rollouts(finding: Finding, positions: Positions) -> list[tuple[Sighting, str | None]]:
    first = {place(one.rollout) for one in rollouts_to_read(finding)}
    at = [(one, positions.of(one.rollout)) for one in finding.spotted]
    pairs = sorted(at, key=lambda pair: (place(pair[0].rollout) not in first, pair[1] is None))
    return pairs[:MOST_ROLLOUTS]


def notable_marks(review: ModelReview) -> list[Mark]:
    """Returns a model's marks that have a note or report a fault."""
    marks = sorted(review.marks, key=lambda mark: mark.fault == "model")
    return [mark for mark in marks if mark.fault != "model" or mark.note]


@dataclass(frozen=True, slots=True)
class Figure:
    """One of the numbers in the row of a published score."""

    name: str
    value: str
    note: str
    verdict: str | None = None


def figures(one: Reproduced) -> list[Figure]:
    """Returns the published score, the original code's, and the one here."""
    repeats = "repeats not stated" if one.repeats is None else f"avg@{one.repeats}"
    if one.repeats is not None and not one.repeats_stated:
        repeats += " at the least"
    error, here = ("" if se is None else f"± {by_unit(se, one.unit)}" for se in (one.reference_se, one.here_se))
    return [
        Figure("published", by_unit(one.score, one.unit), repeats if one.producible else "no repeats can print it"),
        Figure("the original code", by_unit(one.reference_score, one.unit), error, one.verdict),
        Figure("here", by_unit(one.here_score, one.unit), here, one.here_verdict),
    ]


@dataclass(frozen=True, slots=True)
class Within:
    """The positions of a difference, its 90 % interval and the margin on a line, in per cent. Zero is at 50."""

    margin: tuple[float, float]
    interval: tuple[float, float]
    difference: float
    label: str


def within(rung: Rung) -> Within | None:
    """Returns the drawing for a step that compares scores. None if it has no difference with an error."""
    numbers: Mapping[str, Any] = rung.numbers
    difference, se, margin = (numbers.get(name) for name in ("difference", "se", "margin"))
    if difference is None or se is None or not margin:
        return None
    low, high = difference - 1.645 * se, difference + 1.645 * se
    reach = 1.15 * max(margin, abs(low), abs(high))

    def at(value: float) -> float:
        return round(50 + 50 * value / reach, 2)

    bounds = f"{points(100 * low)} to {points(100 * high)}"
    label = f"{points(100 * difference)} points, 90{THIN}% interval {bounds}; the margin is {points(100 * margin)}"
    return Within((at(-margin), at(margin)), (at(low), at(high)), at(difference), label)

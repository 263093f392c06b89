"""A model that ran, with its results and findings."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from assay.config import Suite
from assay.fidelity.results.results import Results
from assay.fidelity.schema.evidence import Finding
from assay.stats.estimates import Estimate, estimate
from assay.stats.paired import Shift, difference
from assay.stats.repeats import RepeatsNeeded, repeats_needed

RATE_LIMIT = 0.05
"""The largest rate of failures, missing answers or token caps with which a score still describes the model."""
LARGEST_GAP = 0.1
"""The largest share of tasks without a score on one side of a comparison."""

Pairs = Sequence[tuple[str, str]]
"""(stronger, weaker) by name, as a suite states them."""


@dataclass(frozen=True)
class Contender:
    """A model that ran: its place in the suite, its results and findings."""

    name: str
    role: str
    kind: str
    tier: int
    results: Results
    findings: Sequence[Finding] = ()
    id: str = ""
    """The model's id at its server."""
    server: str = ""
    """The address of its server; empty if it runs in this process."""
    greedy: bool = False
    """Whether it decodes greedily, so that repeats should be the same."""

    @cached_property
    def estimate(self) -> Estimate:
        """Its score. Raises ValueError if it has none."""
        if self.results.sample is None:
            raise ValueError(f"{self.name} has no score")
        return estimate(self.results.sample)

    @cached_property
    def needed(self) -> RepeatsNeeded | None:
        """How many repeats bring the SD of its score down to one point; None below two tasks with two scores."""
        return repeats_needed(self.results.sample) if self.results.sample else None

    def ahead_of(self, other: "Contender") -> Shift:
        """Returns its score less the other's, paired by task. Raises ValueError below two common tasks."""
        if other.results.sample is None or self.results.sample is None:
            raise ValueError(f"{other.name} or {self.name} has no score")
        return difference(other.results.sample, self.results.sample)


def strongest(contenders: Iterable[Contender], order: Pairs = ()) -> list[Contender]:
    """Returns the models with a score of which no other is stronger by the suite, the best score first.

    Of several, the first is partly the best by chance, so alpha is divided by their number.
    """
    return _ends(contenders, order)[::-1]


def weakest(contenders: Iterable[Contender], order: Pairs = ()) -> list[Contender]:
    """Returns the models with a score of which no other is weaker by the suite, the lowest score first."""
    return _ends(contenders, [(weak, strong) for strong, weak in order])


def _ends(contenders: Iterable[Contender], order: Pairs) -> list[Contender]:
    """Returns the models that are not the second of any pair, or chain of pairs, of these models."""
    scored = [one for one in contenders if one.results.sample]
    names, above = {one.name for one in scored}, set(order)
    while more := {(a, d) for a, b in above for c, d in above if b == c} - above:
        above |= more
    second = {b for a, b in above if a in names and a != b}
    return sorted((one for one in scored if one.name not in second), key=lambda one: one.estimate.score)


def of_role(contenders: Iterable[Contender], *roles: str) -> list[Contender]:
    """Returns the models of these roles."""
    return [one for one in contenders if one.role in roles]


def why_no_open_score(contenders: Iterable[Contender]) -> str:
    """Returns why no open model has a score."""
    opened = of_role(contenders, "open")
    if not opened:
        return "No open model has run."
    if few := [one for one in opened if one.results.scored]:
        score = few[0].results.score
        return f"No task of {few[0].name} has the {score.attempts} scored attempts that the {score} takes."
    return f"No rollout of {', '.join(one.name for one in opened)} has a score, only failures."


def measured_models(suite: Suite, contenders: Iterable[Contender]) -> list[Contender]:
    """Returns all models but the built-in ones (gold, null, chance), which fail on purpose or never."""
    own = {name for name, member in suite.models.items() if member.role == "policy" and member.answers_tasks}
    return [one for one in contenders if one.name not in own]

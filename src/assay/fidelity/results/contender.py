"""A model that ran, with its results and findings."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from assay.config import Suite
from assay.fidelity.results.results import Results
from assay.fidelity.schema.evidence import Finding
from assay.stats.estimates import Estimate, estimate

RATE_LIMIT = 0.05
"""The largest rate of failures, of missing answers or of token caps at which a score describes the model."""
LARGEST_GAP = 0.1
"""The largest share of tasks without a score on one side of a comparison."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A model that ran: its place in the suite, its results and findings."""

    name: str
    role: str
    kind: str
    tier: int
    results: Results
    findings: Sequence[Finding] = ()

    @property
    def estimate(self) -> Estimate:
        return estimate(self.results.rewards_TK)


def strongest(contenders: Sequence[Contender], role: str) -> Contender | None:
    """Returns the model of a role with the highest score. None if none has a score."""
    scored = [c for c in contenders if c.role == role and c.results.scored]
    return max(scored, key=lambda c: c.estimate.score, default=None)


def measured_models(suite: Suite, contenders: Iterable[Contender]) -> list[Contender]:
    """Returns all models but the built-in ones (gold, null, chance), which fail on purpose or never."""
    own = {name for name, member in suite.models.items() if member.role == "policy" and member.answers_tasks}
    return [one for one in contenders if one.name not in own]

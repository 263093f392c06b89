"""A model that ran, as gates and comparisons see it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from assay.config import Suite
from assay.fidelity.results.results import Results
from assay.fidelity.schema.evidence import Finding
from assay.stats.estimates import Estimate, estimate

RATE_LIMIT = 0.05
"""Of failures, of missing answers and of token caps: above it, a score says little of the model."""
LARGEST_GAP = 0.1
"""The share of tasks that may lack a score on one side of a comparison."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A model that ran, as the gates see it."""

    name: str
    role: str
    kind: str
    tier: int
    results: Results
    findings: Sequence[Finding] = ()
    """What the detectors found in its rollouts."""

    @property
    def estimate(self) -> Estimate:
        return estimate(self.results.rewards_TK)


def strongest(contenders: Sequence[Contender], role: str) -> Contender | None:
    """The model of a role with the highest score; `None` where none has one."""
    scored = [c for c in contenders if c.role == role and c.results.scored]
    return max(scored, key=lambda c: c.estimate.score, default=None)


def measured_models(suite: Suite, contenders: Iterable[Contender]) -> list[Contender]:
    """The models whose failures say something: all but the gates' own, which fail on purpose, or never."""
    own = {name for name, member in suite.models.items() if member.role == "policy" and member.answers_tasks}
    return [one for one in contenders if one.name not in own]

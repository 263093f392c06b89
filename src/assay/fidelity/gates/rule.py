"""The definition of a gate, the facts that gates are computed from, and what several gates share."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from assay.benchmark import Benchmark
from assay.config import Suite
from assay.fidelity.results.contender import Contender
from assay.fidelity.schema.evidence import Parity, Reproduced, Review
from assay.fidelity.schema.judging import Judging
from assay.fidelity.schema.profile import Gate
from assay.types import Task

SHOWN = 12
"""The most tasks or rollouts that one gate names."""
FAILS = 0.05
"""The p-value at which a gate that is a test fails, after Holm's correction. Passes need none: all gates must pass."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The data from which the gates of a profile are computed: all in memory, without files or models."""

    suite: Suite
    chance: float
    """The score of a guess, as the benchmark states it."""
    contenders: Sequence[Contender]
    review: Review = field(default_factory=Review)
    parities: Mapping[str, Parity] = field(default_factory=dict[str, Parity])
    reproduced: Sequence[Reproduced] = ()
    judge: dict[str, Any] | None = None
    """The id and the settings of the judge that scored the runs; None if there is no judge."""
    judging: Judging | None = None
    """The judge's later judgements of the same answers."""
    original: bool = False
    """Whether the benchmark states that there is no other code to compare it with."""
    margins: Mapping[str, float] = field(default_factory=dict[str, float])
    """By gate, the margin that was registered before the first run, as a share."""
    digests: tuple[str, str] = ("", "")
    """Digests of the benchmark's tasks and of its code, as they are now."""
    benchmark: str = ""
    """Its name."""
    hard: str = ""
    """The reason why no open model solves the benchmark, as it declares; empty if it declares none."""

    @cached_property
    def last_tier(self) -> bool:
        """Whether every tier of the suite has run."""
        return {c.tier for c in self.contenders} >= {m.tier for m in self.suite.models.values()}

    @cached_property
    def missing(self) -> list[str]:
        """The models without a run in tiers that have run; in any tier if the suite runs all tiers."""
        ran = {contender.name for contender in self.contenders}
        top = max((contender.tier for contender in self.contenders), default=0)
        members = self.suite.models.items()
        return [n for n, member in members if n not in ran and (self.suite.tiers == "all" or member.tier <= top)]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRule:
    """The definition of a gate, with one of two computations."""

    name: str
    question: str
    needs: str
    """Its input, as README says."""
    of_benchmark: Callable[[Benchmark, Sequence[Task], int], Awaitable[Gate]] | None = None
    """Computes the gate from the benchmark alone, with its verifier. Its random choices depend on the seed."""
    of_facts: Callable[[Facts], Gate] | None = None
    """Computes the gate from the facts about the profile."""
    waits: bool = False
    """Whether it is inconclusive while rollouts are owed."""
    compares_with_original: bool = False
    """Whether it does not apply to a benchmark that is the original."""


def by_reason(reasons: Mapping[str, str]) -> list[str]:
    """Returns the reasons of models, each once, behind the names of the models that have it."""
    models: dict[str, list[str]] = {}
    for model, reason in reasons.items():
        models.setdefault(reason, []).append(model)
    return [f"{', '.join(names)}: {reason}" for reason, names in models.items()]


def signed_points(share: float) -> str:
    """Returns a share in percentage points with its sign, such as −3.2."""
    return f"{100 * share:+.1f}".replace("-", "−")

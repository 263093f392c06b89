"""What a gate is: its rule, the facts that it is computed from, and what several gates share."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from assay.benchmark import Benchmark
from assay.config import Suite
from assay.fidelity.results.contender import Contender
from assay.fidelity.schema.evidence import Finding, Parity, Reproduced, ReviewState
from assay.fidelity.schema.profile import Gate
from assay.types import Task

SHOWN = 12
"""Tasks or rollouts that one gate names at most."""
ALPHA = 0.025
"""One-sided, so that a test passes where the 95 % interval's end is beyond the bound (before Holm's correction)."""


@dataclass(frozen=True, slots=True)
class Test:
    """A question put to data: the p-values of "not so" and of "the opposite", and what it says without correction."""

    p_pass: float
    p_fail: float


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a profile when its gates are computed: all in memory, no file and no model."""

    suite: Suite
    chance: float
    """The score that guessing is stated to reach."""
    contenders: Sequence[Contender]
    findings: Sequence[Finding] = ()
    reviews: Mapping[str, ReviewState] = field(default_factory=dict[str, ReviewState])
    parities: Mapping[str, Parity] = field(default_factory=dict[str, Parity])
    reproduced: Sequence[Reproduced] = ()
    original: bool = False
    """Whether the benchmark states that there is no other code to compare it with."""
    digests: tuple[str, str] = ("", "")
    """Of the benchmark's tasks and of its code, as they are now."""
    tests: Mapping[str, Test] = field(default_factory=dict[str, Test])
    """By gate, corrected for there being several."""

    @cached_property
    def last_tier(self) -> bool:
        """Whether every tier of the suite has run."""
        return {c.tier for c in self.contenders} >= {m.tier for m in self.suite.models.values()}

    @cached_property
    def missing(self) -> list[str]:
        """The models without a run that belong to the tiers that have run; where none is climbed, to any."""
        ran = {contender.name for contender in self.contenders}
        top = max((contender.tier for contender in self.contenders), default=0)
        members = self.suite.models.items()
        return [n for n, member in members if n not in ran and (self.suite.tiers == "all" or member.tier <= top)]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRule:
    """A gate before it is computed. It has one of the two computations."""

    name: str
    question: str
    needs: str
    """What it is computed from, as the README names it."""
    of_benchmark: Callable[[Benchmark, Sequence[Task]], Awaitable[Gate]] | None = None
    """Computes it from the benchmark alone: its verifier is run."""
    of_facts: Callable[[Facts], Gate] | None = None
    """Computes it from what is known of the profile."""
    test: Callable[[Facts], Test | None] | None = None
    """Its p-values, of a gate that is a test; None where there are too few data."""
    waits: bool = False
    """Whether it is inconclusive while rollouts are owed."""
    compares_with_original: bool = False
    """Whether it does not apply to a benchmark that is the original."""

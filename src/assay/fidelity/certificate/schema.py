"""What a certificate says: the structs of `certificate.json`."""

from collections import Counter
from pathlib import PurePath
from typing import Any

from msgspec import Struct

from assay.config import LOOP, AgentConfig
from assay.fidelity.certificate.files import FileRecord
from assay.fidelity.certificate.registry import Register
from assay.fidelity.schema.evidence import OriginalSource, RungResult
from assay.fidelity.schema.profile import Gate, ModelSummary
from assay.score import ScoreRule, Selection
from assay.store import RescoreSource
from assay.types import Kind, Role, RolloutLimits, Sampling

FORMAT = 2
"""Raised when the gates change: a certificate of other gates says something else."""
NAME = "certificate.json"


class CertifiedBenchmark(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The benchmark that was measured: all of it that decides about a score."""

    name: str
    version: str
    source: str
    """How it was named on the command line."""
    tasks: int
    tasks_digest: str
    prompts_digest: str
    """Of what a model is shown: input items, tools, output format."""
    code: str
    """Digest of its own Python files."""
    sources: dict[str, str]
    """SHA-256 of these and of Assay's files that they stand on."""
    selection: Selection
    """The tasks that were asked for."""
    score: ScoreRule
    """What the benchmark declares that its score is."""
    repeats: int
    sampling: Sampling
    limits: RolloutLimits
    chance: float
    formats: list[str]
    hard: str
    """Why no open model masters it, as it declares; empty where it declares nothing."""
    original: bool
    """Whether it claims that there is no other code to compare it with."""
    repository: str | None
    """Where the original code is, as published.toml states it."""
    published: str | None
    """SHA-256 of its published.toml."""
    margins: dict[str, float]
    """By gate, the margin of the comparison with the original, as a share."""


class CertifiedModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model of the suite: how it was run, and how it did."""

    role: Role
    kind: Kind
    tier: int
    summary: ModelSummary
    run: str | None = None
    """The run's id; null where the model did not run."""
    server: dict[str, Any] = {}
    identity: dict[str, Any] = {}
    """The part of the server's configuration that decides which outputs to expect."""
    roles: dict[str, Any] = {}
    """The identities of the models that it was asked together with."""
    sampling: Sampling = Sampling()
    limits: RolloutLimits = RolloutLimits()
    agent: AgentConfig = LOOP
    seed: int = 0
    started: str | None = None
    rollouts: str | None = None
    """Digest of the files of its rollouts."""
    rescored: RescoreSource | None = None
    """The run that its rollouts were taken from, where another verifier scored them at first."""
    versions: dict[str, str] = {}
    by_repeat: list[float | None] = []
    """The score of each repeat alone: the mean over tasks."""


class CertifiedParity(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `assay parity` found for one model, with the scores of the original code."""

    verdict: RungResult
    reason: str
    margin: float
    at: str
    reference: OriginalSource
    by_repeat: list[float | None]


class Certificate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`certificate.json`."""

    format: int = FORMAT
    sealed: bool = False
    """Whether texts are withheld: its evidence is `sealed.jsonl` alone."""
    verified: bool
    missing: list[str]
    """What keeps it from being verified, a line each; empty where it is."""
    benchmark: CertifiedBenchmark
    suite: str
    models: dict[str, CertifiedModel]
    gates: list[Gate]
    parity: dict[str, CertifiedParity]
    """By model."""
    evidence: dict[str, FileRecord]
    """By path in the profile's folder."""
    registry: Register
    changed_since: list[str] = []
    """The parts of the plan and the benchmark that are not as they were announced."""
    versions: dict[str, str]
    computed_by: str
    """Digest of Assay's own code: another one may word or round something otherwise."""
    made: str
    """ISO 8601, UTC."""
    signed_by: str | None = None
    """The key's fingerprint."""
    digest: str = ""
    """Of everything above, as canonical JSON."""

    @property
    def redraws(self) -> int:
        """The number of times that a profile of as many tasks was begun otherwise: the most runs of one of its models.

        Each has other rollouts to read, so that somebody might choose among them. The one that this was rescored from
        has the same, and is left out.
        """
        taken = {model.rescored.id for model in self.models.values() if model.rescored}
        others = Counter(
            run.model
            for run in self.registry.runs
            if run.fate not in ("in this profile", "left out", "never begun")
            and run.id not in taken
            and run.tasks == self.benchmark.tasks
            and PurePath(run.path).parent.name == "runs"
        )
        return max((others[name] for name in self.models), default=0)

"""The structs of `certificate.json`."""

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
"""It is raised when the gates change, because a certificate of other gates means something else."""
NAME = "certificate.json"


class CertifiedBenchmark(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The measured benchmark: all that decides a score."""

    name: str
    version: str
    source: str
    """Its name on the command line."""
    tasks: int
    tasks_digest: str
    prompts_digest: str
    """Digest of the parts that a model sees: input items, tools, output format."""
    code: str
    """Digest of its own Python files."""
    sources: dict[str, str]
    """SHA-256 of these files and of Assay's files that they use."""
    selection: Selection
    """The tasks of the runs."""
    score: ScoreRule
    """The score that the benchmark declares."""
    repeats: int
    sampling: Sampling
    limits: RolloutLimits
    chance: float
    formats: list[str]
    hard: str
    """The reason why no open model solves it, as it declares; empty if it declares none."""
    original: bool
    """Whether it declares that there is no other code to compare it with."""
    repository: str | None
    """The address of the original code in published.toml."""
    published: str | None
    """SHA-256 of its published.toml."""
    margins: dict[str, float]
    """By gate, the margin of the comparison with the original, as a share."""


class CertifiedModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model of the suite: its run and its results."""

    role: Role
    kind: Kind
    tier: int
    summary: ModelSummary
    run: str | None = None
    """The run's id; null if the model did not run."""
    server: dict[str, Any] = {}
    identity: dict[str, Any] = {}
    """The part of the server's configuration that outputs depend on."""
    roles: dict[str, Any] = {}
    """The identities of the models in roles."""
    sampling: Sampling = Sampling()
    limits: RolloutLimits = RolloutLimits()
    agent: AgentConfig = LOOP
    seed: int = 0
    started: str | None = None
    rollouts: str | None = None
    """Digest of the files of its rollouts."""
    rescored: RescoreSource | None = None
    """The run with its rollouts, if another verifier scored them first."""
    versions: dict[str, str] = {}
    by_repeat: list[float | None] = []
    """The score of each repeat alone: the mean over tasks."""


class CertifiedParity(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The result of `assay parity` for one model, with the scores of the original code."""

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
    """What keeps it from being verified, a line each; empty if it is verified."""
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
    """The parts of the plan and the benchmark that differ from the announcement."""
    versions: dict[str, str]
    computed_by: str
    """Digest of Assay's own code. Other code may word or round something differently."""
    made: str
    """ISO 8601, UTC."""
    signed_by: str | None = None
    """The key's fingerprint."""
    digest: str = ""
    """Of everything above, as canonical JSON."""

    @property
    def redraws(self) -> int:
        """The number of other runs of the same number of tasks, for the model with the most of them.

        Each has other rollouts, so somebody could choose among them. A run that this one was rescored from has the same
        rollouts, and does not count.
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

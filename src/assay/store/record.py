"""What a run is a run of: `run.json`."""

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, structs

from assay.config import LOOP, AgentConfig, convert
from assay.digest import changed_files, digest
from assay.errors import InputError, UsageError
from assay.input import BROKEN, is_present, read_input
from assay.score import Mean, ScoreRule, Selection
from assay.types import RolloutLimits, Sampling


class RoleRecord(Struct, frozen=True):
    """The model in one role of a run, such as its judge."""

    server: dict[str, Any]
    """Its configuration, without secrets; empty if the benchmark's own model is used."""
    identity: dict[str, Any]


class RescoreSource(Struct, frozen=True, kw_only=True):
    """The run whose rollouts a rescored run took over, as it was then."""

    run: str
    """Its folder's name."""
    id: str
    version: str
    tasks_digest: str
    code: str
    rollouts: str
    """SHA-256 of its files of rollouts, one after the other."""


class RunRecord(Struct, frozen=True, kw_only=True):
    """`run.json`: what a run is a run of."""

    benchmark: str
    version: str
    tasks: int
    all_tasks: int | None = None
    """The benchmark's, where the run is of some of them."""
    selection: Selection = Selection()
    """How those were selected."""
    tasks_digest: str
    code: str
    """Digest of the code that decides scores: those of two verifiers are not joined."""
    sources: dict[str, str] = {}
    """That code: SHA-256 by file, and the version of each package that it imports."""
    model: str
    server: dict[str, Any]
    """The model server's configuration. Secrets are never in it: it names the environment variable that holds them."""
    identity: dict[str, Any]
    """The part of the model server's configuration that decides which outputs to expect."""
    sampling: Sampling
    """The protocol's sampling."""
    limits: RolloutLimits = RolloutLimits()
    """The protocol's limits."""
    agent: AgentConfig = LOOP
    """What drove the model: the tool loop in files from before it was written down."""
    score: ScoreRule = Mean()
    """What the benchmark declares that its score is."""
    seed: int
    repeats: int
    """Repeats planned when the run began. Later commands may have added more."""
    versions: dict[str, str]
    started: str
    """ISO 8601, UTC."""
    roles: dict[str, RoleRecord] = {}
    """The models that sessions ask beside the policy."""
    id: str = ""
    """A random name, for the registry: it tells a run from another that was begun in the same folder."""
    rescored: RescoreSource | None = None
    """For a run whose turns were taken from another run: that run, as its verifier was then."""

    def differences(self, other: "RunRecord", *, here: str = "there", elsewhere: str = "now") -> list[str]:
        """Returns what keeps the two from being one run, a line each. The words say where each of the two stands."""
        names = (
            "benchmark",
            "version",
            "tasks",
            "tasks_digest",
            "code",
            "identity",
            "sampling",
            "limits",
            "score",
            "seed",
        )
        pairs = [(name, getattr(self, name), getattr(other, name)) for name in names]
        mine, theirs = self.agent, other.agent
        pairs.append(("agent", structs.replace(mine, version=""), structs.replace(theirs, version="")))
        pairs.append(("the agent's version", mine.version, theirs.version))
        for role in sorted(self.roles.keys() | other.roles.keys()):
            mine, theirs = self.roles.get(role), other.roles.get(role)
            pairs.append((f"the {role}", mine and mine.identity, theirs and theirs.identity))
        different = [pair for pair in pairs if pair[1] != pair[2]]
        return [
            f"code: {', '.join(changed)}"
            if name == "code" and (changed := changed_files(self.sources, other.sources))
            else f"{name}: {_short(mine)} {here}, {_short(theirs)} {elsewhere}"
            for name, mine, theirs in different
        ]


def read_record(folder: Path) -> RunRecord:
    """Returns what the run in a folder is a run of. Raises UsageError or InputError."""
    path = folder / "run.json"
    if not is_present(path):
        raise UsageError(f"{folder} is not a run directory: it has no run.json")
    try:
        return convert(msgspec.json.decode(read_input(path)), RunRecord, path)
    except BROKEN as error:
        raise InputError(path, None, str(error), "the JSON that `assay run` wrote") from None


def _short(value: Any) -> str:
    return value[:12] if isinstance(value, str) else str(value) if len(str(value)) < 200 else digest(value)[:12]

"""Options that several commands share, each written once.

A command takes them as a parameter, such as `code: Code = Code()`; on the command line they stand among its own.
"""

import dataclasses
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from msgspec.structs import replace

from assay.benchmark import Benchmark
from assay.benchmark.catalog import GYMS, divide, path_of, separate
from assay.collect.head import Collector
from assay.config import ModelConfig, assay_toml, load_model
from assay.errors import UsageError
from assay.input import is_present
from assay.library.collecting import collector_of
from assay.library.names import budget_of, load
from assay.model.wrappers.budget import Budget
from assay.plugins import find, plugins
from assay.report.words import legible
from assay.sandbox import Place

BenchmarkName = Annotated[
    str,
    Parameter(help="A benchmark's name (see `assay list benchmarks`), the path of its folder, or such as maths:FILE."),
]
AgentName = Annotated[
    str, Parameter(help="An agent's name (see `assay list agents`, and [agents.NAME] in assay.toml).")
]
Paths = Annotated[tuple[str, ...], Parameter(negative="", consume_multiple=True)]
"""Files, folders and patterns; see `assay.gyms.rows.files_of`."""
Assignments = Annotated[tuple[str, ...], Parameter(name="--set", negative="")]
"""`--set KEY=VALUE`, which may be given several times."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns of a data set hold what."""

    column: Annotated[tuple[str, ...], Parameter(negative="", consume_multiple=True)] = ()
    """For maths:FILE, qa:FILE, mcq:FILE and code:FILE: WHAT=COLUMN for each column that is not found by its name, such
    as --column problem=question answer=gold."""

    gold_field: str | None = None
    """For inspect:NAME, verifiers:NAME and hf:NAME: the field with the reference answer, such as answer or info.answer,
    for the gates that need one. It may name a field of a sample's metadata, or of a row."""

    def of(self, benchmark: str) -> str:
        """Returns the benchmark's name with its columns. Raises UsageError."""
        if self.gold_field:
            gyms = [name for name in plugins(GYMS) if getattr(find(GYMS, name), "GOLD_FIELD", True)]
            if benchmark.partition(":")[0] not in gyms:
                expected = ", ".join(f"{name}:NAME" for name in gyms)
                raise UsageError(f"--gold-field: {benchmark} states its golds itself; expected {expected}")
            return f"{benchmark},gold={self.gold_field}"
        for assignment in self.column:
            if list(divide(f",{assignment}")[1].items()) != [assignment.partition("=")[::2]]:
                raise UsageError(f"--column {assignment}: expected WHAT=COLUMN, such as problem=question")
        if self.column and path_of(benchmark) == benchmark:
            raise UsageError(f"--column {self.column[0]}: {benchmark} is made of no file; expected such as maths:FILE")
        return ",".join((benchmark, *self.column))

    def of_each(self, benchmarks: str) -> list[str]:
        """Returns the names of benchmarks that commas separate, one of them with its columns. Raises UsageError."""
        names = [benchmarks] if is_present(Path(benchmarks)) else separate(benchmarks)
        if self.column and len(names) > 1:
            raise UsageError(
                f"--column {self.column[0]}: of several benchmarks, write it after the one that it is of, such as "
                "maths:FILE,problem=question"
            )
        return [self.of(name) for name in names]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Code:
    """Where code that a model wrote runs."""

    sandbox: str | None = None
    """Where code that a model wrote runs: bubblewrap (the default), docker, podman, docker:IMAGE or subprocess. The
    machines of harbor:DIR are Assay's own, docker's or podman's. [sandbox.docker] and [sandbox.podman] in assay.toml
    say what these need."""
    unsafe: Annotated[bool, Parameter(negative="")] = False
    """Allow --sandbox subprocess, which isolates nothing."""
    network: str | None = None
    """none or public: what tasks of harbor:DIR get that state a network. It is recorded."""
    image: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """NAME=BASE: the image to use in place of one that is not available here, such as python:3.11=debian:bookworm or
    NAME=ROOT.tar. It is recorded, as it may change results. For harbor:DIR; may be given several times."""

    def load(self, name: str) -> Benchmark:
        """Returns the benchmark, with its sandbox there, and prints its remark. Raises UsageError."""
        settings = {"network": self.network, "image": "+".join(self.image)}
        suffix = "".join(f",{key}={value}" for key, value in settings.items() if value)
        if suffix and name.partition(":")[0] not in plugins(GYMS):
            raise UsageError(f"--network and --image: {name} has no machine of an image; expected such as harbor:DIR")
        name += suffix
        bench = load(name, sandbox=self.place())
        if bench.environment.remark:
            print(legible(f"{bench.name}: {bench.environment.remark}"), file=sys.stderr)
        return bench

    def place(self) -> Place | None:
        """Returns the place; None where it is the benchmark's choice. Raises UsageError."""
        return None if self.sandbox is None else Place.parse(self.sandbox, unsafe=self.unsafe, own=assay_toml().sandbox)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Roles:
    """The models that a benchmark asks beside the one that is measured."""

    role: Annotated[tuple[str, ...], Parameter(name="--with", negative="")] = ()
    """ROLE=NAME: the model that the benchmark asks in a role beside the one that is measured, such as --with
    judge=NAME. May be given several times."""

    def configs(self) -> dict[str, ModelConfig]:
        """Returns the configuration of the model in each role. Raises UsageError."""
        roles: dict[str, ModelConfig] = {}
        for assignment in self.role:
            role, sign, name = assignment.partition("=")
            if not sign:
                raise UsageError(f"--with {assignment}: expected ROLE=NAME, such as --with judge=NAME")
            roles[role.strip()] = load_model(name.strip(), own=assay_toml())[1]
        return roles


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Workers:
    """How many rollouts are made at once, and by which processes."""

    concurrency: int = 64
    """Rollouts in flight at most, in all processes together."""
    processes: int | None = None
    """Number of processes that make rollouts, to use more than one core; this one divides the plan and writes the
    file. They share the concurrency, the models' limits and the budget. One that dies is replaced. Default: 1, or with
    --ray one for each CPU of the cluster."""
    ray: bool | str = False
    """Make the rollouts on a Ray cluster: at ADDRESS; with `auto`, on the one that this machine belongs to; alone, on
    one that is started on this machine. --processes is then the number of actors. [ray] in assay.toml says what an
    actor needs and takes along."""
    ray_cpus: float | None = None
    """CPUs that each Ray actor needs. Default: 1."""

    @contextmanager
    def collector(self) -> Generator[Collector]:
        """Yields what collects runs: this process, several processes, or actors on a Ray cluster. Raises UsageError."""
        if self.ray is False and self.ray_cpus is not None:
            raise UsageError("--ray-cpus says what actors on a Ray cluster need; give --ray too")
        config = assay_toml().ray
        config = config if self.ray_cpus is None else replace(config, cpus=self.ray_cpus)
        with collector_of(self.processes, self.ray, config) as collector:
            yield collector


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Spending:
    """What may be spent."""

    budget_tokens: int | None = None
    """Stop before this many tokens are used, input and output together, those of earlier commands and of all models
    included."""
    budget_usd: float | None = None
    """Stop before this many US dollars are spent, by the prices in the models' configuration."""

    def budget(self) -> Budget | None:
        """Returns the budget, or None if there is none. Raises UsageError."""
        return budget_of(self.budget_tokens, self.budget_usd)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which rollouts are made."""

    repeats: int | None = None
    """Rollouts per task. Default: what the benchmark says."""
    only: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """TAG=VALUE: only the tasks with this tag, such as --only subset=snarks. May be given several times."""
    limit: int | None = None
    """Only N tasks, drawn by the seed and balanced over groups. --limit 120 contains the tasks of --limit 60."""
    seed: int = 0
    """All randomness comes from this number, the task's id and the repeat."""
    early_stop: bool = True
    """Stop a model if it gives nothing but failures."""
    batch: Annotated[bool, Parameter(negative="")] = False
    """Ask models of the dialects responses and messages by their batch APIs: within a day, at half the price. For
    benchmarks of one question a task."""

    def request(self) -> dict[str, Any]:
        """Returns these as a run's request has them. Raises UsageError."""
        pairs = [assignment.partition("=") for assignment in self.only]
        for tag, sign, value in pairs:
            if not (tag and sign):
                raise UsageError(f"--only {tag}{sign}{value}: expected TAG=VALUE, such as --only subset=snarks")
        return dataclasses.asdict(self) | {"only": {tag: value for tag, _, value in pairs}}


def names_of(text: str | None) -> list[str] | None:
    """Returns the names in a text that commas separate."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]

"""A run: one benchmark x one model, in a directory. Begins or resumes it, and collects what is owed."""

import dataclasses
import platform
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import structs

from assay.agent import Agent
from assay.agent.catalog import make_agent
from assay.benchmark import Benchmark
from assay.benchmark.code import score_code
from assay.collect.collect import Interruption, Tally, collect
from assay.collect.plan import owed, plan
from assay.config import LOOP, AgentConfig, ModelConfig
from assay.digest import digest, tasks_digest
from assay.errors import BudgetSpent, UnknownName, UsageError
from assay.model import DIALECTS, Model, connect, identity_of
from assay.model.wrappers.budget import Budget
from assay.model.wrappers.guard import Guarded
from assay.plugins import find
from assay.sandbox import PLACE
from assay.store import RoleRecord, RunRecord, Shard, Store, progress, read_rollouts
from assay.types import Task

S = TypeVar("S", bound=ModelConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What one command asks of a run."""

    benchmark: Benchmark
    name: str
    """The model's short name."""
    server: ModelConfig
    agent: AgentConfig = LOOP
    folder: Path
    repeats: int
    limit: int | None = None
    """Only so many tasks, from the first."""
    concurrency: int = 64
    shard: Shard = field(default_factory=Shard)
    sharing: int = 1
    """How many processes, this one among them, share the limits of the models."""
    seed: int = 0
    early_stop: bool = True
    budget: Budget | None = None
    """What may still be spent. One budget may be shared by several runs."""
    roles: Mapping[str, ModelConfig] = field(default_factory=dict[str, ModelConfig])
    """The models that sessions ask beside this one; the benchmark's own where a role is not named."""
    registry: Path | None = None
    """The `started.jsonl` where the run is written down before it starts."""


async def collect_run(
    asked: RunPlan,
    *,
    model: Model | None = None,
    agent: Agent | None = None,
    interruption: Interruption | None = None,
    watch: Callable[[Tally], None] = lambda _: None,
) -> Tally:
    """Collect what the run still owes; `watch` is handed the running tally before the first rollout.

    `model` stands in place of the one that the configuration says, and `agent` in place of the one that it names.
    Raises UsageError, DigestMismatch and StoppedEarly (NothingScored, BudgetSpent). What was collected is kept.
    """
    async with open_run(asked, model) as ready:
        budget, server, guarded, tasks = asked.budget, asked.server, ready.model, ready.tasks
        with Store(asked.folder, ready.record, tasks, asked.shard, registry=asked.registry) as store:
            scored, attempts = progress(asked.folder)
            # Counted by drawing it once: a plan of a million rollouts never stands in memory.
            count = sum(1 for _ in owed(tasks, asked.repeats, scored=scored, shard=asked.shard))
            tally = Tally(
                planned=count,
                before=len(scored),
                prices=server.prices,
                role_prices={role: config.prices for role, config in asked.roles.items() if config.prices},
                retrying=lambda: guarded.retrying,
                level=lambda: guarded.level,
            )
            planned = plan(tasks, asked.repeats, seed=asked.seed, scored=scored, attempts=attempts, shard=asked.shard)
            watch(tally)
            await collect(
                ready.benchmark,
                agent or make_agent(asked.agent),
                guarded,
                planned,
                store,
                tally,
                concurrency=asked.concurrency,
                deadline_s=server.deadline_s,
                early_stop=asked.early_stop,
                interruption=interruption,
            )
            if budget and budget.reached:
                raise budget_error(asked.name, budget, count - tally.scored)
            return tally


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run whose benchmark and models are open: all that its rollouts need."""

    benchmark: Benchmark
    """With a model in each of its roles."""
    tasks: list[Task]
    model: Guarded
    record: RunRecord


@asynccontextmanager
async def open_run(asked: RunPlan, model: Model | None = None) -> AsyncGenerator[OpenRun]:
    """Yields all that the run's rollouts need, within this process' share of the limits. Raises UsageError.

    `model` stands in place of the one that the configuration says.
    """
    roles = {role: share_of(config, asked) for role, config in asked.roles.items()}
    async with connect_roles(asked.benchmark, roles, concurrency=asked.concurrency, budget=asked.budget) as benchmark:
        asked = dataclasses.replace(asked, benchmark=benchmark)
        tasks = tasks_of(benchmark, asked.limit)
        if asked.repeats < 1 or asked.concurrency < 1:
            raise UsageError("nothing to do: --repeats and --concurrency have to be at least 1")
        server = share_of(asked.server, asked)
        bare = model or model_of(asked.server, benchmark)
        guarded = Guarded(bare, server, concurrency=asked.concurrency, budget=asked.budget)
        try:
            yield OpenRun(benchmark, tasks, guarded, record_of(asked, guarded, tasks))
        finally:
            if model is None:  # one that was handed in belongs to the caller
                await guarded.aclose()


def share_of(config: ModelConfig, asked: RunPlan) -> ModelConfig:
    """Returns the configuration with this process' share of its limits."""
    return structs.replace(config, limits=config.limits.shared(asked.sharing))


def budget_error(name: str, budget: Budget, owed: int) -> BudgetSpent:
    """Returns the error of a run that its budget ended."""
    return BudgetSpent(
        f"{name}: the budget is reached: {budget.told()}; {owed:,} rollouts owed.\n"
        "  The same command with a larger budget goes on from here."
    )


@asynccontextmanager
async def connect_roles(
    benchmark: Benchmark, roles: Mapping[str, ModelConfig], *, concurrency: int = 64, budget: Budget | None = None
) -> AsyncGenerator[Benchmark]:
    """Yields the benchmark with a model in each of its roles. Raises UsageError where a role is unknown or empty."""
    for role in roles.keys() - benchmark.roles.keys():
        raise UnknownName(f"role in benchmark {benchmark.name}", role, benchmark.roles)
    for role, own in benchmark.roles.items():
        if own is None and role not in roles:
            raise UsageError(f"benchmark {benchmark.name} asks a model in the role {role}; say --with {role}=NAME")
    await benchmark.environment.ready()
    async with AsyncExitStack() as stack:
        models = dict(benchmark.roles)
        for role, config in roles.items():
            if config.answers_tasks:
                raise UsageError(f"--with {role}: the model {config.dialect} answers tasks alone; expected another")
            model = Guarded(connect(config), config, concurrency=concurrency, budget=budget)
            stack.push_async_callback(model.aclose)
            models[role] = model
        yield dataclasses.replace(benchmark, roles=models)


def count_spent(
    budget: Budget, folder: Path, server: ModelConfig, roles: Mapping[str, ModelConfig] | None = None
) -> None:
    """Count in a budget what earlier commands used for a run, its failures too."""
    role_prices = {role: config.prices for role, config in (roles or {}).items()}
    for rollout in read_rollouts(folder) if (folder / "run.json").exists() else ():
        budget.spend_rollout(rollout, server.prices, role_prices)


def record_of(asked: RunPlan, model: Model, tasks: list[Task]) -> RunRecord:
    """What `run.json` says of the run."""
    sources = score_code(asked.benchmark)
    return RunRecord(
        benchmark=asked.benchmark.name,
        version=asked.benchmark.version,
        tasks=len(tasks),
        tasks_digest=tasks_digest(tasks),
        code=digest(sources),
        sources=sources,
        model=asked.name,
        server=msgspec.to_builtins(hide_headers(asked.server)),
        identity=asked.server.identity() | identity_of(model),
        agent=asked.agent,
        sampling=asked.benchmark.sampling,
        limits=asked.benchmark.limits,
        seed=asked.seed,
        repeats=asked.repeats,
        versions=versions(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        roles={role: _role_record(asked.roles.get(role), own) for role, own in asked.benchmark.roles.items() if own},
        id=secrets.token_hex(8),
    )


def _role_record(config: ModelConfig | None, model: Model) -> RoleRecord:
    if config is None:
        return RoleRecord({}, {**identity_of(model)})
    return RoleRecord(msgspec.to_builtins(hide_headers(config)), config.identity() | identity_of(model))


def versions() -> dict[str, str]:
    """What made the run: Assay and Python, and where code ran if not where the benchmark says."""
    chosen = PLACE.get()
    placed = {"sandbox": f"{chosen.provider} {chosen.image or ''}".strip()} if chosen else {}
    return {"assay": version("assay"), "python": platform.python_version(), **placed}


def tasks_of(benchmark: Benchmark, limit: int | None = None) -> list[Task]:
    """The tasks, or the first `limit` of them. Raises UsageError where there are none or two have one id."""
    found: dict[str, Task] = {}
    for task in benchmark.environment.tasks():
        if task.id in found:
            raise UsageError(f"benchmark {benchmark.name} has two tasks with the id '{task.id}'; ids have to be unique")
        found[task.id] = task
    if not found:
        raise UsageError(f"benchmark {benchmark.name} has no tasks")
    if limit is not None and limit < 1:
        raise UsageError(f"nothing to do: --limit {limit}; expected at least 1")
    return list(found.values())[:limit]


def hide_headers(server: S) -> S:
    """Returns the configuration without the values of headers, which may be keys."""
    return structs.replace(server, headers=dict.fromkeys(server.headers, "(not written)"))


def model_of(server: ModelConfig, benchmark: Benchmark) -> Model:
    """Returns the model behind a configuration, one that answers from the benchmark's tasks included."""
    if server.answers_tasks:
        return find(DIALECTS, server.dialect)(server, benchmark.environment)
    return connect(server)

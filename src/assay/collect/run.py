"""A run: one benchmark x one model, in a directory. Begins or resumes it, and collects what is owed."""

import asyncio
import dataclasses
import pkgutil
import platform
import secrets
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec
from msgspec import structs

from assay.agent import Agent
from assay.agent.catalog import make_agent
from assay.benchmark import Benchmark
from assay.benchmark.catalog import BenchmarkRequest
from assay.benchmark.code import score_code
from assay.collect.collect import Interruption, Tally, collect
from assay.collect.plan import Planned, owed, plan
from assay.collect.request import RunRequest
from assay.config import AgentConfig, ModelConfig
from assay.digest import digest, tasks_digest
from assay.errors import BudgetSpent, UnknownName, UsageError
from assay.input import is_present
from assay.model import DIALECTS, Model, connect, identity_of
from assay.model.dialects.settings import settings
from assay.model.wrappers.batch import FILE as BATCHES
from assay.model.wrappers.batch import Batched
from assay.model.wrappers.budget import Budget
from assay.model.wrappers.guard import Guarded
from assay.model.wrappers.limit import Limits
from assay.plugins import find
from assay.score import EVERY, Selection, check_score
from assay.store import RoleRecord, RunRecord, Shard, Store, progress, read_rollouts
from assay.types import Task

S = TypeVar("S", bound=ModelConfig)


@dataclass(frozen=True, slots=True)
class Shared:
    """What a run shares with others that are made at the same time."""

    places: asyncio.Semaphore
    """A rollout in flight takes one."""
    limits: Limits
    nearly_begun: asyncio.Event
    """This run's own: set when so few rollouts are left to begin that the next run should open."""

    def announce(self, planned: Iterator[Planned], count: int, concurrency: int) -> Iterator[Planned]:
        """Yields what is planned, `count` rollouts, and sets the event before the last `concurrency` of them."""
        for number, item in enumerate(planned):
            if number >= count - concurrency:
                self.nearly_begun.set()
            yield item


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """A run in this process: its request, and what is no data."""

    request: RunRequest
    benchmark: Benchmark
    """The one that is requested. One made in Python is known to this process alone."""
    folder: Path = Path()
    shard: Shard = field(default_factory=Shard)
    budget: Budget | None = None
    """What may still be spent. One budget may be shared by several runs."""
    registry: Path | None = None
    """The file where the run is written down before it starts."""
    model: Model | None = None
    """An object in place of the model that the request names."""
    agent: Agent | None = None
    """An object in place of the agent that the request names."""
    shared: Shared | None = None

    @classmethod
    def of(cls, benchmark: Benchmark, *, folder: Path = Path(), budget: Budget | None = None, **request: Any) -> Self:
        """Returns the plan of a run of this benchmark. Beside these, the arguments are those of RunRequest."""
        data = RunRequest(benchmark=BenchmarkRequest.of(benchmark), **request)
        return cls(request=data, benchmark=benchmark, folder=folder, budget=budget)


async def collect_run(
    asked: RunPlan,
    *,
    interruption: Interruption | None = None,
    watch: Callable[[Tally], None] = lambda _: None,
) -> Tally:
    """Collect what the run still owes; `watch` is handed the running tally before the first rollout.

    Raises UsageError, DigestMismatch and StoppedEarly (NothingScored, BudgetSpent). What was collected is kept.
    """
    request, budget = asked.request, asked.budget
    async with open_run(asked) as ready:
        guarded, tasks = ready.model, ready.tasks
        with Store(asked.folder, ready.record, tasks, asked.shard, registry=asked.registry) as store:
            scored, attempts = progress(asked.folder)
            # Counted by drawing it once: a plan of a million rollouts never stands in memory.
            count = sum(1 for _ in owed(tasks, request.repeats, scored=scored, shard=asked.shard))
            tally = ready.tally(count, len(scored))
            planned = plan(
                tasks, request.repeats, seed=request.seed, scored=scored, attempts=attempts, shard=asked.shard
            )
            if asked.shared:
                planned = asked.shared.announce(planned, count, request.concurrency)
            watch(tally)
            try:
                await collect(
                    ready.benchmark,
                    ready.agent,
                    guarded,
                    planned,
                    store,
                    tally,
                    concurrency=request.concurrency,
                    deadline_s=request.server.deadline_s,
                    early_stop=request.early_stop,
                    interruption=interruption,
                    places=asked.shared and asked.shared.places,
                )
            finally:
                tally.ended = True
            if budget and budget.reached and tally.scored < count:
                raise budget_error(request.name, budget, count - tally.scored)
            return tally


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run whose benchmark and models are open: all that its rollouts need."""

    benchmark: Benchmark
    """With a model in each of its roles."""
    tasks: list[Task]
    model: Guarded
    agent: Agent
    record: RunRecord
    request: RunRequest

    def tally(self, planned: int, before: int = 0) -> Tally:
        """Returns the tally of what this process makes of the run."""
        return Tally(
            planned=planned,
            before=before,
            prices=self.request.server.prices,
            role_prices={role: config.prices for role, config in self.request.roles.items() if config.prices},
            retrying=lambda: self.model.retrying,
            level=lambda: self.model.level,
        )


@asynccontextmanager
async def open_run(asked: RunPlan) -> AsyncGenerator[OpenRun]:
    """Yields all that the run's rollouts need, within this process' share of the limits. Raises UsageError."""
    request = asked.request

    def share_of(config: ModelConfig) -> ModelConfig:
        return structs.replace(config, limits=config.limits.shared(request.sharing))

    roles = {role: share_of(config) for role, config in request.roles.items()}
    guards: Any = {"concurrency": request.concurrency, "budget": asked.budget}
    guards["limits"] = asked.shared and asked.shared.limits
    async with connect_roles(asked.benchmark, roles, **guards) as benchmark:
        tasks, all_tasks = select_tasks(benchmark, request.selection)
        if request.repeats < 1 or request.concurrency < 1:
            raise UsageError("nothing to do: --repeats and --concurrency have to be at least 1")
        bare = asked.model or model_of(request.server, benchmark)
        if request.batch:
            if asked.budget and not settings(request.server.sampling, benchmark.sampling).get("max_output_tokens"):
                # Without it, the first answer has to come before a second request is sent.
                raise UsageError("--batch: a budget needs an output cap: --set sampling.max_output_tokens=16384")
            bare = Batched(bare, asked.folder / BATCHES)
        guarded = Guarded(bare, share_of(request.server), **guards)
        try:
            door = pkgutil.resolve_name(request.door)(request.name) if request.door else None
            agent = asked.agent or make_agent(request.agent, door)
            record = record_of(request, benchmark, guarded, tasks, all_tasks)
            driver = structs.replace(request.agent, version=await version_of(agent, benchmark, request.agent))
            record = structs.replace(record, agent=driver)
            yield OpenRun(benchmark, tasks, guarded, agent, record, request)
        finally:
            if asked.model is None:  # one that was handed in belongs to the caller
                await guarded.aclose()


async def version_of(agent: Agent, benchmark: Benchmark, config: AgentConfig) -> str:
    """Returns the version of an agent that is a program, else that of its configuration.

    Raises UsageError where the program can't run here, or is of another version than its configuration says.
    """
    ready = getattr(agent, "ready", None)
    version = await ready(benchmark.environment) if ready else config.version
    if config.version and version != config.version:
        raise UsageError(f"agent {config}: the program here is version {version or 'unknown'}")
    return version


def budget_error(name: str, budget: Budget, owed: int) -> BudgetSpent:
    """Returns the error of a run that its budget ended."""
    return BudgetSpent(
        f"{name}: the budget is reached: {budget.summary()}; {owed:,} rollouts owed.\n"
        "  The same command with a larger budget goes on from here."
    )


@asynccontextmanager
async def connect_roles(
    benchmark: Benchmark,
    roles: Mapping[str, ModelConfig],
    *,
    concurrency: int = 64,
    budget: Budget | None = None,
    limits: Limits | None = None,
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
            model = Guarded(connect(config), config, concurrency=concurrency, budget=budget, limits=limits)
            stack.push_async_callback(model.aclose)
            models[role] = model
        yield dataclasses.replace(benchmark, roles=models)


def count_spent(budget: Budget, folder: Path, server: ModelConfig, roles: Mapping[str, ModelConfig]) -> None:
    """Count in a budget what earlier commands used for a run, its failures too."""
    role_prices = {role: config.prices for role, config in roles.items()}
    for rollout in read_rollouts(folder) if is_present(folder / "run.json") else ():
        budget.spend_rollout(rollout, server.prices, role_prices)


def record_of(
    asked: RunRequest, benchmark: Benchmark, model: Model, tasks: list[Task], all_tasks: int | None
) -> RunRecord:
    """What `run.json` says of the run."""
    sources = score_code(benchmark)
    return RunRecord(
        benchmark=benchmark.name,
        version=benchmark.version,
        tasks=len(tasks),
        all_tasks=all_tasks,
        selection=asked.selection,
        tasks_digest=tasks_digest(tasks),
        code=digest(sources),
        sources=sources,
        model=asked.name,
        server=msgspec.to_builtins(hide_headers(asked.server)),
        identity=asked.server.identity() | identity_of(model),
        agent=asked.agent,
        sampling=benchmark.sampling,
        limits=benchmark.limits,
        score=benchmark.score,
        seed=asked.seed,
        repeats=asked.repeats,
        versions=versions(benchmark),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        roles={role: _role_record(asked.roles.get(role), own) for role, own in benchmark.roles.items() if own},
        id=secrets.token_hex(8),
    )


def _role_record(config: ModelConfig | None, model: Model) -> RoleRecord:
    if config is None:
        return RoleRecord({}, {**identity_of(model)})
    return RoleRecord(msgspec.to_builtins(hide_headers(config)), config.identity() | identity_of(model))


def versions(benchmark: Benchmark | None = None) -> dict[str, str]:
    """What made the run: Assay and Python, and where code ran if not where the benchmark says."""
    place = str((benchmark and (benchmark.place or benchmark.environment.place)) or "")
    placed = {"sandbox": place} if place else {}
    return {"assay": version("assay"), "python": platform.python_version(), **placed}


def tasks_of(benchmark: Benchmark, selection: Selection = EVERY) -> list[Task]:
    """Returns the tasks that are selected. Raises UsageError where there are none or two have one id."""
    return select_tasks(benchmark, selection)[0]


def select_tasks(benchmark: Benchmark, selection: Selection = EVERY) -> tuple[list[Task], int | None]:
    """Returns the tasks that are selected, and the number of all tasks; None where none is left out.

    The benchmark makes its tasks anew each time they are listed: here once. Raises UsageError as `tasks_of`.
    """
    found: dict[str, Task] = {}
    for task in benchmark.environment.tasks():
        if task.id in found:
            raise UsageError(f"benchmark {benchmark.name} has two tasks with the id '{task.id}'; ids have to be unique")
        found[task.id] = task
    if not found:
        raise UsageError(f"benchmark {benchmark.name} has no tasks")
    check_score(benchmark.score, list(found.values()))
    chosen = selection.of(list(found.values()), benchmark.score)
    return chosen, len(found) if len(found) != len(chosen) else None


def hide_headers(server: S) -> S:
    """Returns the configuration without the values of headers, which may be keys."""
    return structs.replace(server, headers=dict.fromkeys(server.headers, "(not written)"))


def model_of(server: ModelConfig, benchmark: Benchmark) -> Model:
    """Returns the model behind a configuration, one that answers from the benchmark's tasks included."""
    if server.answers_tasks:
        return find(DIALECTS, server.dialect)(server, benchmark.environment)
    return connect(server)

"""A run: one benchmark x one model, in a directory. Begins or resumes it, and makes what is owed."""

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
from assay.collect.plan import PlannedRollout, owed_cells, plan
from assay.collect.request import RunRequest
from assay.config import AgentConfig, ModelConfig
from assay.digest import digest, tasks_digest
from assay.errors import BudgetSpent, UnknownName, UsageError
from assay.input import is_present
from assay.model import DIALECTS, Model, connect, identity_of
from assay.model.dialects.settings import settings
from assay.model.wrappers.batch import FILE as BATCHES
from assay.model.wrappers.batch import BatchModel
from assay.model.wrappers.budget import Budget
from assay.model.wrappers.guard import GuardedModel
from assay.model.wrappers.limit import ServerLimits
from assay.plugins import find
from assay.score import EVERY, Selection, check_score
from assay.store import RoleRecord, RunRecord, Shard, Store, progress, read_rollouts
from assay.types import Task

S = TypeVar("S", bound=ModelConfig)


@dataclass(frozen=True, slots=True)
class SharedLimits:
    """What a run shares with other runs of a sweep."""

    places: asyncio.Semaphore
    """Each rollout in flight takes one."""
    limits: ServerLimits
    next_may_open: asyncio.Event
    """This run's own. It is set when so few rollouts are left to begin that the next run should open."""

    def announce(self, planned: Iterator[PlannedRollout], count: int, concurrency: int) -> Iterator[PlannedRollout]:
        """Yields the `count` planned rollouts, and sets `next_may_open` before the last `concurrency` of them."""
        for number, item in enumerate(planned):
            if number >= count - concurrency:
                self.next_may_open.set()
            yield item


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """A run as this process makes it: the request, and the objects that can't be sent."""

    request: RunRequest
    benchmark: Benchmark
    """The benchmark of the request. One that was made in Python exists in this process alone."""
    folder: Path = Path()
    shard: Shard = field(default_factory=Shard)
    budget: Budget | None = None
    """What may still be spent. Several runs may share one budget."""
    registry: Path | None = None
    """The file that lists the run before it starts."""
    model: Model | None = None
    """An object used instead of the model that the request names."""
    agent: Agent | None = None
    """An object used instead of the agent that the request names."""
    shared: SharedLimits | None = None

    @classmethod
    def of(cls, benchmark: Benchmark, *, folder: Path = Path(), budget: Budget | None = None, **request: Any) -> Self:
        """Returns the plan of a run of this benchmark. The other arguments are those of RunRequest.

        Raises UsageError where one has another type than there.
        """
        try:
            data = msgspec.convert({"benchmark": BenchmarkRequest.of(benchmark), **request}, RunRequest)
        except msgspec.ValidationError as error:
            got, _, at = str(error).partition(" - at `$.")
            raise UsageError(f"{at.rstrip('`')}: {got}") from None
        return cls(request=data, benchmark=benchmark, folder=folder, budget=budget)


async def collect_run(
    run: RunPlan,
    *,
    interruption: Interruption | None = None,
    watch: Callable[[Tally], None] = lambda _: None,
) -> Tally:
    """Makes the rollouts that the run still owes. `watch` is called once with the tally, before the first rollout.

    Returns the tally. Raises UsageError, DigestMismatch and StoppedEarly (NothingScored, BudgetSpent). Finished
    rollouts are kept.
    """
    request, budget = run.request, run.budget
    async with open_run(run) as ready:
        guarded, tasks = ready.model, ready.tasks
        with Store(run.folder, ready.record, tasks, run.shard, registry=run.registry) as store:
            scored, attempts = progress(run.folder)
            # The plan is read once to count it, so a plan of a million rollouts is never in memory.
            count = sum(1 for _ in owed_cells(tasks, request.repeats, scored=scored, shard=run.shard))
            tally = ready.tally(count, len(scored))
            planned = plan(tasks, request.repeats, seed=request.seed, scored=scored, attempts=attempts, shard=run.shard)
            if run.shared:
                planned = run.shared.announce(planned, count, request.concurrency)
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
                    places=run.shared and run.shared.places,
                )
            finally:
                tally.ended = True
            if budget and budget.reached and tally.scored < count:
                raise budget_error(request.name, budget, count - tally.scored)
            return tally


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run with open models: all that its rollouts need."""

    benchmark: Benchmark
    """With a model in each of its roles."""
    tasks: list[Task]
    model: GuardedModel
    agent: Agent
    record: RunRecord
    request: RunRequest

    def tally(self, planned: int, before: int = 0) -> Tally:
        """Returns the tally of the rollouts that this process makes."""
        return Tally(
            planned=planned,
            before=before,
            prices=self.request.server.prices,
            role_prices={role: config.prices for role, config in self.request.roles.items() if config.prices},
            retrying=lambda: self.model.retrying,
            level=lambda: self.model.level,
        )


@asynccontextmanager
async def open_run(run: RunPlan) -> AsyncGenerator[OpenRun]:
    """Yields all that the run's rollouts need, with this process's share of the limits. Raises UsageError."""
    request = run.request

    def share_of(config: ModelConfig) -> ModelConfig:
        return structs.replace(config, limits=config.limits.divide(request.sharing))

    roles = {role: share_of(config) for role, config in request.roles.items()}
    guards: Any = {"concurrency": request.concurrency, "budget": run.budget}
    guards["limits"] = run.shared and run.shared.limits
    async with connect_roles(run.benchmark, roles, **guards) as benchmark:
        tasks, all_tasks = select_tasks(benchmark, request.selection)
        if request.repeats < 1 or request.concurrency < 1:
            raise UsageError("nothing to do: --repeats and --concurrency have to be at least 1")
        bare = run.model or model_of(request.server, benchmark)
        if request.batch:
            if run.budget and not settings(request.server.sampling, benchmark.sampling).get("max_output_tokens"):
                # Without a cap, the second request has to wait for the first answer.
                raise UsageError("--batch: a budget needs an output cap: --set sampling.max_output_tokens=16384")
            bare = BatchModel(bare, run.folder / BATCHES)
        guarded = GuardedModel(bare, share_of(request.server), **guards)
        try:
            door = pkgutil.resolve_name(request.door)(request.name) if request.door else None
            agent = run.agent or make_agent(request.agent, door)
            record = record_of(request, benchmark, guarded, tasks, all_tasks)
            driver = structs.replace(request.agent, version=await version_of(agent, benchmark, request.agent))
            record = structs.replace(record, agent=driver)
            yield OpenRun(benchmark, tasks, guarded, agent, record, request)
        finally:
            if run.model is None:  # else the caller owns it
                await guarded.aclose()


async def version_of(agent: Agent, benchmark: Benchmark, config: AgentConfig) -> str:
    """Returns the version of an agent: the program's own if it is a program, else the configured one.

    Raises UsageError if the program can't run here, or has another version than its configuration says.
    """
    ready = getattr(agent, "ready", None)
    version = await ready(benchmark.environment) if ready else config.version
    if config.version and version != config.version:
        raise UsageError(f"agent {config}: the program here is version {version or 'unknown'}")
    return version


def budget_error(name: str, budget: Budget, owed: int) -> BudgetSpent:
    """Returns the error of a run that ended because of its budget."""
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
    limits: ServerLimits | None = None,
) -> AsyncGenerator[Benchmark]:
    """Yields the benchmark with a model in each of its roles. Raises UsageError if a role is unknown or empty."""
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
            model = GuardedModel(connect(config), config, concurrency=concurrency, budget=budget, limits=limits)
            stack.push_async_callback(model.aclose)
            models[role] = model
        yield dataclasses.replace(benchmark, roles=models)


def count_spending(budget: Budget, folder: Path, server: ModelConfig, roles: Mapping[str, ModelConfig]) -> None:
    """Adds to a budget what earlier commands spent on a run, failures included."""
    role_prices = {role: config.prices for role, config in roles.items()}
    for rollout in read_rollouts(folder) if is_present(folder / "run.json") else ():
        budget.spend_rollout(rollout, server.prices, role_prices)


def record_of(
    request: RunRequest, benchmark: Benchmark, model: Model, tasks: list[Task], all_tasks: int | None
) -> RunRecord:
    """Returns the content of `run.json`."""
    sources = score_code(benchmark)
    return RunRecord(
        benchmark=benchmark.name,
        version=benchmark.version,
        tasks=len(tasks),
        all_tasks=all_tasks,
        selection=request.selection,
        tasks_digest=tasks_digest(tasks),
        code=digest(sources),
        sources=sources,
        model=request.name,
        server=msgspec.to_builtins(hide_headers(request.server)),
        identity=request.server.identity() | identity_of(model),
        agent=request.agent,
        sampling=benchmark.sampling,
        limits=benchmark.limits,
        score=benchmark.score,
        seed=request.seed,
        repeats=request.repeats,
        versions=versions(benchmark),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        roles={role: _role_record(request.roles.get(role), own) for role, own in benchmark.roles.items() if own},
        id=secrets.token_hex(8),
    )


def _role_record(config: ModelConfig | None, model: Model) -> RoleRecord:
    if config is None:
        return RoleRecord({}, {**identity_of(model)})
    return RoleRecord(msgspec.to_builtins(hide_headers(config)), config.identity() | identity_of(model))


def versions(benchmark: Benchmark | None = None) -> dict[str, str]:
    """Returns the versions of Assay and Python, and the sandbox where code ran, if known."""
    place = str((benchmark and (benchmark.environment.place or benchmark.place)) or "")
    placed = {"sandbox": place} if place else {}
    return {"assay": version("assay"), "python": platform.python_version(), **placed}


def tasks_of(benchmark: Benchmark, selection: Selection = EVERY) -> list[Task]:
    """Returns the tasks of a selection. Raises UsageError if there are none or two have the same id."""
    return select_tasks(benchmark, selection)[0]


def select_tasks(benchmark: Benchmark, selection: Selection = EVERY) -> tuple[list[Task], int | None]:
    """Returns the tasks of a selection, and the number of all tasks; None if no task is left out.

    It lists the benchmark's tasks once, which may take long. Raises UsageError as `tasks_of`.
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
    """Returns the configuration without the headers' values, which may be keys."""
    return structs.replace(server, headers=dict.fromkeys(server.headers, "(not written)"))


def model_of(server: ModelConfig, benchmark: Benchmark) -> Model:
    """Returns the model of a configuration. Some models answer from the benchmark's tasks."""
    if server.answers_tasks:
        return find(DIALECTS, server.dialect)(server, benchmark.environment)
    return connect(server)

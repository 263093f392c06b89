"""Plans of runs, made from names, overrides and default folders. Commands and functions share them."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from assay.agent import Agent, needs_model
from assay.agent.catalog import make_agent
from assay.benchmark import Benchmark, has_no_state
from assay.collect.run import RunPlan, count_spending
from assay.config import LOOP, AgentConfig, AssayToml, ModelConfig, Settings, load_agent, override, path_name
from assay.errors import UnknownName, UsageError
from assay.library.names import AnyModel, model_of
from assay.model.wrappers.budget import Budget
from assay.store import REGISTRY, Shard
from assay.types import RolloutLimits, Sampling

DOOR = "assay.serve.door:HttpDoor"


def plan_run(
    benchmark: Benchmark,
    model: AnyModel | None,
    agent: str | Agent | None,
    *,
    own: AssayToml,
    home: Path,
    out: str | Path | None = None,
    base_url: str | None = None,
    sampling: Sampling | None = None,
    limits: RolloutLimits | None = None,
    assign: tuple[str, ...] = (),
    budget: Budget | None = None,
    shard: Shard | None = None,
    **request: Any,
) -> RunPlan:
    """Returns the plan of a run. Raises UsageError.

    Names are looked up in `own` first. Without `out` the run's folder is in `home`, under the names of benchmark and
    model. `assign` has settings such as `sampling.temperature=0.6`. The other arguments are those of RunRequest; if
    `repeats` is None, the benchmark's own number is used.
    """
    config, driver = agent_of(agent, own)
    if model is None and needs_model(driver or make_agent(config)):
        raise UsageError(f"the agent {config} asks a model; say which one: --model NAME (see assay list models)")
    name, server, live = model_of(model or ModelConfig(dialect="none"), base_url, own)
    settings = Settings(model=server, sampling=sampling or benchmark.sampling, limits=limits or benchmark.limits)
    settings = override(settings, assign) if assign else settings
    folder = home / folder_with_selection(benchmark.name, request) / folder_with_agent(name, agent_name(agent))
    if request.get("batch"):
        if live:
            raise UsageError("--batch: a model object has no batch API; expected the name of a model")
        check_batch(benchmark, config)
    plan = RunPlan.of(
        dataclasses.replace(benchmark, sampling=settings.sampling, limits=settings.limits),
        folder=folder if out is None else Path(out),
        budget=budget,
        name=name,
        server=settings.model,
        agent=config,
        door=DOOR,
        **request | {"repeats": repeats_of(benchmark, request)},
    )
    plan = dataclasses.replace(plan, request=plan.request.for_batch())
    if budget:
        count_spending(budget, plan.folder, plan.request.server, plan.request.roles)
    registry = (home if out is None else plan.folder.resolve().parent) / REGISTRY
    return dataclasses.replace(plan, shard=shard or Shard(), registry=registry, model=live, agent=driver)


def plan_sweep(
    benchmarks: Sequence[Benchmark],
    models: Sequence[AnyModel],
    agent: str | Agent | None,
    *,
    roles: Mapping[str, ModelConfig],
    **settings: Any,
) -> list[RunPlan]:
    """Returns a plan for each benchmark on each model, in folders as `plan_run` gives them. Raises UsageError.

    A benchmark gets the models of those roles that it has. `settings` are the other arguments of `plan_run`.
    """
    if not benchmarks or not models:
        raise UsageError("a sweep needs at least one benchmark and one model")
    known = {role for benchmark in benchmarks for role in benchmark.roles}
    for role in roles.keys() - known:
        raise UnknownName("role", role, known)
    plans = [
        plan_run(
            benchmark,
            model,
            agent,
            roles={role: config for role, config in roles.items() if role in benchmark.roles},
            **settings,
        )
        for model in models
        for benchmark in benchmarks
    ]
    folders = Counter(plan.folder for plan in plans)
    if twice := [str(folder) for folder, count in folders.items() if count > 1]:
        raise UsageError(f"two runs would share the folder {twice[0]}; expected each benchmark and each model once")
    return plans


def check_batch(benchmark: Benchmark, agent: AgentConfig) -> None:
    """Raises UsageError if a rollout may be more than one request."""
    if not has_no_state(benchmark.environment):
        raise UsageError(f"--batch: {benchmark.name} has tools or several turns; expected one question a task")
    if agent != LOOP:
        raise UsageError(f"--batch: the agent {agent} may ask several times; expected the agent {LOOP}")


def agent_of(agent: str | Agent | None, own: AssayToml) -> tuple[AgentConfig, Agent | None]:
    """Returns an agent's configuration, and the object itself if the agent is one."""
    if agent is None or isinstance(agent, str):
        return load_agent(agent or LOOP.agent, own=own), None
    if isinstance(agent, type) or not callable(getattr(agent, "run", None)):
        raise UsageError(f"agent {agent!r}: expected a name, or an object with async def run(task, model, session)")
    return AgentConfig(agent=f"{type(agent).__module__}:{type(agent).__qualname__}"), agent


def agent_name(agent: str | Agent | None) -> str:
    return agent if isinstance(agent, str) else LOOP.agent if agent is None else type(agent).__name__


def folder_with_agent(name: str, agent: str) -> str:
    """Returns a folder's name, with the agent's name unless it is the loop, so each agent has folders of its own."""
    return name if agent == LOOP.agent else f"{name}-{path_name(agent)}"


def folder_with_selection(name: str, request: Mapping[str, Any]) -> str:
    """Returns a folder's name, with the task selection, so each selection has folders of its own."""
    only: Mapping[str, str] = request.get("only") or {}
    name += "".join(f"-{path_name(value)}" for value in only.values())
    return name if request.get("limit") is None else f"{name}-limit{request['limit']}"


def repeats_of(benchmark: Benchmark, request: Mapping[str, Any]) -> int:
    return benchmark.repeats if request.get("repeats") is None else request["repeats"]

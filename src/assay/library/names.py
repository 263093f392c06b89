"""Names into objects: a benchmark, a model, a suite, an agent, each by its name or as it is."""

import dataclasses
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import structs

from assay.agent import Agent, needs_model
from assay.agent.catalog import make_agent
from assay.benchmark import Benchmark
from assay.benchmark.catalog import load as load_benchmark
from assay.config import (
    LOOP,
    NO_FILE,
    OBJECT,
    AgentConfig,
    AssayToml,
    ModelConfig,
    Suite,
    assay_toml,
    load_agent,
    load_model,
    load_suite,
    name_of_id,
    path_name,
    suite_of,
)
from assay.errors import UsageError
from assay.model import Model
from assay.model.wrappers.budget import Budget
from assay.types import RolloutLimits, Sampling, Task

AnyModel = str | ModelConfig | Model
"""A model's name, its configuration, or an object with `async def respond(request)`."""


def load(benchmark: str | Path | Benchmark) -> Benchmark:
    """Returns a benchmark by its name, by the path of its folder, or as it is. Raises UsageError."""
    return benchmark if isinstance(benchmark, Benchmark) else load_benchmark(str(benchmark))


def changed(benchmark: Benchmark, sampling: Sampling | None, limits: RolloutLimits | None) -> Benchmark:
    """Returns the benchmark with another sampling and other limits, where they are given."""
    return dataclasses.replace(
        benchmark,
        sampling=benchmark.sampling if sampling is None else sampling,
        limits=benchmark.limits if limits is None else limits,
    )


def toml_of(config: str | Path | None) -> AssayToml:
    """Returns the content of a file such as `assay.toml`. Raises UsageError where it is not there."""
    if config is None:
        return NO_FILE
    if not Path(config).is_file():
        raise UsageError(f"{config} is not there; expected a file of models, such as assay.toml")
    return assay_toml(Path(config))


def model_of(model: AnyModel, base_url: str | None, config: str | Path | None) -> tuple[str, ModelConfig, Model | None]:
    """Returns the model's short name, its configuration, and the object itself where the model is one."""
    if isinstance(model, str):
        name, server = load_model(model, base_url, own=toml_of(config))
        return name, server, None
    if isinstance(model, ModelConfig):
        server = model if base_url is None else structs.replace(model, base_url=base_url)
        return name_of_id(server.id or server.dialect), server, None
    name = type(model).__qualname__.replace("<locals>.", "")
    return name, ModelConfig(dialect=OBJECT, id=f"{type(model).__module__}.{name}"), model


def model_or_none(
    model: str | None, base_url: str | None, agent: AgentConfig, *, own: AssayToml
) -> tuple[str, ModelConfig]:
    """Returns a model's short name and its configuration; no model where none is named and the agent asks none.

    Raises UsageError.
    """
    if model is not None:
        return load_model(model, base_url, own=own)
    if needs_model(make_agent(agent)):
        raise UsageError(f"the agent {agent} asks a model; say which one: --model NAME (see assay list models)")
    return "none", ModelConfig(dialect="none")


def run_name(model: str, agent: str) -> str:
    """Returns the name of a run's folder: the model's, with the agent's where it is not the loop."""
    return path_name(model if agent == LOOP.agent else f"{model}-{agent}")


def agent_of(agent: str | Agent | None, config: str | Path | None) -> tuple[AgentConfig, Agent | None]:
    """Returns the agent's configuration, and the object itself where the agent is one."""
    if agent is None:
        return LOOP, None
    if isinstance(agent, str):
        return load_agent(agent, own=toml_of(config)), None
    return AgentConfig(agent=f"{type(agent).__module__}:{type(agent).__qualname__}"), agent


def roles_of(roles: Mapping[str, str | ModelConfig], config: str | Path | None) -> dict[str, ModelConfig]:
    """Returns the configuration of the model in each role."""
    own = toml_of(config)
    return {role: load_model(model, own=own)[1] if isinstance(model, str) else model for role, model in roles.items()}


def suite_named(suite: str | Path | Suite | None, models: Sequence[str] | None, config: str | Path | None) -> Suite:
    """Returns a suite by its name, its file's path, as it is, or of some models by name. Raises UsageError."""
    if models is not None:
        if suite is not None:
            raise UsageError("suite and models both say which models to run; give one")
        return suite_of(models, own=toml_of(config))
    return suite if isinstance(suite, Suite) else load_suite(str(suite or "embedded"))


def tasks_named(tasks: Sequence[Task], ids: Sequence[str] | None) -> list[Task]:
    """Returns the tasks with these ids, in the order of the ids; all where None. Raises UsageError."""
    if ids is None:
        return list(tasks)
    known = {task.id: task for task in tasks}
    if lacking := [name for name in ids if name not in known]:
        some = ", ".join(list(known)[:3])
        raise UsageError(f"there is no task {', '.join(map(repr, lacking[:5]))}; expected ids such as {some}")
    return [known[name] for name in ids]


def budget_of(tokens: int | None, usd: float | None) -> Budget | None:
    """Returns the budget of so many tokens and US dollars; None where neither is given. Raises UsageError."""
    if tokens is None and usd is None:
        return None
    if (tokens is not None and tokens < 1) or (usd is not None and not usd > 0):
        raise UsageError("a budget has to be above 0")
    return Budget(tokens=tokens, usd=usd)


class TemporaryFolder:
    """A folder that is removed when nothing refers to this object any more, and at the end of the process."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="assay-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

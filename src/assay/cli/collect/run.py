"""`assay run`."""

import dataclasses
import importlib
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from msgspec.structs import replace

from assay.benchmark.catalog import load
from assay.cli.collect.live import Live, console, drive
from assay.collect.collect import Interruption
from assay.collect.head import distribute
from assay.collect.request import Collector
from assay.collect.run import RunPlan, count_spent
from assay.collect.workers.ray import joined
from assay.config import ModelConfig, Settings, assay_toml, load_agent, load_model, override
from assay.errors import BudgetSpent, NothingScored, UsageError
from assay.library.names import budget_of, model_or_none, run_name
from assay.sandbox import place
from assay.store import Shard


def run(
    benchmark: str,
    *,
    model: str | None = None,
    agent: str = "loop",
    base_url: str | None = None,
    repeats: int | None = None,
    limit: int | None = None,
    concurrency: int = 64,
    processes: int | None = None,
    ray: bool | str = False,
    ray_cpus: float | None = None,
    out: Path | None = None,
    assign: Annotated[tuple[str, ...], Parameter(name="--set", negative="")] = (),
    shard: str = "1/1",
    seed: int = 0,
    early_stop: bool = True,
    budget_tokens: int | None = None,
    budget_usd: float | None = None,
    role: Annotated[tuple[str, ...], Parameter(name="--with", negative="")] = (),
    sandbox: str | None = None,
    unsafe: bool = False,
) -> int:
    """Run one benchmark on one model, or go on where an earlier command stopped.

    Ctrl-C finishes what is in flight, a second one stops at once; the same command then goes on.

    Parameters
    ----------
    benchmark
        A benchmark's name (see `assay list benchmarks`) or the path of its folder.
    model
        A model's name (see `assay list models`), or openai:ID or chat:ID for any OpenAI-compatible endpoint. Only an
        agent that asks no model goes without.
    agent
        An agent's name (see `assay list agents`, and [agents.NAME] in assay.toml); `loop` where not given.
    base_url
        The endpoint, up to and including /v1.
    repeats
        Rollouts a task. The benchmark's own number where not given.
    limit
        Only so many tasks, from the first: to try things out, for they are no fair sample.
    concurrency
        Rollouts in flight at most, in all processes together.
    processes
        N processes, for more than one core: this one hands out the plan and writes the file, the others make rollouts.
        Each has its share of concurrency, of the models' limits and of the budget. What one leaves of the budget the
        others may use. One that dies is replaced.
    ray
        Make the rollouts on a Ray cluster: at ADDRESS, with `auto` on the one that this machine belongs to, alone on
        one that is started on this machine. --processes then is the number of actors; as many as there are CPUs for
        where not given. [ray] in assay.toml says what they need and take along.
    ray_cpus
        CPUs of each actor; 1 where not given.
    out
        The run directory. runs/BENCHMARK/MODEL (runs/BENCHMARK-limitN/MODEL) where not given.
    assign
        Change one setting, as often as wanted: sampling.KEY (temperature, top_p, top_k, max_output_tokens), limits.KEY
        (steps, output_tokens, wall_s, tool_s) or model.KEY (reasoning, timeout_s, attempts, omit, extra_body.KEY, …),
        such as --set sampling.temperature=0.6.
    shard
        i/n makes the i-th of n parts of the plan, in a file of its own.
    seed
        All randomness comes from this, the task's id and the repeat.
    early_stop
        Stop where nothing but failures comes in.
    budget_tokens
        Stop before the run has used so many tokens, input and output, earlier commands' included.
    budget_usd
        Stop before the run has cost so many US dollars, by the prices in the model's configuration.
    role
        ROLE=NAME: the model that the benchmark asks in a role beside this one, such as --with judge=NAME.
    sandbox
        Where code is run: bubblewrap, docker, docker:IMAGE or subprocess; bubblewrap where not given.
    unsafe
        Allow --sandbox subprocess, which shuts nothing off.
    """
    place(sandbox, unsafe=unsafe)
    chosen = load(benchmark)
    driver = load_agent(agent, own=assay_toml())
    name, server = model_or_none(model, base_url, driver, own=assay_toml())
    settings = override(Settings(model=server, sampling=chosen.sampling, limits=chosen.limits), assign)
    folder = out or Path("runs", chosen.name if limit is None else f"{chosen.name}-limit{limit}", run_name(name, agent))
    budget = budget_of(budget_tokens, budget_usd)
    roles = roles_of(role)
    if budget:
        count_spent(budget, folder, settings.model, roles)
    asked = RunPlan(
        benchmark=dataclasses.replace(chosen, sampling=settings.sampling, limits=settings.limits),
        name=name,
        server=settings.model,
        agent=driver,
        folder=folder,
        repeats=chosen.repeats if repeats is None else repeats,
        limit=limit,
        concurrency=concurrency,
        shard=Shard.parse(shard),
        seed=seed,
        early_stop=early_stop,
        budget=budget,
        roles=roles,
        registry=(out.resolve().parent if out else Path("runs")) / "started.jsonl",
    )
    interruption = Interruption()
    try:
        with collecting(processes, ray, ray_cpus) as collector, Live() as live:
            work = collector(
                asked,
                interruption=interruption,
                watch=lambda tally: live.begin(name, tally),
                tell=lambda line: console.print(line, markup=False),
            )
            drive(work, interruption)
    except (NothingScored, BudgetSpent):
        _summarise(folder, asked.shard)
        raise
    _summarise(folder, asked.shard)
    return 130 if interruption.stopping else 0


@contextmanager
def collecting(processes: int | None, ray: bool | str, cpus: float | None) -> Generator[Collector]:
    """Yields what collects runs: this process, several processes, or actors on a Ray cluster. Raises UsageError."""
    if ray is False:
        if cpus is not None:
            raise UsageError("--ray-cpus says what actors on a Ray cluster need; give --ray too")
        yield partial(distribute, processes=1 if processes is None else processes)
        return
    config = assay_toml().ray
    with joined(ray if isinstance(ray, str) else None, config if cpus is None else replace(config, cpus=cpus)) as found:
        yield partial(distribute, cluster=found, processes=processes)


def roles_of(assignments: tuple[str, ...]) -> dict[str, ModelConfig]:
    """The models in roles that `--with` names. Raises UsageError."""
    roles: dict[str, ModelConfig] = {}
    for assignment in assignments:
        role, found, name = assignment.partition("=")
        if not found:
            raise UsageError(f"--with {assignment}: expected ROLE=NAME, such as --with judge=NAME")
        roles[role.strip()] = load_model(name.strip(), own=assay_toml())[1]
    return roles


def _summarise(folder: Path, shard: Shard) -> None:
    if shard.count > 1:
        console.print(f"shard {shard.index}/{shard.count} is in {folder / shard.file}")
        return
    # Imported once the rollouts are in: numpy and scipy take longer to load than a first answer takes to come.
    summary = importlib.import_module("assay.fidelity.results.summary")
    print(summary.text(summary.write(folder)), folder, sep="\n")

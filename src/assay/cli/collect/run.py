"""`assay run`."""

import dataclasses
import importlib
from pathlib import Path

from assay.benchmark.catalog import load
from assay.cli.collect.live import Live, console, drive
from assay.cli.options import Assignments, Code, Plan, Roles, Spending, Workers
from assay.collect.collect import Interruption
from assay.collect.run import RunPlan, count_spent
from assay.config import Settings, assay_toml, load_agent, override
from assay.errors import BudgetSpent, NothingScored
from assay.library.names import model_or_none, run_name
from assay.report.words import sample
from assay.store import Shard


def run(
    benchmark: str,
    *,
    model: str | None = None,
    agent: str = "loop",
    base_url: str | None = None,
    plan: Plan = Plan(),
    workers: Workers = Workers(),
    out: Path | None = None,
    assign: Assignments = (),
    shard: str = "1/1",
    spending: Spending = Spending(),
    roles: Roles = Roles(),
    code: Code = Code(),
) -> int:
    """Run one benchmark on one model, or go on where an earlier command stopped.

    Ctrl-C finishes what is in flight, and a second Ctrl-C stops at once; the same command then goes on.

    Exits 0 once all rollouts were made, 2 if the command asks for what can't be, 4 if nothing was scored or the budget
    is spent, and 130 after Ctrl-C.

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
        The URL of the model's server, up to and including /v1.
    out
        The run's directory. Default: runs/BENCHMARK/MODEL, with --limit N runs/BENCHMARK-limitN/MODEL.
    assign
        Change one setting; may be given several times: sampling.KEY (temperature, top_p, top_k, max_output_tokens),
        limits.KEY (steps, output_tokens, wall_s, tool_s) or model.KEY (reasoning, timeout_s, attempts, omit,
        extra_body.KEY, …), such as --set sampling.temperature=0.6.
    shard
        I/N makes the I-th of N parts of the plan, in a file of its own.
    """
    code.apply()
    chosen = load(benchmark)
    driver = load_agent(agent, own=assay_toml())
    name, server = model_or_none(model, base_url, driver, own=assay_toml())
    settings = override(Settings(model=server, sampling=chosen.sampling, limits=chosen.limits), assign)
    folder = out or Path(
        "runs", chosen.name if plan.limit is None else f"{chosen.name}-limit{plan.limit}", run_name(name, agent)
    )
    budget = spending.budget()
    asked_roles = roles.configs()
    if budget:
        count_spent(budget, folder, settings.model, asked_roles)
    asked = RunPlan(
        benchmark=dataclasses.replace(chosen, sampling=settings.sampling, limits=settings.limits),
        name=name,
        server=settings.model,
        agent=driver,
        folder=folder,
        repeats=chosen.repeats if plan.repeats is None else plan.repeats,
        limit=plan.limit,
        concurrency=workers.concurrency,
        shard=Shard.parse(shard),
        seed=plan.seed,
        early_stop=plan.early_stop,
        budget=budget,
        roles=asked_roles,
        registry=(out.resolve().parent if out else Path("runs")) / "started.jsonl",
    )
    interruption = Interruption()
    try:
        with workers.collector() as collector, Live() as live:
            work = collector(
                asked,
                interruption=interruption,
                watch=lambda tally: live.begin(name, tally),
                tell=lambda line: console.print(line, markup=False),
            )
            drive(work, interruption)
    except (NothingScored, BudgetSpent):
        _summarise(folder, asked)
        raise
    _summarise(folder, asked)
    return 130 if interruption.stopping else 0


def _summarise(folder: Path, asked: RunPlan) -> None:
    shard = asked.shard
    if shard.count > 1:
        console.print(f"shard {shard.index}/{shard.count} is in {folder / shard.file}")
        return
    # Imported once the rollouts are in: numpy and scipy take longer to load than a first answer takes to come.
    summary = importlib.import_module("assay.fidelity.results.summary")
    print(summary.text(summary.write(folder)))
    if asked.limit is not None and (note := sample(asked.limit, sum(1 for _ in asked.benchmark.environment.tasks()))):
        print(note)
    print(folder)

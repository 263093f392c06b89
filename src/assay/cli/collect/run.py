"""`assay run`."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from assay.benchmark import Benchmark
from assay.cli.collect.live import Live, console, drive
from assay.cli.collect.sbatch import Sbatch, write_job
from assay.cli.collect.sweep import sweep
from assay.cli.options import (
    AgentName,
    Assignments,
    BenchmarkName,
    Code,
    Columns,
    Plan,
    Roles,
    Spending,
    Workers,
    names_of,
)
from assay.cli.output import print_summary
from assay.collect.collect import Interruption
from assay.collect.run import RunPlan
from assay.config import assay_toml
from assay.errors import BudgetSpent, NothingScored, UsageError
from assay.library.plans import plan_run, plan_sweep
from assay.store import Shard

ShardOption = Annotated[str, Parameter(help="I/N makes the I-th of N parts of the plan, in a file of its own.")]


def run(
    benchmark: BenchmarkName,
    *,
    columns: Columns = Columns(),
    model: str | None = None,
    models: str | None = None,
    agent: AgentName = "loop",
    base_url: str | None = None,
    plan: Plan = Plan(),
    workers: Workers = Workers(),
    out: Path | None = None,
    assign: Assignments = (),
    shard: ShardOption = "1/1",
    spending: Spending = Spending(),
    roles: Roles = Roles(),
    code: Code = Code(),
    sbatch: Sbatch = None,
) -> int:
    """Run one benchmark on one model, or go on where an earlier command stopped.

    Several benchmarks, separated by commas, run on one model or on several --models; a table has all scores.

    Ctrl-C finishes what is in flight, and a second Ctrl-C stops at once; the same command then continues.

    Exits 0 once all rollouts were made, 2 if the command asks for what can't be, 4 if nothing was scored or the budget
    is spent, and 130 after Ctrl-C.

    Parameters
    ----------
    model
        A model's name (see `assay list models`), or openai:ID or chat:ID for any OpenAI-compatible endpoint. Only an
        agent that asks no model goes without.
    models
        Several models, separated by commas. A server gets at most --concurrency rollouts at once, and all runs share
        the budget.
    base_url
        The URL of the model's server, up to and including /v1.
    out
        The run's directory. Default: runs/BENCHMARK/MODEL, with --limit N runs/BENCHMARK-limitN/MODEL. Of several
        runs the directory in place of runs.
    assign
        Change one setting; may be given several times: sampling.KEY (temperature, top_p, top_k, max_output_tokens),
        limits.KEY (steps, output_tokens, wall_s, tool_s) or model.KEY (reasoning, timeout_s, attempts, omit,
        extra_body.KEY, …), such as --set sampling.temperature=0.6.
    """
    settings: dict[str, Any] = {
        "own": assay_toml(),
        "base_url": base_url,
        "assign": assign,
        "budget": spending.budget(),
        "shard": Shard.parse(shard),
        "roles": roles.configs(),
        "concurrency": workers.concurrency,
        **plan.request(),
    }
    benchmarks = [code.load(name) for name in columns.of_each(benchmark)]
    plans = _plans(benchmarks, model, models, agent, out, settings)
    return write_job(sbatch) if sbatch else _drive(plans[0], workers) if len(plans) == 1 else sweep(plans, workers)


def _plans(
    benchmarks: list[Benchmark],
    model: str | None,
    models: str | None,
    agent: str,
    out: Path | None,
    settings: dict[str, Any],
) -> list[RunPlan]:
    if len(benchmarks) == 1 and models is None:
        return [plan_run(benchmarks[0], model, agent, home=Path("runs"), out=out, **settings)]
    if (model is None) == (models is None):
        raise UsageError("several runs take --models NAME,NAME, or one --model")
    names = names_of(model if models is None else models) or []
    return plan_sweep(benchmarks, names, agent, home=out or Path("runs"), **settings)


def _drive(plan: RunPlan, workers: Workers) -> int:
    interruption = Interruption()
    try:
        make_rollouts(plan, workers, interruption)
    except (NothingScored, BudgetSpent):
        _summarise(plan)
        raise
    _summarise(plan)
    return 130 if interruption.stopping else 0


def make_rollouts(plan: RunPlan, workers: Workers, interruption: Interruption) -> None:
    """Make the rollouts of a run that are missing, with a progress line. Raises StoppedEarly."""
    with workers.collector() as collector, Live() as live:
        work = collector(
            plan,
            interruption=interruption,
            watch=lambda tally: live.begin(plan.request.name, tally),
            tell=lambda line: console.print(line, markup=False),
        )
        drive(work, interruption)


def _summarise(plan: RunPlan) -> None:
    shard, folder = plan.shard, plan.folder
    if shard.count > 1:
        console.print(f"shard {shard.index}/{shard.count} is in {folder / shard.file}")
        return
    print_summary(folder)

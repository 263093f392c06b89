"""`assay.sweep` and `assay.Sweep`: several benchmarks on several models."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from assay.agent import Agent
from assay.benchmark import Benchmark
from assay.collect.collect import Tally
from assay.collect.run import RunPlan
from assay.collect.sweep import collect_all
from assay.config import ModelConfig
from assay.errors import AssayError
from assay.input import is_present
from assay.library.collecting import collector_of
from assay.library.names import AnyModel, TemporaryFolder, budget_of, list_of, load, roles_of, toml_of
from assay.library.plans import plan_sweep
from assay.library.run import Run

Cell = tuple[str, str]
"""The names of a benchmark and a model."""


class Sweep:
    """Several benchmarks on several models, with one run for each pair. Shows itself as a table of scores.

    Example::

        sweep = await assay.sweep(["gsm8k", "cruxeval"], models=["base", "step-1000"], config="assay.toml", out="runs")
        sweep.runs["gsm8k", "step-1000"].interval   # (0.62, 0.67)
    """

    def __init__(
        self, plans: Sequence[RunPlan], errors: Mapping[int, AssayError] | None = None, *, _keep: object = None
    ) -> None:
        """Opens the runs of these plans. `errors` has the errors that ended runs early, by index in `plans`."""
        cells = [(plan.benchmark.name, plan.request.name) for plan in plans]
        self.runs: dict[Cell, Run] = {
            cell: Run(plan.folder, _keep=_keep)
            for cell, plan in zip(cells, plans, strict=True)
            if is_present(plan.folder / "run.json")
        }
        """The runs that have begun, by benchmark and model."""
        self.errors: dict[Cell, AssayError] = {cells[index]: error for index, error in (errors or {}).items()}
        """The errors that ended runs early, by benchmark and model."""
        self.benchmarks = list(dict.fromkeys(benchmark for benchmark, _ in cells))
        self.models = list(dict.fromkeys(model for _, model in cells))

    def table(self) -> list[list[str]]:
        """Returns rows of text, the first with the models' names: scores with 95 % intervals, and failures."""
        rows = [
            [_label(name, self.runs), *(_cell(self.runs.get((name, m))) for m in self.models)]
            for name in self.benchmarks
        ]
        return [["", *self.models], *rows]

    def rows(self) -> list[dict[str, Any]]:
        """Returns one row for each run: benchmark, model, and all figures of its summary."""
        return [{"benchmark": b, "model": m} | _fields(run) for (b, m), run in self.runs.items()]

    def __repr__(self) -> str:
        cells = [f"{b} on {m}: {_cell(run)}" for (b, m), run in self.runs.items()]
        return f"Sweep({'; '.join(cells)})"

    def _repr_html_(self) -> str:
        head, *body = self.table()
        rows = ["".join(f"<th>{escape(name)}</th>" for name in head)]
        rows += [f"<th>{escape(row[0])}</th>" + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) for row in body]
        return f"<table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def _label(benchmark: str, runs: Mapping[Cell, Run]) -> str:
    """Returns a benchmark's name, followed by its kind of score unless that is the mean reward."""
    scores = {run.summary.score_is for (name, _), run in runs.items() if name == benchmark} - {"mean reward"}
    return f"{benchmark} ({', '.join(sorted(scores))})" if scores else benchmark


def _cell(run: Run | None) -> str:
    if run is None:
        return "not run"
    words = ["no score" if run.score is None else f"{100 * run.score:.1f}"]
    if run.interval is not None:
        words[0] += " [{:.1f}, {:.1f}]".format(*(100 * end for end in run.interval))
    words += [f"{n:,} {what}" for n, what in ((run.failures, "failed"), (run.summary.owed, "owed")) if n]
    return " · ".join(words)


def _fields(run: Run) -> dict[str, Any]:
    return {name: getattr(run.summary, name) for name in run.summary.__struct_fields__}


async def sweep(
    benchmarks: Sequence[str | Path | Benchmark],
    *,
    models: Sequence[AnyModel],
    agent: str | Agent | None = None,
    roles: Mapping[str, str | ModelConfig] | None = None,
    concurrency: int = 64,
    processes: int | None = None,
    ray: bool | str = False,
    budget_tokens: int | None = None,
    budget_usd: float | None = None,
    config: str | Path | None = None,
    out: str | Path | None = None,
    watch: Callable[[str, str, Tally], None] | None = None,
    **settings: Any,
) -> Sweep:
    """Runs several benchmarks on several models, or continues the runs in `out`. Returns the Sweep.

    Each run has its folder in `out`, BENCHMARK/MODEL, as `run` makes it. A server gets at most `concurrency` rollouts
    at once, and a run begins when the last rollouts of the one before begin. All runs share the budget. `settings` are
    other arguments of `run`: base_url, repeats, only, limit, seed, sampling, limits, early_stop, batch. `watch` is
    called when a run begins, with the names of benchmark and model and its Tally.

    Raises UsageError before anything runs. An error that ends a run later is in `errors`, and the other runs go on.
    """
    own, temporary = toml_of(config), TemporaryFolder() if out is None else None
    plans = plan_sweep(
        [load(benchmark) for benchmark in list_of(benchmarks, "benchmarks")],
        list_of(models, "models"),
        agent,
        own=own,
        home=temporary.path if temporary else Path(out or ""),
        roles=roles_of(roles, own),
        budget=budget_of(budget_tokens, budget_usd),
        concurrency=concurrency,
        **settings,
    )
    tallies: list[tuple[str, str, Tally]] = []

    def begin(plan: RunPlan, tally: Tally) -> None:
        tallies.append((plan.benchmark.name, plan.request.name, tally))
        if watch:
            watch(*tallies[-1])

    with collector_of(processes, ray, own.ray) as collector:
        errors = await collect_all(plans, collector, watch=begin)
    for benchmark, model, tally in tallies:
        for line in tally.warnings(model):
            warnings.warn(f"{benchmark} on {model}: {line}", stacklevel=2)
    return Sweep(plans, errors, _keep=temporary)

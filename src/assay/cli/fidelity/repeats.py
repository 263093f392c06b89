"""`assay repeats`."""

import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from assay.cli.output import plain_table, print_json
from assay.errors import UsageError
from assay.fidelity.profile import contenders_of, read_plan
from assay.fidelity.results.contender import of_role, strongest
from assay.fidelity.results.repeats import TARGET_POINTS, Cost, Outlook, outlook
from assay.fidelity.results.results import read
from assay.input import is_present
from assay.report.words import NONE, count, dollars, duration, plural, points, short_count


def repeats(run: Path, /, *, target: float = TARGET_POINTS, json: bool = False) -> None:
    """Say how many repeats a run needs for a stable score, and what they cost.

    The SD is the standard deviation of the score over re-runs on the same tasks. Bounds are one-sided, at 90 %.

    Parameters
    ----------
    run
        A run's directory, or a profile's: then all its runs, with the costs for the strongest open model.
    target
        The SD that is wanted, in percentage points.
    json
        Print everything as JSON.
    """
    if not (target > 0 and math.isfinite(target)):
        raise UsageError(f"--target {target:g}: expected percentage points above 0")
    if is_present(run / "run.json"):
        result = outlook(run, read(run), target)
        print_json(result) if json else _show(result)
        return
    if not is_present(run / "plan.jsonl"):
        raise UsageError(f"{run} is neither a run's directory nor a profile's: it has no run.json and no plan.jsonl")
    plan = read_plan(run)
    contenders = contenders_of(run, plan)
    open_models = strongest(of_role(contenders, "open"), plan.suite.order)
    runs = {c.name: outlook(run / "runs" / c.name, c.results, target) for c in contenders}
    name = open_models[0].name if open_models else None
    if json:
        print_json({"strongest_open": name, "runs": runs})
    else:
        _show_all(runs, name)


def _show(result: Outlook) -> None:
    console = Console(highlight=False)
    whole = f"{plural(result.tasks, 'task')} × {plural(result.repeats, 'repeat')}"
    console.print(f"[bold]{escape(result.benchmark)} on {escape(result.model)}[/]: {whole}")
    independence = result.independence
    if independence.verdict == "dependent":
        console.print(f"[red bold]NOT INDEPENDENT[/] {escape(result.advice)}")
    if result.owed:
        console.print(
            f"[yellow]unfinished[/] {result.owed:,} rollouts are still owed; the figures are of what is there."
        )
    if result.failed:
        console.print(f"[yellow]failed[/] {result.failed:,} rollouts; figures are without them, their tokens counted.")
    if independence.verdict != "dependent":
        console.print(escape(result.advice))
    if independence.verdict == "independent":
        console.print(escape(independence.reason), style="dim")
    if result.costs:
        console.print("", _costs(result))


def _costs(result: Outlook) -> Table:
    """Returns a row for each k; columns without any figure are left out."""
    names = {result.repeats: ["now"]}
    for k, name in ((result.k_star, "needed"), (result.k_upper, "to be sure")):
        if k is not None:
            names.setdefault(k, []).append(name)
    costs = result.costs
    rows: dict[str, list[str]] = {
        "k": [str(cost.k) for cost in costs],
        "": [", ".join(names.get(cost.k, [])) for cost in costs],
    }
    if result.sd is not None:
        rows |= {
            "SD": [points(cost.sd) for cost in costs],
            "at most": [points(cost.sd_upper) for cost in costs],
        }
    rows |= {"rollouts": [count(cost.rollouts) for cost in costs], "to add": [_more(cost) for cost in costs]}
    if any(cost.tokens is not None for cost in costs):
        rows["tokens"] = [short_count(cost.tokens) if cost.more else "" for cost in costs]
    if any(cost.usd is not None for cost in costs):
        rows["cost"] = [dollars(cost.usd) if cost.more else "" for cost in costs]
    if any(cost.wall_s is not None for cost in costs):
        rows["time"] = [NONE if cost.wall_s is None else duration(cost.wall_s) if cost.more else "" for cost in costs]
    return _table(rows, [cost.k == result.k_upper for cost in costs])


def _more(cost: Cost) -> str:
    return count(cost.more) if cost.more else ""


def _show_all(runs: dict[str, Outlook], strongest: str | None) -> None:
    console = Console(highlight=False)
    for name, outlooks in runs.items():
        if outlooks.independence.verdict == "dependent":
            console.print(f"[red bold]NOT INDEPENDENT[/] {escape(name)}: {escape(outlooks.independence.reason)}")
    outlooks = list(runs.values())
    costs = [next((cost for cost in one.costs if cost.k == (one.k_upper or 2)), None) for one in outlooks]
    rows = {
        "model": [escape(name) + (" *" if name == strongest else "") for name in runs],
        "k": [str(one.repeats) for one in outlooks],
        "owed": [count(one.owed) if one.owed else "" for one in outlooks],
        "SD": [points(one.sd) for one in outlooks],
        "at most": [points(one.sd_upper) for one in outlooks],
        "needed": [count(one.k_star) for one in outlooks],
        "to be sure": [count(one.k_upper) for one in outlooks],
        "to add": [count(cost and cost.more) for cost in costs],
    }
    if any(cost and cost.tokens is not None for cost in costs):
        rows["tokens"] = [short_count(cost and cost.tokens) for cost in costs]
    if any(cost and cost.usd is not None for cost in costs):
        rows["cost"] = [dollars(cost and cost.usd) for cost in costs]
    console.print(_table(rows, [name == strongest for name in runs]))
    if strongest is None:
        console.print("No open model has a score.")
        return
    console.print("\n[bold]* the strongest open model[/], by which the gate goes:")
    _show(runs[strongest])


def _table(columns: dict[str, list[str]], bold: Sequence[bool]) -> Table:
    table = plain_table(*columns, right=columns.keys() - {"", "model"})
    for row, strong in zip(zip(*columns.values(), strict=True), bold, strict=True):
        table.add_row(*row, style="bold" if strong else None)
    return table

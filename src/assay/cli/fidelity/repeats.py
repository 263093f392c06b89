"""`assay repeats`."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

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
        found = outlook(run, read(run), target)
        _write(found) if json else _show(found)
        return
    if not is_present(run / "plan.jsonl"):
        raise UsageError(f"{run} is neither a run's directory nor a profile's: it has no run.json and no plan.jsonl")
    plan = read_plan(run)
    contenders = contenders_of(run, plan)
    opened = strongest(of_role(contenders, "open"), plan.suite.order)
    runs = {c.name: outlook(run / "runs" / c.name, c.results, target) for c in contenders}
    name = opened[0].name if opened else None
    if json:
        _write({"strongest_open": name, "runs": runs})
    else:
        _show_all(runs, name)


def _write(value: object) -> None:
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def _show(found: Outlook) -> None:
    console = Console(highlight=False)
    whole = f"{plural(found.tasks, 'task')} × {plural(found.repeats, 'repeat')}"
    console.print(f"[bold]{escape(found.benchmark)} on {escape(found.model)}[/]: {whole}")
    said = found.independence
    if said.verdict == "dependent":
        console.print(f"[red bold]NOT INDEPENDENT[/] {escape(found.advice)}")
    if found.owed:
        console.print(
            f"[yellow]unfinished[/] {found.owed:,} rollouts are still owed; the figures are of what is there."
        )
    if found.failed:
        console.print(f"[yellow]failed[/] {found.failed:,} rollouts; figures are without them, their tokens counted.")
    if said.verdict != "dependent":
        console.print(escape(found.advice))
    if said.verdict == "independent":
        console.print(escape(said.reason), style="dim")
    if found.costs:
        console.print("", _costs(found))


def _costs(found: Outlook) -> Table:
    """A row for each k; columns without any figure are left out."""
    called = {found.repeats: ["now"]}
    for k, name in ((found.k_star, "needed"), (found.k_upper, "to be sure")):
        if k is not None:
            called.setdefault(k, []).append(name)
    costs = found.costs
    rows: dict[str, list[str]] = {
        "k": [str(cost.k) for cost in costs],
        "": [", ".join(called.get(cost.k, [])) for cost in costs],
    }
    if found.sd is not None:
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
    return _table(rows, [cost.k == found.k_upper for cost in costs])


def _more(cost: Cost) -> str:
    return count(cost.more) if cost.more else ""


def _show_all(runs: dict[str, Outlook], strongest: str | None) -> None:
    console = Console(highlight=False)
    for name, found in runs.items():
        if found.independence.verdict == "dependent":
            console.print(f"[red bold]NOT INDEPENDENT[/] {escape(name)}: {escape(found.independence.reason)}")
    found = list(runs.values())
    costs = [next((cost for cost in one.costs if cost.k == (one.k_upper or 2)), None) for one in found]
    rows = {
        "model": [escape(name) + (" *" if name == strongest else "") for name in runs],
        "k": [str(one.repeats) for one in found],
        "owed": [count(one.owed) if one.owed else "" for one in found],
        "SD": [points(one.sd) for one in found],
        "at most": [points(one.sd_upper) for one in found],
        "needed": [count(one.k_star) for one in found],
        "to be sure": [count(one.k_upper) for one in found],
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
    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="left" if name in ("", "model") else "right", overflow="fold")
    for row, strong in zip(zip(*columns.values(), strict=True), bold, strict=True):
        table.add_row(*row, style="bold" if strong else None)
    return table

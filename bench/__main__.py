"""`python -m bench [NAME ...]`: how fast Assay is, beside the floor measured in the same minute; then the aims.

Floor and Assay take turns, so that a noisy machine is noisy for both. What is measured is kept in bench-results/, a
file a machine; `--compare` names what changed since the result before, beyond noise, and exits 1 for a regression.
`python -m bench verifiers` says how often the verifiers are wrong, `python -m bench recorded` what they and the
detectors make of recorded outputs.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Iterable
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from bench import aims, compare
from bench.measurements import MEASUREMENTS, Measurement, Missing, Setup
from bench.results import Result, Round, commit, cpu, keep, newest, read_results

console = Console(highlight=False)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASUREMENTS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="of each (default 5; a comparison needs 4)")
    parser.add_argument("--quick", action="store_true", help="a few rollouts, to see that all works; nothing is kept")
    parser.add_argument("--compare", nargs="?", const="", metavar="COMMIT", help="measure nothing: what changed")
    parser.add_argument("--aims", action="store_true", help="measure nothing: the aims, by what is kept")
    parser.add_argument("--list", action="store_true", help="measure nothing: what there is, and each one's floor")
    arguments = parser.parse_args()
    names = arguments.names or list(MEASUREMENTS)
    if unknown := set(names) - MEASUREMENTS.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(MEASUREMENTS)}")
    if arguments.rounds < 1:
        parser.error("--rounds: expected at least 1")
    if arguments.list:
        return show_names(names)
    if arguments.compare is not None:
        return show_changes([one for one in read_results() if one.name in names], arguments.compare or None)
    if not arguments.aims:
        measure(names, 1 if arguments.quick else arguments.rounds, quick=arguments.quick)
    if not arguments.quick:
        show_aims(aims.judge_all(newest(read_results())))
    return 0


def measure(names: Iterable[str], rounds: int, *, quick: bool) -> None:
    """Measure and print each result. Keep it unless `quick`."""
    now = commit()
    with Setup() as setup:
        for name in names:
            measurement = MEASUREMENTS[name]
            count, load = measurement.quick if quick else measurement.count, os.getloadavg()[0]
            try:
                taken = [_round(measurement, setup, count) for _ in range(rounds)]
            except Missing as missing:
                console.print(f"\n[bold]{name}[/]: skipped, for there is no {missing}")
                continue
            at = datetime.now(UTC).isoformat(timespec="seconds")
            result = Result(name=name, count=count, rounds=taken, commit=now, at=at, load=round(load, 2))
            show(measurement, result)
            if not quick:
                keep(result)


def _round(measurement: Measurement, setup: Setup, count: int) -> Round:
    return Round(floor=measurement.floor(setup, count), assay=measurement.assay(setup, count))


def show(measurement: Measurement, result: Result) -> None:
    """Print one result: Assay, its floor, and their ratio."""
    table = Table("", "seconds", "a second", "CPU s per 1,000", "peak MiB", box=None)
    for side in ("assay", "floor"):
        wall_s = result.median(lambda one, side=side: getattr(one, side).wall_s)
        cpu_s = result.median(lambda one, side=side: getattr(one, side).cpu_s)
        peak = max(getattr(one, side).peak_mib for one in result.rounds)
        rate = f"{result.count / wall_s:,.0f}" if result.count > 1 else ""
        per_1000 = f"{1000 * cpu_s / result.count:.3f}" if result.count > 1 else f"({cpu_s:.2f} s)"
        table.add_row(side, f"{wall_s:.2f}", rate, per_1000, f"{peak:,.0f}")
    table.add_row("of floor", f"{aims.of_floor(result):.2f} x as fast", "", f"{result.median(cpu):.1f} x", "")
    title = f"\n[bold]{result.name}[/] ({result.count:,}; median of {len(result.rounds)}; load {result.load:.1f})"
    console.print(title, measurement.what, f"[dim]floor: {measurement.floor_is}[/]", table, sep="\n")
    for name in result.rounds[0].assay.more:
        assay, floor = (result.median(lambda one, s=s, n=name: getattr(one, s).more[n]) for s in ("assay", "floor"))
        console.print(f"           {name}: {assay:,.0f}, of the floor {floor:,.0f}")


def show_aims(judged: Iterable[aims.JudgedAim]) -> None:
    """Print the aims, met or not."""
    table = Table("aim", "figure", "measured", "", box=None, title="\naims", title_justify="left")
    for one in judged:
        word = {True: "[green]met[/]", False: "[red]not met[/]", None: "[dim]-[/]"}[one.met]
        table.add_row(one.aim.what, one.aim.wanted, one.measured, word)
    console.print(table)


def show_changes(results: list[Result], against: str | None) -> int:
    """Print what changed. Returns 1 where something got worse."""
    changes = list(compare.changes(results, against))
    if not changes:
        since = f"with commit {against}" if against else "with: a measurement has to be kept twice"
        console.print(f"nothing to compare {since}")
        return 2
    table = Table("measurement", "figure", "change", "95 % interval", "", box=None)
    for change in changes:
        interval = "" if change.interval is None else "{:+.1%} to {:+.1%}".format(*(x - 1 for x in change.interval))
        colour = {"regression": "red bold", "improvement": "green"}.get(change.verdict, "dim")
        word = f"[{colour}]{change.verdict}[/]"
        table.add_row(change.name, change.figure, f"{change.factor - 1:+.1%}", interval, word)
    console.print(table)
    return int(any(change.verdict == "regression" for change in changes))


def show_names(names: Iterable[str]) -> int:
    for name in names:
        one = MEASUREMENTS[name]
        console.print(f"[bold]{name}[/]: {one.what} ({one.count:,}). [dim]Floor: {one.floor_is}.[/]")
    return 0


if __name__ == "__main__":
    # Imported only for their own command: a measured process begins with the memory of this one.
    other = sys.argv[1] if sys.argv[1:2] and sys.argv[1] in ("verifiers", "recorded") else None
    sys.exit(importlib.import_module(f"bench.{other}").main(sys.argv[2:]) if other else main())

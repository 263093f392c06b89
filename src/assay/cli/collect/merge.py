"""`assay merge`."""

from itertools import islice
from pathlib import Path

from rich.table import Table
from rich.text import Text

from assay.cli.collect.live import console
from assay.cli.output import print_summary
from assay.collect.merge import TWICE, MergeCounts, Twice
from assay.collect.merge import merge as merge_runs
from assay.store import read_lines

MOST = 20
"""Rollouts left out that are shown; all are in the file."""


def merge(out: Path, /, *runs: Path) -> None:
    """Make one run of the parts that several machines made.

    Rollouts that OUT lacks are added to it, and nothing that it has is changed, so the command can be repeated after
    an interruption, or with more parts. The parts stay as they are. If a task and repeat has two scores, the first
    stays: that of OUT, then that of the other runs in their order. Scores that differ are listed. Failures are kept
    with all attempts.

    Parameters
    ----------
    out
        The merged run's directory: a new one, an earlier merge's, or one of the runs.
    runs
        Run directories, such as those that `assay run --shard i/n` made.
    """
    result = merge_runs(out, runs)
    _show(out, result)
    print_summary(out)


def _show(out: Path, result: MergeCounts) -> None:
    failures = f" and {result.failed:,} failed attempts" if result.failed else ""
    console.print(f"{result.scored:,} scores{failures} were added; {result.there:,} rollouts were there")
    if result.alike:
        console.print(f"{result.alike:,} more have a task, repeat and score that another rollout has: left out")
    if result.twice:
        table = Table("task", "repeat", "kept", "left out", "from", box=None, pad_edge=False)
        for one in islice(read_lines(out / TWICE, Twice), MOST):
            table.add_row(Text(one.task), str(one.repeat), f"{one.kept:g}", f"{one.left_out:g}", Text(one.file))
        console.print(f"{result.twice:,} more have another score than the one that stayed: left out", table)
        console.print(f"all are in {out / TWICE}", markup=False)

"""What several commands print: JSON, tables, the summary of a run."""

import importlib
import sys
from collections.abc import Collection
from pathlib import Path

import msgspec
from rich.table import Table

from assay.report.words import NONE, sample
from assay.store import read_record


def print_json(value: object) -> None:
    """Print a value as JSON, with an indent."""
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def plain_table(*columns: str, right: Collection[str] = ()) -> Table:
    """Returns a table without lines. The columns in `right` are aligned to the right."""
    grid = Table(box=None, pad_edge=False)
    for name in columns:
        grid.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return grid


def share(value: float | None) -> str:
    """Returns a share in per cent with one decimal, as the terminal shows it."""
    return NONE if value is None else f"{value:.1%}"


def print_summary(folder: Path) -> None:
    """Write `summary.json` of a run and print it, with the run's folder."""
    # Imported once the rollouts are in: numpy and scipy take longer to load than a first answer takes to come.
    summary = importlib.import_module("assay.fidelity.results.summary")
    print(summary.text(summary.write(folder)))
    record = read_record(folder)
    if note := sample(record.tasks, record.all_tasks):
        print(note)
    print(folder)

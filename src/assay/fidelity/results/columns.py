"""`columns.parquet`: a large run's cells, kept so that its lines are read once. Derived; made again when stale.

`columns.json` beside it says what it was made of, and has its digest: a bit that flips on a disk is no score.
A small run has neither: reading its lines is faster than loading a table library.
"""

import contextlib
import hashlib
import importlib
import io
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from assay.digest import tree_digest
from assay.errors import StoppedEarly
from assay.store import write_bytes, write_json

_ASSAY = Path(__file__).parents[2]
READERS = (_ASSAY / "types.py", _ASSAY / "store", _ASSAY / "benchmark/verify", Path(__file__).parent)
"""The code that reads rollouts: what is kept of them is made again when it changes."""
NAME = "columns.parquet"
BESIDE = "columns.json"
WORTH = 50_000
"""Rollouts from which on it is written."""


class Cell(Struct, frozen=True, gc=False):
    """What is kept of one (task, repeat) once its text has been read: where it stands in the arrays, its figures."""

    task: int
    repeat: int
    reward: float | None
    """None where the rollout failed."""
    answer: str | None
    stop: str
    output_tokens: int
    text: int
    """A digest of all that the model wrote, reasoning and calls included, to find repeats that are copies."""
    cost_usd: float | None = None
    """Of this rollout, its models in roles included; None where a price isn't known."""


class Totals(Struct, frozen=True):
    """What of a run is no cell's own: sums over all rollouts, failed ones and earlier attempts included."""

    tokens: dict[str, int]
    wall_s: float
    roles_usd: float | None


class Stamp(Struct, frozen=True):
    """What the table was made of, and by what."""

    files: list[tuple[str, int, int]]
    """(name, bytes, changed at, in nanoseconds) of each file of the run."""
    code: str
    """Digest of the code that reads rollouts, which may read a run otherwise now."""


class Kept(Struct, frozen=True):
    """`columns.json`."""

    made_of: Stamp
    table: str
    """SHA-256 of the table's file."""
    totals: Totals


def load(folder: Path) -> tuple[list[Cell], Totals] | None:
    """A run's cells and totals as they were kept; None where they were not, or a file has changed since."""
    try:
        kept = msgspec.json.decode((folder / BESIDE).read_bytes(), type=Kept)
        if kept.made_of != stamp(folder):
            return None
        table = (folder / NAME).read_bytes()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    if hashlib.sha256(table).hexdigest() != kept.table:
        return None
    polars: Any = importlib.import_module("polars")
    columns = polars.read_parquet(io.BytesIO(table))
    return list(map(Cell, *(columns[name].to_list() for name in Cell.__struct_fields__))), kept.totals


def keep(folder: Path, cells: list[Cell], totals: Totals, made_of: Stamp) -> None:
    """Write the table, where there are enough cells for it to be worth it. Where the disk is full there is none.

    `made_of` is the run's stamp before its lines were read: what was written meanwhile makes the table stale.
    """
    if len(cells) < WORTH:
        return
    polars: Any = importlib.import_module("polars")
    names = polars.Categorical
    types = {"task": polars.Int32, "repeat": polars.Int32, "reward": polars.Float64, "answer": names, "stop": names}
    types |= {"output_tokens": polars.Int64, "text": polars.UInt64, "cost_usd": polars.Float64}
    table = polars.DataFrame({name: [getattr(cell, name) for cell in cells] for name in types}, schema=types)
    written = io.BytesIO()
    table.write_parquet(written)
    with contextlib.suppress(StoppedEarly):
        write_bytes(folder / NAME, written.getvalue())
        write_json(folder / BESIDE, Kept(made_of, hashlib.sha256(written.getvalue()).hexdigest(), totals))


def stamp(folder: Path) -> Stamp:
    """What a table of the run would be made of now."""
    paths = sorted([*folder.glob("rollouts*.jsonl"), folder / "run.json", folder / "tasks.jsonl"])
    found = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return Stamp(found, tree_digest(*READERS))

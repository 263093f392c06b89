"""`columns.npz`: the cells of a run that is not small, kept so that its lines are read once. Made again when stale.

`columns.json` beside it has the digests of the table and of the files that it was made from, so that a flipped bit on a
disk is no score. Somebody may have forged both, so at each use some lines are compared with the table. A small run has
neither file, because its lines are read fast enough.

Every file is hashed at each use: 1.2 s of processor time for a million rollouts of 1.6 kB, which take 12.5 s to read.
Size, time and inode would be faster to compare, but `cp -p`, `rsync -t` and an editor can keep all three.
"""

import contextlib
import hashlib
import io
import itertools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from random import SystemRandom
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from assay.digest import tree_digest
from assay.errors import StoppedEarly
from assay.input import open_input, read_input
from assay.store import rollout_files, write_bytes, write_json

_ASSAY = Path(__file__).parents[2]
READERS = (_ASSAY / "types.py", _ASSAY / "store", _ASSAY / "benchmark/verify", Path(__file__).parent)
"""The code that reads rollouts. Caches are made again when it changes."""
NAME = "columns.npz"
BESIDE = "columns.json"
WORTH = 1_000
"""The number of rollouts from which a run's table is written. To read one and to search it takes 0.1 ms or more, and a
profile has many runs: the first page of a review of 192,000 rollouts in 8 runs took 16 s of processor time, now 5 s."""
TYPES = {
    "task": "i4",
    "repeat": "i4",
    "reward": "f8",
    "answer": "i4",
    "stop": "i4",
    "output_tokens": "i8",
    "text": "u8",
    "cost_usd": "f8",
    "undecided": "f8",
}
"""The fields of a cell and the type of each one's array."""
TEXTS = ("answer", "stop")
_RANDOM = SystemRandom()


class Cell(Struct, frozen=True, gc=False):
    """The figures of one (task, repeat), with its place in the arrays."""

    task: int
    repeat: int
    reward: float | None
    """None if the rollout failed."""
    answer: str | None
    stop: str
    output_tokens: int
    text: int
    """Digest of all that the model wrote, with reasoning and calls. Copies have the same digest."""
    cost_usd: float | None = None
    """US dollars, with models in roles; None if a price is unknown."""
    undecided: float = 0.0
    """1 if the verifier could not decide what the answer is."""


class Totals(Struct, frozen=True):
    """Sums over all rollouts of a run, with failed ones and earlier attempts."""

    tokens: dict[str, int]
    wall_s: float
    roles_usd: float | None


class Stamp(Struct, frozen=True):
    """The digests of the files and the code that a table was made from."""

    files: list[tuple[str, str]]
    """(name, SHA-256) of each file of the run."""
    code: str
    """Digest of the code that reads rollouts."""


class ColumnsFile(Struct, frozen=True):
    """`columns.json`."""

    made_of: Stamp
    table: str
    """SHA-256 of the table's file."""
    totals: Totals


def load(folder: Path) -> tuple[list[Cell], Totals] | None:
    """Returns the cached cells and totals of a run; None if there are none, or a file has changed since."""
    try:
        kept = msgspec.json.decode(read_input(folder / BESIDE), type=ColumnsFile)
        if kept.made_of != stamp(folder):
            return None
        table = read_input(folder / NAME)
        if hashlib.sha256(table).hexdigest() != kept.table:
            return None
        return _cells(table), kept.totals
    # numpy raises different errors for different damage.
    except (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile):
        return None


def keep(folder: Path, cells: list[Cell], totals: Totals, made_of: Stamp) -> None:
    """Writes the table if there are at least `WORTH` cells. Writes nothing if the disk is full.

    `made_of` is the run's stamp from before its lines were read, so that a line written meanwhile makes the table
    stale.
    """
    if len(cells) < WORTH:
        return
    table = _table(cells)
    with contextlib.suppress(StoppedEarly):
        write_bytes(folder / NAME, table)
        write_json(folder / BESIDE, ColumnsFile(made_of, hashlib.sha256(table).hexdigest(), totals))


def _table(cells: list[Cell]) -> bytes:
    """Returns the npz file: an array for each field; texts are indices into `<field>_names`, JSON in bytes."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for field, kind in TYPES.items():
        values = [getattr(cell, field) for cell in cells]
        if field in TEXTS:
            numbers = {text: number for number, text in enumerate(dict.fromkeys(values))}
            values = [numbers[text] for text in values]
            arrays[f"{field}_names"] = np.frombuffer(msgspec.json.encode(list(numbers)), np.uint8)
        arrays[field] = np.array(values, kind)  # None becomes nan
    written = io.BytesIO()
    np.savez(written, allow_pickle=False, **arrays)
    return written.getvalue()


def _cells(table: bytes) -> list[Cell]:
    """Returns the cells of a table, as the inverse of `_table`. Raises ValueError or LookupError for another layout."""
    columns: list[list[Any]] = []
    with np.load(io.BytesIO(table), allow_pickle=False) as arrays:
        for field, kind in TYPES.items():
            array = arrays[field]
            if array.dtype != kind:
                raise ValueError(f"{field}: an array of {array.dtype}, expected {np.dtype(kind)}")
            values: list[Any] = array.tolist()
            if field in TEXTS:
                names = msgspec.json.decode(arrays[f"{field}_names"].tobytes(), type=list[str | None])
                values = [names[number] for number in values]
            elif array.dtype == float:
                for row in np.flatnonzero(np.isnan(array)).tolist():
                    values[row] = None
            columns.append(values)
    return list(itertools.starmap(Cell, zip(*columns, strict=True)))


def stamp(folder: Path) -> Stamp:
    """Returns the digests of the run's files and the code as they are now."""
    return Stamp([(path.name, _sha256(path)) for path in _files(folder)], tree_digest(*READERS))


def draw_lines(folder: Path, count: int) -> Iterator[bytes]:
    """Yields some lines of a run's rollouts, drawn at random, long ones more often."""
    paths = [path for path in _files(folder) if path.name.startswith("rollouts") and path.stat().st_size]
    for path in _RANDOM.choices(paths, [path.stat().st_size for path in paths], k=count) if paths else ():
        with open_input(path) as file:
            file.seek(_RANDOM.randrange(path.stat().st_size))
            file.readline()
            line = file.readline()
            file.seek(0)
            line = line or file.readline()
        if line.endswith(b"\n"):
            yield line


def _files(folder: Path) -> list[Path]:
    return sorted([*rollout_files(folder), folder / "run.json", folder / "tasks.jsonl"])


def _sha256(path: Path) -> str:
    with open_input(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

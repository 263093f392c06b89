"""Rows of data files: JSONL, JSON, CSV and Parquet, as they are or compressed by gzip."""

import csv
import gzip
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
from msgspec import Struct

from assay.errors import InputError, UsageError
from assay.gyms import require
from assay.input import BROKEN, open_input

LONGEST = 300
"""Characters of a row that an error shows."""


class Row(Struct, frozen=True):
    """A row, and where it stands."""

    number: int
    """From 1 on, over all files of the data set."""
    place: str
    """Such as `aime.jsonl, line 3`."""
    cells: dict[str, Any]
    """By column. An empty cell of a CSV file is left out."""

    def error(self, got: str, expected: str) -> InputError:
        """Returns the error of a row that is not what was expected, with the row."""
        return InputError(self.place, None, got, f"{expected}\n  the row: {shown(self.cells)}")


def read_rows(paths: Sequence[Path]) -> list[Row]:
    """Returns the rows of all files, in order. Raises UsageError and InputError, with the line."""
    rows: list[Row] = []
    for path in paths:
        reader = FORMATS.get(suffix_of(path.name))
        if reader is None:
            raise UsageError(f"{path}: expected a file that ends in {', '.join(FORMATS)}, or in one of them and .gz")
        try:
            with _opened(path) as file:
                rows += (Row(len(rows) + 1, place, cells) for place, cells in reader(path, file))
        except UnicodeDecodeError as error:
            raise InputError(path, None, f"byte {error.start} is no UTF-8", "a file in UTF-8") from None
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(path, None, f"it can't be decompressed: {error}", "a whole gzip file") from None
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror or error}") from None
    if not rows:
        raise InputError(", ".join(map(str, paths)), None, "no rows", "a row a task")
    return rows


def suffix_of(name: str) -> str:
    """Returns the ending that names a file's format, in small letters, such as `.csv` of `A.CSV.gz`."""
    return Path(name.lower().removesuffix(".gz")).suffix


def stem_of(name: str) -> str:
    """Returns a file's name without the endings that name its format."""
    return Path(name[:-3] if name.lower().endswith(".gz") else name).stem


def shown(cells: dict[str, Any]) -> str:
    """Returns the beginning of a row as JSON."""
    text = msgspec.json.encode(cells, enc_hook=str).decode()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


@contextmanager
def _opened(path: Path) -> Generator[BinaryIO]:
    with open_input(path) as file:
        if not path.name.lower().endswith(".gz"):
            yield file
            return
        with gzip.GzipFile(fileobj=file) as inside:
            yield cast(BinaryIO, inside)


def _lines(path: Path, file: BinaryIO) -> Generator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(file, 1):
        if line.strip():
            yield f"{path}, line {number}", _decoded(line, dict[str, Any], path, number, "a JSON object, a row")


def _list(path: Path, file: BinaryIO) -> Iterator[tuple[str, dict[str, Any]]]:
    return _numbered(path, _decoded(file.read(), list[dict[str, Any]], path, None, "a JSON list of objects"))


def _decoded(text: bytes, kind: Any, path: Path, line: int | None, expected: str) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except BROKEN as error:
        raise InputError(path, line, str(error), expected) from None


def _csv(path: Path, file: BinaryIO) -> Generator[tuple[str, dict[str, Any]]]:
    expected = "a CSV file with the columns' names in its first line, and as many cells in each row"
    with TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        reader = csv.DictReader(text, strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise InputError(path, reader.line_num, "another number of cells than the first line has", expected)
                yield f"{path}, line {reader.line_num}", {name: cell for name, cell in row.items() if cell != ""}
        except csv.Error as error:
            raise InputError(path, reader.line_num, str(error), expected) from None


def _parquet(path: Path, file: BinaryIO) -> Generator[tuple[str, dict[str, Any]]]:
    arrow, parquet = require("pyarrow", "parquet"), require("pyarrow.parquet", "parquet")
    try:
        batches = parquet.ParquetFile(arrow.PythonFile(file)).iter_batches()
        yield from _numbered(path, (row for batch in batches for row in batch.to_pylist()))
    except arrow.ArrowException as error:
        raise InputError(path, None, str(error), "a Parquet file") from None


def _numbered(path: Path, rows: Iterable[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((f"{path}, row {number}", row) for number, row in enumerate(rows, 1))


FORMATS: dict[str, Callable[[Path, BinaryIO], Iterator[tuple[str, dict[str, Any]]]]] = {
    ".jsonl": _lines,
    ".json": _list,
    ".csv": _csv,
    ".parquet": _parquet,
}
"""Readers by the ending of a file's name."""

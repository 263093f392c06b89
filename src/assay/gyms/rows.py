"""Rows of data files: JSONL, JSON, CSV and Parquet, as they are, compressed by gzip, or many in a ZIP archive.

The objects of a JSON file are its rows. They are a list, or stand under their ids, or under a name of `HOLDERS`.
"""

import csv
import gzip
import io
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from glob import glob, has_magic
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import msgspec
from msgspec import Struct

from assay.errors import InputError, UsageError
from assay.gyms import require
from assay.input import BROKEN, open_input

LONGEST = 300
"""Characters of a row that an error shows."""
LONGEST_CELL = 2**31 - 1
"""Characters of one CSV cell; Python's own limit of 131,072 is less than a long answer."""
LARGEST_MEMBER = 2**30
"""Bytes of an archive's member, once it is decompressed."""
MOST_MEMBERS = 1_000_000
HOLDERS = (
    "samples",
    "rollouts",
    "results",
    "rows",
    "data",
    "examples",
    "instances",
    "outputs",
    "predictions",
    "records",
)
"""Names under which a JSON file holds its rows; the first that it has."""
ZSTANDARD = 93
"""A ZIP archive's number for the method Zstandard."""
Select = Callable[[list[str]], list[str]]
"""Of the names of an archive's members those that hold rows."""


class Row(Struct, frozen=True):
    """A row, and where it stands."""

    number: int
    """From 1 on, over all files of the data set."""
    place: str
    """Such as `aime.jsonl, line 3`."""
    cells: dict[str, Any]
    """By column."""
    is_text: bool = False
    """Whether cells are text alone, as in CSV, where an empty one may be none."""

    def error(self, got: str, expected: str) -> InputError:
        """Returns the error of a row that is not what was expected, with the row."""
        return InputError(self.place, None, got, f"{expected}\n  the row: {excerpt(self.cells)}")


def read_rows(paths: Sequence[Path]) -> list[Row]:
    """Returns the rows of all files, in order, without a CSV file's empty cells. Raises UsageError and InputError."""
    rows = [
        Row(row.number, row.place, {name: cell for name, cell in row.cells.items() if cell != "" or not row.is_text})
        for row in iterate_rows(paths)
    ]
    if not rows:
        raise InputError(", ".join(map(str, paths)), None, "no rows", "a row a task")
    return rows


def iterate_rows(paths: Iterable[Path], select: Select | None = None) -> Iterator[Row]:
    """Yields the rows of all files, in order. Raises UsageError and InputError, with the line."""
    number = 0
    for path in paths:
        try:
            for name, file in _files(path, select):
                place = f"{path}" if name == path.name else f"{path}, {name}"
                for where, cells in FORMATS[suffix_of(name)](place, file):
                    number += 1
                    yield Row(number, where, cells, suffix_of(name) == ".csv")
        except UnicodeDecodeError as error:
            raise InputError(path, None, f"byte {error.start} is no UTF-8", "a file in UTF-8") from None
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(path, None, f"it can't be decompressed: {error}", "a whole gzip file") from None
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise InputError(
                path, None, f"it can't be unpacked: {error}", "a whole ZIP file without a password"
            ) from None
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror or error}") from None


def files_of(paths: Iterable[str]) -> list[Path]:
    """Returns the files that are meant: those of a folder that hold rows, and those that a pattern fits, in order.

    Raises UsageError where there are none.
    """
    found: list[Path] = []
    for text in paths:
        path = Path(text)
        if path.is_dir():
            files = sorted(str(file) for file in path.rglob("*") if file.is_file())
            fitting = [file for file in files if suffix_of(file) in (*FORMATS, ".zip", ".eval")]
        else:
            fitting = sorted(glob(text, recursive=True)) if not path.exists() and has_magic(text) else [text]
        if not fitting:
            raise UsageError(f"{text}: there is no file of results")
        found += map(Path, fitting)
    return found


def suffix_of(name: str) -> str:
    """Returns the ending that names a file's format, in small letters, such as `.csv` of `A.CSV.gz`."""
    return Path(name.lower().removesuffix(".gz")).suffix


def stem_of(name: str) -> str:
    """Returns a file's name without the endings that name its format."""
    return Path(name[:-3] if name.lower().endswith(".gz") else name).stem


def excerpt(cells: dict[str, Any]) -> str:
    """Returns the beginning of a row as JSON."""
    text = msgspec.json.encode(cells, enc_hook=str).decode()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _files(path: Path, select: Select | None) -> Iterator[tuple[str, BinaryIO]]:
    """Yields the name and the content of the file, or of each file in an archive that holds rows."""
    with open_input(path) as file:
        if file.peek(4)[:4] == b"PK\x03\x04":
            yield from _members(path, file, select or with_rows)
        elif suffix_of(path.name) not in FORMATS:
            raise UsageError(
                f"{path}: expected a file that ends in {', '.join(FORMATS)}, in one of them and .gz,"
                " or a zip archive, such as .zip or .eval"
            )
        elif path.name.lower().endswith(".gz"):
            with gzip.GzipFile(fileobj=file) as inside:
                yield path.name, cast(BinaryIO, inside)
        else:
            yield path.name, file


def _members(path: Path, file: BinaryIO, select: Select) -> Iterator[tuple[str, BinaryIO]]:
    with zipfile.ZipFile(file) as archive:
        infos = {info.filename: info for info in archive.infolist() if not info.is_dir()}
        if len(infos) > MOST_MEMBERS:
            raise InputError(path, None, f"{len(infos):,} members", f"at most {MOST_MEMBERS:,}")
        if not (names := select(list(infos))):
            raise InputError(path, None, f"no member ends in {', '.join(FORMATS)}", "an archive of such files")
        for name in names:
            if infos[name].compress_type == ZSTANDARD:
                require("zipfile_zstd", "logs")  # it teaches zipfile the method
            with archive.open(name) as member:
                yield name, io.BytesIO(_bounded(member, f"{path}, {name}", name.lower().endswith(".gz")))


def _bounded(member: IO[bytes], place: str, is_compressed: bool) -> bytes:
    """Returns the content. Raises InputError where it is too large, whatever size the archive states."""
    content = (gzip.GzipFile(fileobj=member) if is_compressed else member).read(LARGEST_MEMBER + 1)
    if len(content) > LARGEST_MEMBER:
        raise InputError(place, None, f"more than {LARGEST_MEMBER:,} bytes", "smaller members, or the file unpacked")
    return content


def with_rows(names: list[str]) -> list[str]:
    """Returns the names of files that hold rows, by their endings."""
    return [name for name in names if suffix_of(name) in FORMATS]


def _lines(place: str, file: BinaryIO) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(file, 1):
        if line.strip():
            yield f"{place}, line {number}", _decoded(line, dict[str, Any], place, number, "a JSON object, a row")


def _document(place: str, file: BinaryIO) -> Iterator[tuple[str, dict[str, Any]]]:
    content = file.read()
    first, _, more = content.partition(b"\n")
    if more.strip():
        with suppress(*BROKEN):
            msgspec.json.decode(first, type=dict[str, Any])
            return _lines(place, io.BytesIO(content))  # JSONL, whatever it is called
    expected = "a JSON list of objects, or an object that holds them"
    found: Any = _decoded(content, list[dict[str, Any]] | dict[str, Any], place, None, expected)
    return _numbered(place, _objects(found))


def _objects(found: Any) -> list[dict[str, Any]]:
    """Returns the rows that a JSON value holds. Those that stand under their ids have them as `task`."""
    if isinstance(found, list):
        return found  # pyright: ignore[reportUnknownVariableType]
    for name in HOLDERS:
        if _holds_rows(found.get(name)):
            return _objects(found[name])
    if not _holds_rows(found):
        return [found] if found else []
    return [{"task": id, **row} for id, row in found.items()]


def _holds_rows(value: Any) -> bool:
    members: Any = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()  # pyright: ignore
    return bool(members) and all(isinstance(member, dict) for member in members)


def _decoded(text: bytes, kind: Any, place: str, line: int | None, expected: str) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except BROKEN as error:
        raise InputError(place, line, str(error), expected) from None


def _csv(place: str, file: BinaryIO) -> Iterator[tuple[str, dict[str, Any]]]:
    csv.field_size_limit(LONGEST_CELL)
    with TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, strict=True)
        try:
            header = next(reader, list[str]())
            if len(set(header)) < len(header):
                raise InputError(place, 1, "two columns with one name", "each column's name once")
            for cells in filter(None, reader):
                if len(cells) != len(header):
                    got = f"a row of {len(cells)} cells"
                    raise InputError(place, reader.line_num, got, f"{len(header)}, as in the first line")
                yield f"{place}, line {reader.line_num}", dict(zip(header, cells, strict=True))
        except csv.Error as error:
            raise InputError(
                place, reader.line_num, str(error), "CSV with the columns' names in its first line"
            ) from None


def _parquet(place: str, file: BinaryIO) -> Iterator[tuple[str, dict[str, Any]]]:
    arrow, parquet = require("pyarrow", "parquet"), require("pyarrow.parquet", "parquet")
    try:
        batches = parquet.ParquetFile(arrow.PythonFile(file)).iter_batches()
        yield from _numbered(place, (row for batch in batches for row in batch.to_pylist()))
    except arrow.ArrowException as error:
        raise InputError(place, None, str(error), "a Parquet file") from None


def _numbered(place: str, rows: Iterable[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((f"{place}, row {number}", row) for number, row in enumerate(rows, 1))


FORMATS: dict[str, Callable[[str, BinaryIO], Iterator[tuple[str, dict[str, Any]]]]] = {
    ".jsonl": _lines,
    ".json": _document,
    ".csv": _csv,
    ".parquet": _parquet,
}
"""Readers by the ending of a file's name."""

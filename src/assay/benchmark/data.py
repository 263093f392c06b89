"""The files of benchmarks that are not in the package: fetched once, by `assay prepare`, and known by their digest."""

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import urlsplit

from pyreqwest.client import SyncClientBuilder
from pyreqwest.exceptions import PyreqwestError

from assay.errors import AssayError, UsageError
from assay.input import open_input, read_input

WITHIN_S = 600.0
"""How long a download may take."""
MOST = 2**30
"""Bytes of a download whose size nobody states."""
_CHUNK = 2**18


@dataclass(frozen=True, slots=True)
class Source:
    """A file that is somewhere else, to the byte."""

    url: str
    """Of one version for ever, such as one that holds a commit."""
    sha256: str
    size: int | None
    """Bytes; None where nobody states them."""
    convert: Callable[[Path], bytes] | None = None
    """Makes the file of what is at the URL, or of another form of it that somebody has. `sha256` and `size` are of what
    this returns. It raises UsageError for what it can't read. None where the file is kept as it is."""
    name: str | None = None
    """The file's name, where that is not the URL's."""

    @property
    def file(self) -> str:
        return self.name or PurePosixPath(urlsplit(self.url).path).name

    def __str__(self) -> str:
        size = "" if self.size is None else f", {self.size:,} bytes"
        return f"{self.sha256}  {self.file}{size}"


def folder() -> Path:
    """Where prepared files are: ASSAY_DATA, else the folder `assay` in the user's cache."""
    if named := os.environ.get("ASSAY_DATA"):
        return Path(named).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "assay"


def place(name: str, source: Source) -> Path:
    """Where the file of a benchmark is once it is prepared."""
    for part in (*name.split("/"), source.file):
        if not re.fullmatch(r"\w[\w.-]*", part):
            raise UsageError(f"benchmark {name}: {part!r} can't name a file; expected letters, digits, . and -")
    return folder() / name / source.file


def prepared(name: str, source: Source) -> Path:
    """The file of a benchmark. Raises UsageError where it is not there or not the one that was meant."""
    path = place(name, source)
    if not path.is_file():
        raise UsageError(f"the data of {name} is not on this machine ({path})\n  Get it with: assay prepare {name}")
    with open_input(path) as file:
        if (digest := _digest(iter(lambda: file.read(_CHUNK), b""))) != source.sha256:
            raise UsageError(
                f"{path} is not the data of {name}: it has sha256 {digest}\n"
                f"  expected: {source.sha256}\n  Get it anew with: assay prepare {name}"
            )
    return path


def is_prepared(name: str, source: Source) -> bool:
    """Whether the right file is there."""
    try:
        prepared(name, source)
    except UsageError:
        return False
    return True


def take(name: str, sources: Iterable[Source], file: Path) -> Path:
    """Where a file that somebody has is now kept: its digest tells which it is. Raises UsageError where it is none.

    A source that is made of something else takes what `convert` reads, which may be a folder.
    """
    sources = list(sources)
    got: list[str] = []
    for source in sources:
        try:
            content = _content(source, file)
        except AssayError as error:
            got.append(str(error))
            continue
        if (digest := _digest([content])) == source.sha256:
            with replacing(place(name, source)) as kept:
                kept.write(content)
            return place(name, source)
        got.append(f"it has {len(content):,} bytes and sha256 {digest}")
    wanted = "\n".join(f"    {source}" for source in sources)
    raise UsageError(
        f"{file} is not the data of {name}: {'; '.join(dict.fromkeys(got))}\n  expected:\n{wanted}\n"
        f"  Other data makes another benchmark, whose scores are not {name}'s: give it a folder and a name of its own."
    )


def take_all(name: str, sources: Iterable[Source], folder: Path) -> list[Path]:
    """Where the files of a folder are now kept, one for each source, whatever they are called there.

    Raises UsageError where a source has none; the others are kept.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    kept: list[Path] = []
    lacking: list[Source] = []
    for source in sources:
        ending = PurePosixPath(urlsplit(source.url).path).suffix
        fitting = (
            [folder, *(file for file in files if file.suffix == ending)]
            if source.convert
            else [file for file in files if source.size in (None, file.stat().st_size)]
        )
        for file in fitting:
            try:
                kept.append(take(name, [source], file))
                break
            except AssayError:
                continue
        else:
            lacking.append(source)
    if lacking:
        wanted = "\n".join(f"    {source}" for source in lacking)
        taken = "\n  taken: " + ", ".join(path.name for path in kept) if kept else ""
        raise UsageError(f"{folder} lacks data of {name}, by any name; expected:\n{wanted}{taken}")
    return kept


def _content(source: Source, file: Path) -> bytes:
    """Returns what a source's file holds, made of another where the source says how. Raises UsageError."""
    try:
        return source.convert(file) if source.convert else read_input(file)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None


def download(name: str, source: Source, *, within_s: float = WITHIN_S) -> Path:
    """Where the file is, once it was fetched and its digest is right. Raises AssayError; nothing is kept then."""
    if source.convert is None:
        _fetch(name, source, place(name, source), within_s)
        return place(name, source)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, PurePosixPath(urlsplit(source.url).path).name)
        _fetch(name, source, file, within_s)
        return take(name, [source], file)


def _fetch(name: str, source: Source, path: Path, within_s: float) -> None:
    """Writes what is at the URL. Raises AssayError where a file that is kept as it is has another digest."""
    most = MOST if source.convert or source.size is None else source.size
    client = (
        SyncClientBuilder()
        .timeout(timedelta(seconds=within_s))
        .connect_timeout(timedelta(seconds=min(30.0, within_s)))
        .follow_redirects(True)
    )
    try:
        with (
            replacing(path) as kept,
            client.build() as opened,
            opened.get(source.url).streamed_read_buffer_limit(_CHUNK).build_streamed() as answer,
        ):
            if answer.status != HTTPStatus.OK:
                raise _failed(name, source, f"the server answered {answer.status}")
            digest, size = hashlib.sha256(), 0
            while chunk := answer.body_reader.read_chunk():
                size += len(chunk)
                if size > most:
                    raise _failed(name, source, f"it has more than the {most:,} bytes expected")
                digest.update(chunk)
                kept.write(chunk)
            if source.convert is None and digest.hexdigest() != source.sha256:
                raise _failed(name, source, f"got {size:,} bytes with sha256 {digest.hexdigest()}; expected {source}")
    except PyreqwestError as error:
        causes: list[dict[str, str]] = getattr(error, "details", {}).get("causes") or []
        raise _failed(name, source, causes[-1]["message"] if causes else error.message) from None


def _failed(name: str, source: Source, why: str) -> AssayError:
    return AssayError(
        f"{source.url} could not be had: {why}\n"
        f"  With the file from elsewhere: assay prepare {name} --from {source.file}"
    )


@contextmanager
def replacing(path: Path) -> Generator[BinaryIO]:
    """A file that takes the path's place at the end of the context, and is gone where that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
        os.chmod(part, 0o644)
        os.replace(part, path)
    except BaseException:
        os.unlink(part)
        raise


def _digest(chunks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()

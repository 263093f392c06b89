"""Benchmarks' files that are not in the package. `assay prepare` downloads them once, and their digests are checked."""

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
"""Seconds that a download may take."""
MOST = 2**30
"""The most bytes of a download of unknown size."""
_CHUNK = 2**18


@dataclass(frozen=True, slots=True)
class Source:
    """A file to download, with its digest."""

    url: str
    """The address of one fixed version, such as one with a commit in it."""
    sha256: str
    size: int | None
    """Bytes; None if unknown."""
    convert: Callable[[Path], bytes] | None = None
    """Makes the file from the download, or from another form of it. `sha256` and `size` are those of the result. Raises
    UsageError for content that it can't read. None if the download is kept as it is."""
    name: str | None = None
    """The file's name, if that is not the URL's."""

    @property
    def file(self) -> str:
        return self.name or PurePosixPath(urlsplit(self.url).path).name

    def __str__(self) -> str:
        size = "" if self.size is None else f", {self.size:,} bytes"
        return f"{self.sha256}  {self.file}{size}"


def folder() -> Path:
    """Returns the folder of prepared files: ASSAY_DATA, else `assay` in the user's cache."""
    if named := os.environ.get("ASSAY_DATA"):
        return Path(named).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "assay"


def place(name: str, source: Source) -> Path:
    """Returns the path of a benchmark's prepared file."""
    for part in (*name.split("/"), source.file):
        if not re.fullmatch(r"\w[\w.-]*", part):
            raise UsageError(f"benchmark {name}: {part!r} can't name a file; expected letters, digits, . and -")
    return folder() / name / source.file


def prepared(name: str, source: Source) -> Path:
    """Returns the path of a benchmark's file. Raises UsageError if it is missing or has another digest."""
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
    """Returns whether the right file is there."""
    try:
        prepared(name, source)
    except UsageError:
        return False
    return True


def take(name: str, sources: Iterable[Source], file: Path) -> Path:
    """Copies a file that the user has, recognised by its digest. Returns its new path. Raises UsageError for another
    file.

    For a source with `convert`, the file is what `convert` reads, which may be a folder.
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
    """Copies the files of a folder, one for each source, whatever their names. Returns the new paths.

    Raises UsageError if a source has none; the others are kept.
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
    """Returns the content of a source's file, converted if the source has `convert`. Raises UsageError."""
    try:
        return source.convert(file) if source.convert else read_input(file)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None


def download(name: str, source: Source, *, within_s: float = WITHIN_S) -> Path:
    """Downloads a file and checks its digest. Returns its path. Raises AssayError, and keeps nothing then."""
    if source.convert is None:
        _fetch(name, source, place(name, source), within_s)
        return place(name, source)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, PurePosixPath(urlsplit(source.url).path).name)
        _fetch(name, source, file, within_s)
        return take(name, [source], file)


def _fetch(name: str, source: Source, path: Path, within_s: float) -> None:
    """Writes the download to a path. Raises AssayError, also for a wrong digest if there is no `convert`."""
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
                raise _download_error(name, source, f"the server answered {answer.status}")
            digest, size = hashlib.sha256(), 0
            while chunk := answer.body_reader.read_chunk():
                size += len(chunk)
                if size > most:
                    raise _download_error(name, source, f"it has more than the {most:,} bytes expected")
                digest.update(chunk)
                kept.write(chunk)
            if source.convert is None and digest.hexdigest() != source.sha256:
                raise _download_error(
                    name, source, f"got {size:,} bytes with sha256 {digest.hexdigest()}; expected {source}"
                )
    except PyreqwestError as error:
        causes: list[dict[str, str]] = getattr(error, "details", {}).get("causes") or []
        raise _download_error(name, source, causes[-1]["message"] if causes else error.message) from None


def _download_error(name: str, source: Source, why: str) -> AssayError:
    return AssayError(
        f"{source.url} could not be downloaded: {why}\n"
        f"  With the file from elsewhere: assay prepare {name} --from {source.file}"
    )


@contextmanager
def replacing(path: Path) -> Generator[BinaryIO]:
    """Yields a file that replaces the path at the end of the context, and is removed if that fails."""
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

"""The files of benchmarks that are not in the package: fetched once, by `assay prepare`, and known by their digest."""

import hashlib
import os
import re
import tempfile
from collections.abc import Generator, Iterable
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
_CHUNK = 2**18


@dataclass(frozen=True, slots=True)
class Source:
    """A file that is somewhere else, to the byte."""

    url: str
    """Of one version for ever, such as one that holds a commit."""
    sha256: str
    size: int
    """Bytes."""

    @property
    def file(self) -> str:
        return PurePosixPath(urlsplit(self.url).path).name


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
    """Where a file that somebody has is now kept: its digest tells which it is. Raises UsageError where it is none."""
    try:
        content = read_input(file)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    digest = _digest([content])
    for source in sources:
        if source.sha256 == digest:
            with replacing(place(name, source)) as kept:
                kept.write(content)
            return place(name, source)
    wanted = "\n".join(f"    {source.sha256}  {source.file}, {source.size:,} bytes" for source in sources)
    raise UsageError(
        f"{file} is not the data of {name}: it has {len(content):,} bytes and sha256 {digest}\n  expected:\n{wanted}\n"
        f"  Other data makes another benchmark, whose scores are not {name}'s: give it a folder and a name of its own."
    )


def download(name: str, source: Source, *, within_s: float = WITHIN_S) -> Path:
    """Where the file is, once it was fetched and its digest is right. Raises AssayError; nothing is kept then."""
    path = place(name, source)
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
                if size > source.size:
                    raise _failed(name, source, f"it has more than the {source.size:,} bytes expected")
                digest.update(chunk)
                kept.write(chunk)
            if digest.hexdigest() != source.sha256:
                got = f"{size:,} bytes with sha256 {digest.hexdigest()}"
                raise _failed(name, source, f"got {got}; expected {source.size:,} bytes with sha256 {source.sha256}")
    except PyreqwestError as error:
        causes: list[dict[str, str]] = getattr(error, "details", {}).get("causes") or []
        raise _failed(name, source, causes[-1]["message"] if causes else error.message) from None
    return path


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

"""JSON and JSONL files that a kill at any byte leaves whole, and locks on them."""

import errno
import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec

from assay.errors import InputError, StoppedEarly, UsageError
from assay.input import BROKEN, check_regular, is_present, open_input

BEGIN_S = 10.0
"""Seconds to wait for another command that begins a run beside this one: it takes milliseconds."""
T = TypeVar("T")


def write_json(path: Path, value: Any) -> None:
    """Write a derived JSON file so that a reader sees the old one or the new one, never half of it."""
    write_bytes(path, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def write_lines(path: Path, values: Sequence[Any]) -> None:
    """Write a derived JSONL file so that a reader sees the old one or the new one, never half of it."""
    write_bytes(path, b"".join(msgspec.json.encode(value) + b"\n" for value in values))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of it."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):  # where nothing can be written, nothing can be removed
            partial.unlink()
        raise StoppedEarly(f"{path}: {error.strerror}. Nothing that was there before has changed.") from None


def append_line(path: Path, value: Any | Callable[[str], Any]) -> None:
    """Add a line to a JSONL file, for good when this returns. A torn last line, left by a kill, is cut off first.

    A function is called with the digest of the line before, for what has to be linked to it.
    Raises StoppedEarly where the disk is full; the file then is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        file = lock(stack, path, fcntl.LOCK_EX, wait_s=BEGIN_S)
        check_regular(file, path)
        size = torn_at(file)
        line = msgspec.json.encode(value(_last_digest(file, size)) if callable(value) else value) + b"\n"
        cut_torn_line(file, path, line[: line.find(b":") + 1])
        try:
            count = os.write(file, line)
            if count < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file)
        except OSError as error:
            os.ftruncate(file, size)
            raise StoppedEarly(f"{path}: {error.strerror}. Nothing that was there before has changed.") from None


def read_lines(path: Path, kind: type[T]) -> Iterator[T]:
    """Yields what each line of a JSONL file holds; a last line without its end is none.

    Raises InputError with the number of a line that can't be read.
    """
    for _, _, value in numbered_lines(path, kind):
        yield value


def numbered_lines(path: Path, kind: type[T], skip: Collection[bytes] = ()) -> Iterator[tuple[int, bytes, T]]:
    """Yields the number of each line, the line, and what it holds.

    Lines that begin with one of `skipped`, up to their `task_digest`, are left out undecoded.
    """
    decode = msgspec.json.Decoder(kind).decode
    with open_input(path) as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                check_torn(path, line, first_bytes(kind))
                return  # torn by a kill: the rollout is asked again
            if skip and line[: line.find(b',"task_digest"')] in skip:
                continue
            try:
                yield number, line, decode(line)
            except BROKEN as error:
                raise InputError(
                    path, number, str(error), f"a {getattr(kind, '__name__', 'line').lower()} as one JSON object"
                ) from None


def first_bytes(kind: Any) -> bytes:
    """Returns what every line of a struct begins with: `{`, the first field's name, and the colon."""
    struct = (get_args(kind) or (kind,))[0]
    first = struct.__struct_config__.tag_field or struct.__struct_encode_fields__[0]
    return msgspec.json.encode({first: ""})[:-3]


def check_torn(path: Path, torn: bytes, begins: bytes) -> None:
    """Raises InputError where the end of a file, after its last whole line, is not the beginning of one."""
    if not begins.startswith(torn[: len(begins)]):
        expected = f"a line that begins {begins.decode()}; remove what is after the last whole line, if that is yours"
        raise InputError(path, None, "its end is no line that Assay began to write", expected)


def line_digest(line: bytes) -> str:
    """Returns the SHA-256 of a line without its end."""
    return hashlib.sha256(line.removesuffix(b"\n")).hexdigest()


def _last_digest(file: int, size: int) -> str:
    """Returns the digest of a file's last line, empty where it has none."""
    lines = os.pread(file, size, 0).splitlines()
    return line_digest(lines[-1]) if lines else ""


def open_file(stack: ExitStack, path: Path) -> int:
    """Open a file to append to it, or a folder, until `stack` closes. Returns its descriptor."""
    is_present(path)  # no file is made where a link leads
    file = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    stack.callback(os.close, file)
    if not path.is_dir():
        check_regular(file, path)
    return file


def lock(stack: ExitStack, path: Path, kind: int, *, wait_s: float = 0.0) -> int:
    """Lock a file or folder until `stack` closes. Returns its descriptor.

    Raises UsageError where another process holds the lock after `wait_s` seconds.
    """
    file = open_file(stack, path)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise UsageError(f"{path} is being written by another process; wait for it or stop it") from None
            time.sleep(0.02)
        else:
            return file


def torn_at(file: int) -> int:
    """Returns where an open file's last line begins that lacks its end; the file's size where none does."""
    end = os.fstat(file).st_size
    while end > 0:
        start = max(0, end - 65536)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return end


def cut_torn_line(file: int, path: Path, begins: bytes) -> int:
    """Cut off a last line without its end. Returns the file's size after that.

    Raises InputError where that line is none that begins so: it is not Assay's to remove.
    """
    size = torn_at(file)
    check_torn(path, os.pread(file, len(begins), size), begins)
    os.ftruncate(file, size)
    return size

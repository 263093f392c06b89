"""Opening files from anybody: only regular files, because a pipe or a device may block or never end."""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

import msgspec

from assay.errors import InputError, UsageError

BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""The errors of decoding a file with wrong content, or that is nested too deeply."""


def is_present(path: Path) -> bool:
    """Returns whether a path exists. Raises InputError if it, or its folder, is a link that leads nowhere."""
    if path.exists():
        return True
    for place in (path, path.parent):
        if place.is_symlink() and not place.exists():
            raise InputError(place, None, "a link that leads nowhere", "a file or folder; mend the link or remove it")
    return False


def check_vacant(folder: Path) -> None:
    """Raises UsageError if a new folder can't be made here: a file is there, or a folder that is not empty."""
    if is_present(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already, and not empty; choose another with --out")


def open_input(path: Path) -> BufferedReader:
    """Returns an open file for reading. Raises OSError, also for a folder, a pipe and a device."""
    # Without O_NONBLOCK, opening a pipe without a writer would block.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        check_regular(descriptor, path)
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def check_regular(descriptor: int, path: Path) -> None:
    """Raises OSError if an open file is a folder, a pipe or a device."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "a pipe or device; expected a regular file", str(path))


def read_input(path: Path) -> bytes:
    """Returns a file's content. Raises OSError as `open_input` does."""
    with open_input(path) as file:
        return file.read()

"""Opening files that anybody may have put there: regular files alone, so that none blocks or never ends."""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

import msgspec

from assay.errors import InputError

BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding a file raises where its content is none, or is nested too deeply."""


def is_present(path: Path) -> bool:
    """Whether there is something at a path. Raises InputError where it, or its folder, is a link that leads nowhere."""
    if path.exists():
        return True
    for place in (path, path.parent):
        if place.is_symlink() and not place.exists():
            raise InputError(place, None, "a link that leads nowhere", "a file or folder; mend the link or remove it")
    return False


def open_input(path: Path) -> BufferedReader:
    """Returns a file that is open to be read. Raises OSError, also for a folder, a pipe and a device."""
    # Without O_NONBLOCK, a pipe that nobody writes to would be waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        check_regular(descriptor, path)
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def check_regular(descriptor: int, path: Path) -> None:
    """Raises OSError where an open file is a folder, a pipe or a device."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "a pipe or device; expected a regular file", str(path))


def read_input(path: Path) -> bytes:
    """Returns a file's content. Raises OSError as `open_input` does."""
    with open_input(path) as file:
        return file.read()

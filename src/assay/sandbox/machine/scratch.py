"""Folders of machines: where one is mounted, and files on their way. Each is locked while its processes live."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from assay.sandbox.machine.cgroup import remove_cgroup

PREFIX = "assay-machine-"
PARTS = ("root", "work")
_FILES = "files"
"""The part that holds files."""
_ENTER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def make_scratch() -> tuple[Path, int]:
    """Returns a new folder, and the descriptor that locks it for whoever has it open."""
    while True:  # until it is locked, another process may take it for one that was left
        made = Path(tempfile.mkdtemp(prefix=PREFIX))
        with suppress(FileNotFoundError):
            lock = os.open(made, _ENTER)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if made.exists():
                return made, lock
            os.close(lock)


def remove_scratch(made: Path) -> None:
    """Removes a machine's folder and its cgroup, once the machine is gone."""
    remove_cgroup(made.name)
    shutil.rmtree(made / _FILES, ignore_errors=True)
    for place in (*(made / part for part in PARTS), made):
        with suppress(OSError):
            place.rmdir()


@contextmanager
def scratch_files() -> Generator[Path]:
    """Yields an empty folder for files on their way from one machine to another."""
    made, lock = make_scratch()
    try:
        (made / _FILES).mkdir()
        yield made / _FILES
    finally:
        remove_scratch(made)
        os.close(lock)


def remove_leftovers() -> None:
    """Removes the folders of this user's machines whose processes were all killed."""
    for made in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            lock = os.open(made, _ENTER)
            try:
                if os.fstat(lock).st_uid == os.geteuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    remove_scratch(made)
            finally:
                os.close(lock)

"""The folder in which a machine is mounted. It is locked as long as a process of the machine's lives."""

import fcntl
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from assay.sandbox.machine.cgroup import remove_cgroup

PREFIX = "assay-machine-"
PARTS = ("root", "work")
_ENTER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def make_scratch() -> tuple[Path, int]:
    """Returns a new folder, and the descriptor that locks it for whoever has it open."""
    while True:
        made = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = os.open(made, _ENTER)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if made.exists():  # before it was locked, another process may have taken it for one that was left
            return made, lock
        os.close(lock)


def remove_scratch(made: Path) -> None:
    """Removes a machine's folder and its cgroup, once the machine is gone."""
    remove_cgroup(made.name)
    for place in (*(made / part for part in PARTS), made):
        with suppress(OSError):
            place.rmdir()


def remove_leftovers() -> None:
    """Removes the folders of this user's machines whose processes were all killed. What holds a file is kept."""
    for made in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            lock = os.open(made, _ENTER)
            try:
                if os.fstat(lock).st_uid == os.geteuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    remove_scratch(made)
            finally:
                os.close(lock)

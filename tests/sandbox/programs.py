"""Programs of this machine: which of them run, and how to start one as another user."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
NOBODY = 65534


def as_nobody(*command: str, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    packages = [path for path in sys.path if path.endswith("-packages")]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY), *packages]),
    }
    # env, as setpriv itself still has the rights of root when it looks for its command.
    user = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "env")
    return subprocess.run(
        [*before, *user, *command], check=False, env=environment, cwd=REPOSITORY, capture_output=True, text=True
    )


def python() -> str:
    """A Python that nobody may run, with what the tests import."""
    for path in (sys.executable, shutil.which(f"python3.{sys.version_info.minor}", path="/usr/bin:/usr/local/bin")):
        if path and as_nobody(path, "-c", "import msgspec, pytest, assay.sandbox, tests.sandbox").returncode == 0:
            return path
    pytest.skip("nobody can run no Python here that has Assay's packages")


def running(mark: str, parent: int | None = None) -> list[str]:
    """The command lines of this machine's processes that hold a mark: all, or those that `parent` started itself."""
    found: list[str] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().decode(errors="replace")
            started = int((folder / "stat").read_text().rpartition(") ")[2].split()[1])
        except OSError:
            continue
        if parent is not None and started != parent:
            continue
        if mark in line and int(folder.name) != os.getpid():
            found.append(line)
    return found

"""Programs installed on this machine, and the files that they need in a sandbox."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from assay.errors import UsageError


@dataclass(frozen=True, slots=True)
class InstalledProgram:
    """A program on this machine."""

    path: Path
    """With all links resolved."""
    mounts: list[str]
    """Files and folders that it needs in addition to the system's."""
    python: str = ""
    """The interpreter of its virtual environment, if it is a Python program."""


def find_program(name: str, remedy: str) -> InstalledProgram:
    """Returns a program by its name or path.

    A Python program needs its virtual environment and Python, one from npm its outermost node_modules. Raises
    UsageError with the remedy if there is no such program.
    """
    found = shutil.which(name)
    if found is None:
        raise UsageError(f"there is no program {name} here; {remedy}")
    path = Path(found).resolve()
    modules = [folder for folder in path.parents if folder.name == "node_modules"]
    python = _interpreter(path)
    if modules:
        needed = [modules[-1]]
    elif python and (python.parent.parent / "pyvenv.cfg").exists():
        needed = [python.parent.parent, python.resolve().parent.parent]
    else:
        needed = [path]
    mounts = [str(place) for place in needed if place.parts[1] not in ("usr", "bin")]
    return InstalledProgram(path, mounts, str(python or ""))


def _interpreter(path: Path) -> Path | None:
    """Returns the interpreter in a script's first line."""
    with path.open("rb") as file:
        first = file.readline(4096)
    return Path(first[2:].decode(errors="replace").split()[0]) if first.startswith(b"#!/") else None

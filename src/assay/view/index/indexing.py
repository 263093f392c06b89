"""Keeping indexes up to date while pages are shown: a little at once, much in a process of its own."""

import sqlite3
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import Struct

from assay.errors import text_of
from assay.store import rollout_files
from assay.view.index.build import build
from assay.view.index.reader import Index, NoIndex, State
from assay.view.index.tables import places

AT_ONCE = 4 * 2**20
"""Bytes of rollouts that are read while a page waits: half a second's work."""


class Progress(Struct, frozen=True):
    """How far an index is, for a page that shows it."""

    read: int
    of: int
    runs: bool
    """Whether a process reads on."""
    error: str = ""
    """Why nothing is read, where that is so."""
    notes: list[str] = []
    """What could not be read of single rollouts."""

    @property
    def share(self) -> float:
        return self.read / self.of if self.of else 1.0


@dataclass
class Indexing:
    """The processes that make indexes, by run. Several threads may use it."""

    _processes: dict[Path, "subprocess.Popen[bytes]"] = field(default_factory=dict[Path, "subprocess.Popen[bytes]"])
    _errors: dict[Path, str] = field(default_factory=dict[Path, str])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def index_of(self, folder: Path) -> tuple[Index | None, Progress]:
        """Returns a run's index as far as it is, and how far that is. What is missing is read, or begun to be.

        Raises AssayError where the run can't be read.
        """
        index, state = _open(folder)
        if state.is_whole and index:
            return index, Progress(state.read, state.of, False, notes=state.errors)
        if index:
            index.close()
        if state.of - (state.read if state.holds else 0) <= AT_ONCE:
            try:
                build(folder)
            except (OSError, sqlite3.Error) as error:
                self._errors[folder] = text_of(error)
        else:
            self._begin(folder)
        index, state = _open(folder)
        if index and not state.holds:  # of rollouts that are not there any more
            index.close()
            index = None
        error = "" if self._runs(folder) else self._errors.pop(folder, "")
        return index, Progress(state.read if index else 0, state.of, self._runs(folder), error, state.errors)

    def forget(self, folder: Path) -> None:
        """Remove a run's index, because it is damaged. It is made again when the run is next opened."""
        with self._lock:
            for path in places(folder):
                for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
                    path.with_name(name).unlink(missing_ok=True)

    def close(self) -> None:
        """End the processes. What they have read is kept."""
        for process in self._processes.values():
            process.terminate()
            process.wait()
            if process.stderr:
                process.stderr.close()

    def _begin(self, folder: Path) -> None:
        with self._lock:
            if not self._runs(folder):
                command = [sys.executable, "-m", "assay.view.index.build", str(folder)]
                self._processes[folder] = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
                )

    def _runs(self, folder: Path) -> bool:
        process = self._processes.get(folder)
        if process is None:
            return False
        if process.poll() is None:
            return True
        if process.stderr and not process.stderr.closed:
            with process.stderr as output:
                if error := output.read().decode("utf-8", "replace").strip():
                    self._errors[folder] = error.splitlines()[-1]
        return False


def _open(folder: Path) -> tuple[Index | None, State]:
    paths = rollout_files(folder)
    try:
        index = Index(folder)
    except NoIndex:
        return None, State(0, sum(path.stat().st_size for path in paths), False)
    return index, index.state(paths)

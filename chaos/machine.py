"""Commands as processes: how they are started, watched and killed, and which processes they leave behind."""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = os.sysconf("SC_PAGE_SIZE")
_PR_SET_CHILD_SUBREAPER = 36
_EVERY_S = 0.05


def adopt() -> None:
    """Make every orphan below this process its child from here on, so that none is overlooked."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise SystemExit("this kernel has no child subreapers (Linux 3.4)")


def descendants(pid: int) -> list[int]:
    """Returns all processes below one, zombies included."""
    found, todo = [], [pid]
    while todo:
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{(parent := todo.pop())}/task"):
                with suppress(OSError):
                    children = Path(f"/proc/{parent}/task/{thread}/children").read_text().split()
                    found += map(int, children)
                    todo += map(int, children)
    return found


def words(pid: int) -> str:
    """Returns the command line of a process."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def program(pid: int) -> str:
    """Returns the name of the program that a process runs."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def parent(pid: int) -> int:
    with suppress(OSError, IndexError):
        # The name, in parentheses, may hold anything.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def resident_mib(pid: int) -> float:
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 2**20
    return 0.0


def handles(pid: int) -> int:
    with suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/fd"))
    return 0


@dataclass
class Command:
    """An `assay` command in a session of its own. Its output goes to a file."""

    arguments: Sequence[str]
    folder: Path
    limits: Mapping[int, int] = field(default_factory=dict[int, int])
    """Its limits by resource, such as `resource.RLIMIT_NOFILE`."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    peak_mib: float = 0.0
    peak_handles: int = 0
    last_mib: float = 0.0

    def __post_init__(self) -> None:
        # -c rather than -m: the folder of the round stays out of sys.path, and the repository comes in.
        program = f"import sys; sys.path[:0] = [{str(ROOT)!r}]; from assay.cli import main; main()"
        environment = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
        environment |= {"COLUMNS": "100", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", **self.environment}

        self._said = (self.folder / "said.txt").open("a+b")
        self._from = self._said.tell()
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, *self.arguments],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._said,
            start_new_session=True,
        )
        # It has begun already, and takes longer to import itself than this takes.
        for kind, most in self.limits.items():
            resource.prlimit(self.pid, kind, (most, most))
        threading.Thread(target=self._watch, daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def said(self) -> str:
        """Returns its output and errors so far."""
        self._said.seek(self._from)
        return self._said.read().decode(errors="replace")

    def send(self, number: signal.Signals) -> None:
        if self.running:
            self._process.send_signal(number)

    def wait(self, within_s: float) -> int | None:
        """Returns its exit code; None where it took longer and was killed."""
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return None

    def close(self) -> None:
        self._said.close()

    def _watch(self) -> None:
        while self.running:
            if mib := resident_mib(self.pid):
                self.last_mib, self.peak_mib = mib, max(self.peak_mib, mib)
            self.peak_handles = max(self.peak_handles, handles(self.pid))
            time.sleep(_EVERY_S)

"""The `assay` command as a user starts it: a process of its own."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from assay.store import read_rollouts
from assay.types import Score

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "OPENAI_API_KEY"} | {"COLUMNS": "120"}


def start(*arguments: str, cwd: Path, **variables: str) -> "subprocess.Popen[str]":
    """The command in an interpreter of its own, with these environment variables."""
    command = [sys.executable, "-m", "assay.cli", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=cwd, env=ENVIRONMENT | variables, stdout=pipe, stderr=pipe, text=True)


def assay(*arguments: str, cwd: Path, stdin: str = "", timeout: float = 100, **variables: str) -> tuple[int, str, str]:
    """The command's exit code, output and errors.

    Its process is forked from one that has imported Assay, because importing takes most of a short command's time.
    """
    reading, writing = os.pipe()
    with open(writing, "w") as into:
        into.write(stdin)
    server = _IDLE.pop() if _IDLE else _Server()
    with open(reading) as given, tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        request = json.dumps([str(cwd), variables, arguments])
        code = server.run(request, [given.fileno(), out.fileno(), err.fileno()], timeout)
        _IDLE.append(server)
        out.seek(0)
        err.seek(0)
        return code, out.read(), err.read()


class _Server:
    """A process of tests/forking.py. It ends when this process does."""

    def __init__(self) -> None:
        self._socket, other = socket.socketpair()
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forking", str(other.fileno())],
                cwd=ROOT,
                env=ENVIRONMENT,
                pass_fds=[other.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def run(self, request: str, streams: list[int], timeout: float) -> int:
        self._socket.settimeout(timeout)
        try:
            socket.send_fds(self._socket, [request.encode()], streams)
            return int(self._socket.recv(20))
        except TimeoutError:
            os.killpg(self._process.pid, signal.SIGKILL)
            raise


_IDLE: list[_Server] = []
"""Those that run no command now: there are several if tests run commands at the same time."""


def copy_package(folder: Path) -> Path:
    """Copies Assay, for `start` with the folder as PYTHONPATH. Bytecode comes along, but none that is being written."""
    package = ROOT / "src/assay"
    return Path(shutil.copytree(package, folder / "assay", ignore=shutil.ignore_patterns("*.pyc.*")))


def scored(folder: Path) -> Counter[tuple[str, int]]:
    return Counter(rollout.key for rollout in read_rollouts(folder) if isinstance(rollout.outcome, Score))


def written(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def until(what: Callable[[], object], within_s: float = 60.0) -> None:
    """Wait for something; fail if it does not come about."""
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)

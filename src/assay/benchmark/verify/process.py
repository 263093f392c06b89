"""A process that answers questions as lines of JSON, for code that may never end, or crash."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from assay.errors import VerifierError


class Process:
    """A process of a Python script, which writes a line when it is ready and one for each line that it reads.

    `name` begins the kinds of its failures. Raises VerifierError where it is not ready in time.
    """

    def __init__(self, name: str, script: Path, *arguments: str, start_s: float) -> None:
        self._name = name
        # Hashes decide the order of sets: the same in every process. -P: the folder's modules would stand before those
        # of the standard library.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
        try:
            self.ready = self._answer(start_s)
        except BaseException:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, question: dict[str, Any], deadline_s: float) -> dict[str, Any]:
        """Returns the script's answer. Raises VerifierError, after which the process can't be used."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._death() from None
        return self._answer(deadline_s)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()  # closes the pipes, and waits for the end

    def _answer(self, deadline_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        poll = select.poll()
        poll.register(self._process.stdout, select.POLLIN)
        started = time.monotonic()
        if not poll.poll(deadline_s * 1000):
            message = f"could not be judged within {time.monotonic() - started:.1f} s"
            raise VerifierError(f"{self._name}_deadline", message)
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise self._death()
        return json.loads(line)

    def _death(self) -> VerifierError:
        self._process.kill()
        code = self._process.wait()
        if code == -signal.SIGPROF:
            return VerifierError(f"{self._name}_deadline", "could not be judged within its processor time")
        return VerifierError(f"{self._name}_crash", f"the process that judged it ended with code {code}")

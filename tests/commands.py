"""The `assay` command as a user starts it: a process of its own."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from assay.store import read_rollouts
from assay.types import Score

# Bytecode is kept: hundreds of commands are started, and compiling takes as long as all else in a short one.
LEFT_OUT = ("OPENAI_API_KEY", "PYTHONDONTWRITEBYTECODE")
ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in LEFT_OUT} | {"COLUMNS": "120"}


def start(*arguments: str, cwd: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "assay.cli", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=cwd, env=ENVIRONMENT, stdout=pipe, stderr=pipe, text=True)


def assay(*arguments: str, cwd: Path, timeout: float = 100) -> tuple[int, str, str]:
    process = start(*arguments, cwd=cwd)
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def scored(folder: Path) -> Counter[tuple[str, int]]:
    return Counter(rollout.key for rollout in read_rollouts(folder) if isinstance(rollout.outcome, Score))


def written(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def until(what: Callable[[], object], within_s: float = 30.0) -> None:
    """Wait for something; fail if it does not come about."""
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)

"""One round of a scenario: a folder, an endpoint, commands on one run, and what was counted."""

import os
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from chaos.checks import Broken, check_run, check_words, expect
from chaos.machine import ROOT, Command, descendants, words
from chaos.server import FaultyServer

PATIENCE_S = 90.0
"""Seconds that a command may take."""
GONE_S = 10.0
"""Seconds within which the processes of a command have ended after it."""
MOST_MIB = 600
NONE: Mapping[Any, Any] = MappingProxyType({})
CODES = (0, 4, 130)
"""Complete, stopped early, interrupted."""


@dataclass
class Round:
    """One round of a scenario. All its randomness comes from `rng`."""

    seed: str
    folder: Path
    quick: bool = False
    faults: int = 0
    rollouts: int = 0
    peak_mib: float = 0.0
    skipped: str = ""
    """Why the round was skipped; empty where it was not."""
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self._there = set(descendants(os.getpid()))

    def server(self, *faults: str, share: float = 0.0, delay_s: float = 0.0) -> FaultyServer:
        return FaultyServer(self.seed, faults, share, delay_s)

    def of(self, few: int, many: int) -> int:
        """Returns a random number in this range; the least one in a quick round."""
        return few if self.quick else self.rng.randint(few, many)

    def check_gone(self, within_s: float = GONE_S) -> None:
        """Raises Broken where a process outlives the commands that began it."""
        deadline = time.monotonic() + within_s
        while left := [pid for pid in descendants(os.getpid()) if pid not in self._there and not is_reaped(pid)]:
            if time.monotonic() > deadline:
                raise Broken(f"left behind: {'; '.join(f'{pid} {words(pid)[:120]}' for pid in left)}")
            time.sleep(0.05)


def is_reaped(pid: int) -> bool:
    """Whether an adopted child has ended."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return False


@dataclass
class Run:
    """A run directory and the commands on it."""

    round: Round
    server: FaultyServer
    url: str
    benchmark: str = "quiz"
    tasks: int = 40
    repeats: int = 4
    options: tuple[str, ...] = ()
    name: str = "run"

    @property
    def folder(self) -> Path:
        return self.round.folder / self.name

    def start(self, *options: str, limits: Mapping[int, int] = NONE, environment: Mapping[str, str] = NONE) -> Command:
        command = ["run", str(ROOT / "chaos" / self.benchmark), "--model", "chat:m", "--base-url", self.url]
        command += ["--out", str(self.folder), "--limit", str(self.tasks), "--repeats", str(self.repeats)]
        command += ["--set", "model.timeout_s=2", "--set", "model.attempts=2"]
        command += ["--set", "model.limits.patience_s=1", *self.options, *options]
        return Command(command, self.round.folder, limits, environment)

    def end(self, command: Command, within_s: float = PATIENCE_S, codes: tuple[int, ...] = CODES) -> int:
        """Returns the command's exit code, which has to be one of `codes`. Checks the run directory."""
        code = command.wait(within_s)
        said = command.said
        command.close()
        self.round.peak_mib = max(self.round.peak_mib, command.peak_mib)
        expect(code is not None, f"it had not ended after {within_s:g} s: {said[-500:]}")
        expect(code in codes, f"exit code {code}, expected one of {codes}: {said[-800:]}")
        check_words(said)
        expect(command.peak_mib < MOST_MIB, f"it took {command.peak_mib:.0f} MiB")
        self.check(whole=False)
        assert code is not None
        return code

    def kill(self, command: Command) -> None:
        command.wait(0)
        check_words(command.said)
        command.close()
        self.round.faults += 1
        self.check(whole=False)

    def check(self, *, whole: bool) -> int:
        return check_run(self.folder, self.server.said, tasks=self.tasks, repeats=self.repeats, whole=whole)

    def finish(self, *options: str) -> None:
        """Stop the faults and complete the run by the same command, however slow the machine is."""
        self.server.stop_faults()
        self.end(self.start("--set", "model.timeout_s=60", *options), codes=(0,))
        self.round.rollouts += self.check(whole=True)
        self.round.faults += sum(self.server.met.values())
        self.round.check_gone()


def count_scores(run: Run) -> int:
    """Returns the number of lines in the run's files."""
    return sum(path.read_bytes().count(b"\n") for path in run.folder.glob("rollouts*.jsonl"))


def until(holds: Any, command: Command, within_s: float = 30.0) -> bool:
    """Wait for a condition. Returns whether it held before the command ended."""
    deadline = time.monotonic() + within_s
    while command.running and time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.01)
    return bool(holds())

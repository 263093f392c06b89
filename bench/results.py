"""What was measured on this machine, kept in `bench-results/MACHINE.jsonl`: a line a measurement a call."""

import os
import platform
import re
import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from bench.figures import Figures

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench-results"


class Round(Struct, frozen=True):
    """Floor and Assay, one after the other."""

    floor: Figures
    assay: Figures


class Result(Struct, frozen=True, kw_only=True):
    """One measurement of one call."""

    name: str
    count: int
    """Rollouts of a round."""
    rounds: list[Round]
    commit: str
    """With a + where files were changed since."""
    at: str
    """ISO 8601, UTC."""
    load: float
    """How many processes wanted to run in the minute before; 0 on an idle machine."""

    def each(self, figure: Callable[[Round], float]) -> list[float]:
        return [figure(one) for one in self.rounds]

    def median(self, figure: Callable[[Round], float]) -> float:
        return statistics.median(self.each(figure))


def slowness(one: Round) -> float:
    """Returns how many times as long as the floor it took."""
    return one.assay.wall_s / one.floor.wall_s


def cpu(one: Round) -> float:
    """Returns how many times the floor's CPU time it took."""
    return one.assay.cpu_s / one.floor.cpu_s


def peak_mib(one: Round) -> float:
    return one.assay.peak_mib


def machine() -> str:
    """Returns the processor's name and how many cores of it may be used, as a file's name."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists() and (found := re.search(r"^model name\s*: (.+)$", info.read_text(), re.MULTILINE)):
        name = found[1]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return re.sub(r"[^a-z0-9]+", "-", f"{name} {cores} cores".lower()).strip("-")


def commit() -> str:
    """Returns the commit that is measured."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, check=False, capture_output=True, text=True)
        return done.stdout.strip()

    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if git("status", "--porcelain", "src") else "")


def keep(result: Result, folder: Path = RESULTS) -> Path:
    """Returns the file, with another line."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{machine()}.jsonl"
    with path.open("ab") as file:
        file.write(msgspec.json.encode(result) + b"\n")
    return path


def read_results(folder: Path = RESULTS) -> list[Result]:
    """Returns what was measured on this machine, the oldest first."""
    path = folder / f"{machine()}.jsonl"
    decoder = msgspec.json.Decoder(Result)
    return [decoder.decode(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def newest(results: list[Result]) -> dict[str, Result]:
    """Returns the last of each measurement, by name."""
    return {result.name: result for result in results}

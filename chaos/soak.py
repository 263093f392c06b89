"""Hundreds of thousands of rollouts in one process: memory and open files have to stay where they are."""

import resource
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from assay.store import read_rows
from assay.types import Score
from bench import endpoint
from chaos.machine import ROOT, Command, handles, resident_mib

TASKS = 400
IN_FLIGHT = 64
ROOM = 1.05
"""The most that the second half of a run may hold, as a multiple of the most that the first half held."""
SHOWN = 16
console = Console()


class Usage(NamedTuple):
    """Memory and open files of the process at one moment."""

    after_s: float
    rollouts: int
    mib: float
    handles: int


def main(rollouts: int) -> int:
    """Returns the exit code: 1 where memory or open files grew, or a rollout is missing."""
    if not endpoint.available():
        raise SystemExit("the soak needs nginx with its echo module (Debian: nginx-light, libnginx-mod-http-echo)")
    repeats = max(1, rollouts // TASKS)
    with endpoint.running() as urls, tempfile.TemporaryDirectory(prefix="chaos-soak-") as name:
        looks, said = watch(urls.instant, repeats, Path(name))
        keys = Counter((row.task, row.repeat) for row in read_rows(Path(name, "run")) if isinstance(row.outcome, Score))
    console.print(table(looks))
    if len(keys) != TASKS * repeats or set(keys.values()) != {1}:
        console.print(f"{len(keys):,} of {TASKS * repeats:,} rollouts were scored once:\n{said[-2000:]}", markup=False)
        return 1
    return verdict(looks, TASKS * repeats)


def watch(url: str, repeats: int, folder: Path) -> tuple[list[Usage], str]:
    """Returns the usage of one `assay run`, twice a second while its rollouts came in, and its output."""
    options = ["--repeats", str(repeats), "--concurrency", str(IN_FLIGHT), "--out", str(folder / "run")]
    command = Command(
        ["run", str(ROOT / "chaos/quiz"), "--model", "openai:fixed", "--base-url", url, *options],
        folder,
        {resource.RLIMIT_NOFILE: 4096},
    )
    looks: list[Usage] = []
    file, rows, read = folder / "run/rollouts.jsonl", 0, 0
    started = time.monotonic()
    while command.running:
        time.sleep(0.5)
        if not file.exists():
            continue
        with file.open("rb") as lines:
            lines.seek(read)
            while chunk := lines.read(2**22):
                rows, read = rows + chunk.count(b"\n"), read + len(chunk)
        look = Usage(time.monotonic() - started, rows, resident_mib(command.pid), handles(command.pid))
        # The summary at the end reads all rollouts, which takes memory of its own.
        if rows < TASKS * repeats and look.handles:
            looks.append(look)
    command.wait(60)
    said = command.said
    command.close()
    return looks, said


def verdict(looks: list[Usage], rollouts: int) -> int:
    """Prints the figures. Returns 1 where the second half of a run held more than the first."""
    first = [look for look in looks if 0.1 * rollouts < look.rollouts <= 0.5 * rollouts]
    last = [look for look in looks if look.rollouts > 0.5 * rollouts]
    if not first or not last:
        console.print("too few rollouts to tell: give --rollouts")
        return 1
    grew = False
    for what, before, after in (
        ("MiB", max(look.mib for look in first), max(look.mib for look in last)),
        ("handles", max(look.handles for look in first), max(look.handles for look in last)),
    ):
        grew |= after > ROOM * before
        console.print(
            f"{what}: at most {before:,.1f} in the first half, {after:,.1f} in the last ({after / before - 1:+.1%})"
        )
    rate = last[-1].rollouts / last[-1].after_s
    console.print(f"{rate:,.0f} rollouts/s, start-up included: {'grew' if grew else 'flat'}")
    return int(grew)


def table(looks: list[Usage]) -> Table:
    shown = Table("after s", "rollouts", "MiB", "handles", box=None)
    for look in looks[:: max(1, len(looks) // SHOWN)]:
        shown.add_row(f"{look.after_s:.1f}", f"{look.rollouts:,}", f"{look.mib:.1f}", f"{look.handles:,}")
    return shown

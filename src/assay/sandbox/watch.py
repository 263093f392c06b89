"""What the processes of a sandbox use together, read from /proc: the kernel's own limits hold for each alone."""

import asyncio
import os
from pathlib import Path

from assay.sandbox.process import LimitReached

_EVERY_S = 0.1
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


async def watch_tree(root: int, *, memory_bytes: int, cpu_s: float) -> None:
    """Never returns. Raises LimitReached once the processes below `root` and itself use more.

    Between two looks a program can take a few hundred megabytes of memory: the kernel's limit for each process is
    what holds until then.
    """
    while True:
        await asyncio.sleep(_EVERY_S)
        memory, cpu = await asyncio.to_thread(_usage, root)
        if memory > memory_bytes:
            raise LimitReached("memory")
        if cpu > cpu_s:
            raise LimitReached("cpu")


def can_see_children() -> bool:
    """Whether this kernel tells the children of a process (CONFIG_PROC_CHILDREN), which the watch needs."""
    return Path(f"/proc/self/task/{os.getpid()}/children").exists()


def _usage(root: int) -> tuple[int, float]:
    """Bytes of memory, what is shared being shared out, and seconds of processor time, of those that ended too."""
    memory, cpu = 0, 0.0
    found = [root]
    while found:
        folder = f"/proc/{found.pop()}"
        try:
            found += _children(folder)
            cpu += _cpu_s(folder)
            memory += _memory(folder)
        except (OSError, ValueError):  # it has ended meanwhile
            continue
    return memory, cpu


def _children(folder: str) -> list[int]:
    threads = os.listdir(f"{folder}/task")
    return [int(pid) for thread in threads for pid in _read(f"{folder}/task/{thread}/children").split()]


def _cpu_s(folder: str) -> float:
    """Of the process and of those of its children that it has waited for."""
    # The name, in parentheses, may hold anything. utime to cstime are the fields 14 to 17 of proc(5).
    fields = _read(f"{folder}/stat").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS_A_SECOND


def _memory(folder: str) -> int:
    """Proportional set size in bytes; none for a process that has ended and was not waited for."""
    for line in _read(f"{folder}/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _read(path: str) -> str:
    with open(path, encoding="latin-1") as file:
        return file.read()

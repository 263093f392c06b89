"""The kernel's limits on all programs of a machine together: a cgroup (version 2) of its own, where one can be made.

That is where this process is root on a system with cgroups v2, or where its cgroup was delegated to its user, as
`systemd-run --user --scope -p Delegate=yes` does.
"""

import os
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from assay.sandbox import SandboxConfig
from assay.sandbox.process import GRACE_S

CONTROLLERS = ("memory", "pids", "cpu")
OWN = "assay"
"""The cgroup that this process moves to, where its own is to have others in it."""
PERIOD_US = 100_000
LEAST_US = 1000
"""Of a period, the least processor time that the kernel takes as a limit."""


@cache
def cgroups() -> Path | None:
    """Returns the cgroup that machines' cgroups are made in; None where this process may make none with limits."""
    for at, is_own in _candidates():
        with suppress(OSError):
            if is_own:  # a cgroup whose children have limits holds no process itself
                (at / OWN).mkdir(exist_ok=True)
                for process in (at / "cgroup.procs").read_text().split():
                    (at / OWN / "cgroup.procs").write_text(process)
            control = at / "cgroup.subtree_control"
            if missing := set(CONTROLLERS) - set(control.read_text().split()):
                control.write_text(" ".join(f"+{name}" for name in missing))
            (tried := at / f"assay-{os.getpid()}").mkdir()
            tried.rmdir()
            return at
    return None


def _candidates() -> list[tuple[Path, bool]]:
    """Returns the cgroups that machines' may be made in, and whether it is the one that this process is in."""
    own = next((line[3:] for line in _lines("/proc/self/cgroup") if line.startswith("0::")), None)
    found: list[tuple[Path, bool]] = []
    for words in (line.split() for line in _lines("/proc/self/mountinfo")):
        if own is None or words[words.index("-") + 1] != "cgroup2":
            continue
        mounted, top = words[4], words[3]
        at = Path(mounted, os.path.relpath(own, top))
        if at.name == OWN:
            found.append((at.parent, False))
        elif os.geteuid() == 0 and not Path(mounted, "cgroup.type").exists():  # the system's first
            found.append((Path(mounted), False))
        elif not os.path.relpath(own, top).startswith(".."):
            found.append((at, True))
    return [
        (at, is_own)
        for at, is_own in found
        if os.access(at / "cgroup.procs", os.W_OK) and set(CONTROLLERS) <= set(_words(at / "cgroup.controllers"))
    ]


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _words(path: Path) -> list[str]:
    with suppress(OSError):
        return path.read_text().split()
    return []


def make_cgroup(name: str, config: SandboxConfig, cpus: float | None) -> Path | None:
    """Returns a new cgroup with a machine's limits; None where none can be made.

    What a machine writes is in memory too, and the kernel counts both together.
    """
    if (at := cgroups()) is None:
        return None
    made = at / name
    made.mkdir()
    limits: dict[str, int | str] = {
        "memory.max": (config.memory_mb + config.disk_mb) * 2**20,
        "memory.swap.max": 0,
        "memory.oom.group": 1,  # the limit ends all programs of the machine, as it does where it is measured
        "pids.max": config.processes,
    }
    if cpus:
        limits["cpu.max"] = f"{max(LEAST_US, round(cpus * PERIOD_US))} {PERIOD_US}"
    for file, limit in limits.items():
        if (made / file).exists():  # memory.swap.max is not there where the kernel counts no swap
            (made / file).write_text(str(limit))
    return made


def remove_cgroup(name: str) -> None:
    """Ends what is left in a machine's cgroup and removes it; does nothing where there is none."""
    if (at := cgroups()) is None or not (made := at / name).exists():
        return
    with suppress(OSError):
        (made / "cgroup.kill").write_text("1")
    until = time.monotonic() + GRACE_S
    while time.monotonic() < until:
        with suppress(OSError):  # a process that was killed takes a moment to be gone
            made.rmdir()
            return
        time.sleep(0.01)


def kills_of(made: Path) -> int:
    """Returns how many processes of a cgroup were killed for their memory."""
    words = _words(made / "memory.events")
    return int(words[words.index("oom_kill") + 1]) if "oom_kill" in words else 0

"""What is measured of one process, and how."""

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import msgspec
import uvloop
from msgspec import Struct

Side = Callable[..., Coroutine[Any, Any, dict[str, float]]]
PYTHON = [sys.executable]
HANDLES = 65536
"""Open files that a measurement asks for."""


class Figures(Struct, frozen=True):
    """One process."""

    wall_s: float
    cpu_s: float
    """Of it and the processes that it began."""
    peak_mib: float
    """Resident, of the largest of these processes."""
    more: dict[str, float] = {}
    """What else is told, by name, with its unit."""


def inside(module: str, name: str, *, one_core: bool, **arguments: Any) -> Figures:
    """Returns what a process of ours measures of itself, without its start: `name` of the module's table."""
    command = [*PYTHON, "-m", module, name, json.dumps({"one_core": one_core, **arguments})]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=1800)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Figures)


def command(arguments: Sequence[str], *, until: Callable[[], bool] = lambda: False) -> Figures:
    """A command as a user gives it, its start included; killed with all its children as soon as `until` holds."""
    # What a user has: bytecode that is written once.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryFile() as told:
        started = time.perf_counter()
        process = subprocess.Popen(arguments, stdout=told, stderr=told, env=environment, start_new_session=True)
        while not (held := until()) and not _has_ended(process.pid):
            time.sleep(0.002)
        wall_s = time.perf_counter() - started
        if held:
            os.killpg(process.pid, signal.SIGKILL)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode and not held:
            told.seek(0)
            raise SystemExit(f"{' '.join(arguments)} failed:\n{told.read().decode(errors='replace')}")
    return Figures(wall_s=wall_s, cpu_s=used.ru_utime + used.ru_stime, peak_mib=_mib(used.ru_maxrss))


def main(sides: Mapping[str, Side]) -> None:
    """Run the side that the command line names, and print its Figures as a line of JSON."""
    name, arguments = sys.argv[1], json.loads(sys.argv[2])
    if arguments.pop("one_core", False) and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    handles()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        cpu_s, clock = _cpu_s(), time.perf_counter()
        more = runner.run(sides[name](**arguments))
        wall_s, cpu_s = time.perf_counter() - clock, _cpu_s() - cpu_s
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(msgspec.json.encode(Figures(wall_s, cpu_s, _mib(peak), more)).decode())


def handles() -> int:
    """As many open files as this process may have, HANDLES at most; it may have them now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = HANDLES if hard == resource.RLIM_INFINITY else max(soft, min(hard, HANDLES))
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed


def p99_ms(seconds: Sequence[float]) -> float:
    """Returns the 99th percentile in milliseconds, the nearest rank."""
    return 1000 * sorted(seconds)[-(-99 * len(seconds) // 100) - 1] if seconds else 0.0


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _mib(maxrss: int) -> float:
    return maxrss / (1024 if sys.platform == "linux" else 1024**2)

"""The limits of machines where cgroups v2 can be made: as root on a system of these, or in a delegated one."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from assay.sandbox import Finished, SandboxConfig
from assay.sandbox.machine import Machine, build_image
from assay.sandbox.machine.cgroup import cgroups
from assay.sandbox.machine.machine import limits_here
from tests.roots import small_root
from tests.sandbox.available import needs_cgroups, needs_machines

T = TypeVar("T")
pytestmark = [needs_machines, needs_cgroups, pytest.mark.heavy]
CONFIG = SandboxConfig(memory_mb=128, processes=40, disk_mb=16)
HOG = "for i in 1 2 3; do (head -c 100000000 /dev/zero; sleep 30) | tail -c 100000000 > /dev/null & done; wait"
"""Three programs that each hold less than the limit for one."""


def within(tmp_path: Path, patch: pytest.MonkeyPatch, use: Callable[[Machine, Path], Awaitable[T]]) -> T:
    patch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    base = str(small_root(tmp_path / "root.tar"))

    async def opened() -> T:
        async with Machine(await build_image(base, {}), CONFIG, cpus=0.5) as machine:
            [cgroup] = (cgroups() or tmp_path).glob("assay-machine-*")
            return await use(machine, cgroup)

    return asyncio.run(opened())


def test_a_machine_has_a_cgroup_with_its_limits_while_it_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async def run(machine: Machine, cgroup: Path) -> dict[str, str]:
        ran = await machine.exec(["sh", "-c", "sleep 60 & echo began"], timeout_s=20)
        assert ran.stdout == b"began\n" and len((cgroup / "cgroup.procs").read_text().split()) == 1
        return {name: (cgroup / name).read_text().strip() for name in ("memory.max", "pids.max", "cpu.max")}

    limits = within(tmp_path, monkeypatch, run)
    assert limits == {"memory.max": str(144 * 2**20), "pids.max": "40", "cpu.max": "50000 100000"}
    assert not list((cgroups() or tmp_path).glob("assay-machine-*"))
    assert "cgroups" in limits_here()


def test_memory_beyond_the_limit_ends_all_programs_and_the_machine_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("assay.sandbox.watch._EVERY_S", 60)  # so that nothing but the kernel looks

    async def run(machine: Machine, cgroup: Path) -> tuple[Finished, Finished]:
        ran = await machine.exec(["sh", "-c", HOG], timeout_s=60)
        return ran, await machine.exec(["sh", "-c", "ps ax | grep -c '[s]leep'"], timeout_s=20)

    ran, after = within(tmp_path, monkeypatch, run)
    assert (ran.stopped_by, after.stdout) == ("memory", b"0\n")


def test_processes_beyond_the_limit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async def run(machine: Machine, cgroup: Path) -> int:
        await machine.exec(["sh", "-c", "f() { f | f & }; f; sleep 1"], timeout_s=20)
        return int((cgroup / "pids.peak").read_text() if (cgroup / "pids.peak").exists() else 40)

    assert within(tmp_path, monkeypatch, run) <= 40


def test_programs_get_their_share_of_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async def run(machine: Machine, cgroup: Path) -> float:
        began = time.monotonic()
        await machine.exec(["timeout", "2", "sh", "-c", "while :; do :; done"], timeout_s=20)
        used = next(line for line in (cgroup / "cpu.stat").read_text().splitlines() if line.startswith("usage_usec"))
        return int(used.split()[1]) / 1e6 / (time.monotonic() - began)

    assert within(tmp_path, monkeypatch, run) < 0.8

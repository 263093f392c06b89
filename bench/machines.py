"""What a machine costs: `python -m bench.machines [IMAGE [SANDBOX]]`. What docs/harbor.md says of it.

SANDBOX is docker or podman, which may need an assay.toml in the working directory.
"""

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from assay.config import assay_toml
from assay.sandbox import Place, SandboxConfig
from assay.sandbox.machine import AnyMachine, Image, Machines, machines_of

AT_ONCE = 100
CONFIG = SandboxConfig(memory_mb=512, disk_mb=64)


async def measure(name: str, provider: str = "bubblewrap") -> None:
    machines = machines_of(Place.parse(provider, own=assay_toml().sandbox).apply(CONFIG))
    image = await machines.build(name, {})
    starts: list[float] = []
    execs: list[float] = []
    for _ in range(20):
        machine = machines.open(image, CONFIG)
        starts.append(await _time(machine.start))
        execs.append(min([await _time(lambda machine=machine: _run(machine)) for _ in range(5)]))
        await machine.stop()
    print(f"load {os.getloadavg()[0]:.1f}; start {_ms(starts)}, exec {_ms(execs)}")
    began = time.perf_counter()
    await asyncio.gather(*(_one_after_another(machines, image, 10) for _ in range(4)))
    print(f"{40 / (time.perf_counter() - began):.0f} machines a second: start, one command, stop; four at a time")
    async with AsyncExitStack() as stack:
        before = _available()
        opened = await asyncio.gather(
            *(stack.enter_async_context(machines.open(image, CONFIG)) for _ in range(AT_ONCE))
        )
        took = await _time(lambda: asyncio.gather(*map(_run, opened)))
        print(f"{AT_ONCE} at once: {(before - _available()) / AT_ONCE:.1f} MB each; a command in each {took:.2f} s")


async def _one_after_another(machines: Machines, image: Image, count: int) -> None:
    for _ in range(count):
        async with machines.open(image, CONFIG) as machine:
            await _run(machine)


async def _run(machine: AnyMachine) -> None:
    ran = await machine.exec(["true"], timeout_s=60)
    assert ran.exit_code == 0, ran


async def _time(use: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await use()
    return time.perf_counter() - began


def _ms(times_s: list[float]) -> str:
    return f"{1000 * statistics.median(times_s):.1f} ms"


def _available() -> float:
    """Returns the memory that this computer has left, in MB."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) / 1024


if __name__ == "__main__":
    asyncio.run(measure(*(sys.argv[1:] or ["debian:bookworm"])))

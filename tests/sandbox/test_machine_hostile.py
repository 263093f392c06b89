"""What root in a machine tries against the host: each is refused, and says so."""

import _ctypes
import asyncio
import os
import socket
import sys
from pathlib import Path

import pytest

from assay.sandbox import Finished, SandboxConfig
from tests.roots import PROGRAMS, libraries_of, small_root
from tests.sandbox.available import needs_machines
from tests.sandbox.engines import KINDS, OWN, machines_here

pytestmark = needs_machines
NUMBERS = {
    "x86_64": {"keyctl": 250, "bpf": 321, "init_module": 175, "open_by_handle_at": 304},
    "aarch64": {"keyctl": 219, "bpf": 280, "init_module": 105, "open_by_handle_at": 265},
}[os.uname().machine]
TRIES = {
    "mount": "call(c.mount(b'none', b'/tmp', b'tmpfs', 0, None))",
    "umount": "call(c.umount2(b'/proc', 2))",
    "mount namespace": "call(c.unshare(0x20000))",
    "user namespace": "call(c.unshare(0x10000000))",
    "namespace of the keeper": "call(c.setns(os.open('/proc/1/ns/mnt', 0), 0))",
    "ptrace": "call(c.ptrace(16, 1, 0, 0))",
    "memory of the keeper": "open('/proc/1/mem', 'rb+').read(1)",
    "descriptors of the keeper": "os.stat('/proc/1/fd/' + os.listdir('/proc/1/fd')[-1])",
    "root of the keeper": "os.listdir('/proc/1/root/')",
    "keyring": f"call(c.syscall({NUMBERS['keyctl']}, 0, -3, 1))",
    "bpf": f"call(c.syscall({NUMBERS['bpf']}, 0, 0, 0))",
    "kernel module": f"call(c.syscall({NUMBERS['init_module']}, 0, 0, 0))",
    "file by its number": f"call(c.syscall({NUMBERS['open_by_handle_at']}, 3, 0, 0))",
    "disk": "os.mknod('/disk', 0o60666, os.makedev(8, 0))",
    "kernel's memory": "open('/proc/kcore', 'rb').read(1)[0]",
    "settings of the kernel": "open('/proc/sys/kernel/core_pattern', 'w').write('|/harm')",
    "clock": "time.clock_settime(time.CLOCK_REALTIME, 0)",
    "abstract socket of the host": "socket.socket(socket.AF_UNIX).connect('\\0' + sys.argv[1])",
    "port of the host": "socket.create_connection(('127.0.0.1', int(sys.argv[2])), 3)",
    "raw packets": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "packets of the device": "socket.socket(17, socket.SOCK_RAW, 3)",
    "process of the host": "os.kill(int(sys.argv[3]), 0)",
    "more capabilities": "call(c.prctl(47, 2, 21, 0, 0))",
}
OWN_ALONE = ("ptrace", "memory of the keeper", "descriptors of the keeper", "root of the keeper")
"""A container's first process is one of its own: its keeper is elsewhere."""
NOT_PODMANS = ("user namespace", "keyring")
"""What podman's own filter of system calls allows."""
PROGRAM = """
import ctypes, os, socket, sys, time
c = ctypes.CDLL(None, use_errno=True)
def call(code):
    if code < 0:
        raise OSError(ctypes.get_errno(), 'refused')
for name, attack in {tries}.items():
    try:
        exec(attack)
    except (OSError, IndexError):
        print('refused', name)
    else:
        print('harm', name)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_that_root_tries_reaches_the_host(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    python = Path(sys.executable).name
    base = small_root(tmp_path / "root.tar", (*PROGRAMS, python))
    machines = machines_here(kind)
    tries = {what: how for what, how in TRIES.items() if kind == OWN or what not in (*OWN_ALONE, *NOT_PODMANS)}
    name = f"assay-test-{os.getpid()}"

    async def run(port: int) -> Finished:
        async with machines.open(await machines.build(str(base), {}), SandboxConfig()) as machine:
            libraries = map(str, libraries_of(Path(_ctypes.__file__)))
            await machine.share([f"{sys.base_prefix}/lib", *libraries])
            program = PROGRAM.replace("{tries}", repr(tries))
            command = ["env", f"PYTHONHOME={sys.base_prefix}", python, "-c", program, name, str(port), str(os.getpid())]
            return await machine.exec(command, timeout_s=60)

    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0{name}")
        abstract.listen()
        ran = asyncio.run(run(server.getsockname()[1]))
    assert ran.stdout.decode().splitlines() == [f"refused {attack}" for attack in tries], ran

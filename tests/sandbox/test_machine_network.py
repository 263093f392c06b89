"""Machines with a network: what they reach, and that this machine's loopback is none of it."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from assay.errors import UsageError
from assay.sandbox.machine import build_image, check_machine
from assay.sandbox.machine.network import TOOL
from tests.commands import until
from tests.roots import small_root
from tests.sandbox.available import needs_machines

pytestmark = needs_machines
OUTSIDE = """
ip link set lo up
ip tuntap add outside mode tap
ip addr add 192.0.2.1/24 dev outside
ip link set outside up
ip route add default via 192.0.2.254
ip addr add 198.51.100.7/32 dev lo
exec "$@"
"""
"""A network of this machine's own: the address 198.51.100.7 stands for all that is not its loopback."""
REACHES = """
import asyncio, socket, sys, threading
from assay.sandbox import SandboxConfig
from assay.sandbox.machine import Machine, build_image

def serve(address):
    server = socket.create_server((address, 0))
    def answer():
        while True:
            with server.accept()[0] as connection:
                connection.sendall(b"reached")
    threading.Thread(target=answer, daemon=True).start()
    return server.getsockname()[1]

async def main(base):
    own, outside = serve("127.0.0.1"), serve("198.51.100.7")
    places = [("127.0.0.1", own), ("10.0.2.2", own), ("192.0.2.254", own), ("198.51.100.7", outside)]
    async with Machine(await build_image(base, {}), SandboxConfig(), network="public") as machine:
        print((await machine.exec(["cat", "/etc/resolv.conf"], timeout_s=20)).stdout.decode().strip())
        for address, port in places:
            connect = f"(exec 3<>/dev/tcp/{address}/{port}; cat <&3) 2>/dev/null || echo refused"
            ran = await machine.exec(["timeout", "5", "bash", "-c", connect], timeout_s=20)
            print(address, ran.stdout.decode().strip())

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return str(small_root(tmp_path / "root.tar"))


@pytest.mark.heavy
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="makes a network for itself: needs root and ip")
@pytest.mark.skipif(not shutil.which(TOOL), reason=f"needs {TOOL}")
def test_a_machine_with_a_network_reaches_all_but_this_machines_loopback(base: str):
    command = ["unshare", "--net", "sh", "-ec", OUTSIDE, "outside", sys.executable, "-c", REACHES, base]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, ran.stderr
    resolver, *reached = ran.stdout.splitlines()
    assert resolver == "nameserver 10.0.2.3"
    assert {line for line in reached if line.endswith("reached")} == {"198.51.100.7 reached"}


ALONE = """
import asyncio, sys
from assay.sandbox import SandboxConfig
from assay.sandbox.machine import Machine, build_image
async def main():
    async with Machine(await build_image(sys.argv[1], {}), SandboxConfig(), network="public") as machine:
        print(machine._carrier.pid, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.heavy
@pytest.mark.skipif(not shutil.which(TOOL), reason=f"needs {TOOL}")
def test_nothing_carries_packets_once_assay_is_killed(base: str):
    process = subprocess.Popen([sys.executable, "-c", ALONE, base], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    carrier = process.stdout.readline().strip()
    assert Path("/proc", carrier).exists()
    process.kill()
    process.wait()
    process.stdout.close()
    until(lambda: not Path("/proc", carrier).exists())


def test_without_a_program_for_it_no_machine_gets_a_network(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asyncio.run(build_image(base, {}))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    (tmp_path / "bin").mkdir()
    for program in ("unshare", "rm", "newuidmap", "newgidmap"):
        if path := shutil.which(program, path=os.defpath + ":/usr/sbin"):
            (tmp_path / "bin" / program).symlink_to(path)
    with pytest.raises(UsageError, match="apt install slirp4netns"):
        check_machine("public")
    (tmp_path / "Dockerfile").write_text("FROM small\nRUN grep -c : /proc/net/dev; exit 1\n")
    with pytest.raises(UsageError) as error:
        asyncio.run(build_image(tmp_path, {"small": base}))
    assert "exit code 1: 1" in str(error.value) and "had no network" in str(error.value)

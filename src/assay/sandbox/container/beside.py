"""The keeper of a machine that is a container, in a container of its own, which no program of the machine sees.

It is run by its path, by this computer's Python, and imports nothing but the standard library. It shares the machine's
network, and sees the processes of this computer: it works on the machine's files by way of its first process, and ends
the machine when nobody asks any more.
"""

import contextlib
import importlib.util
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any

KILLS = {
    "/sys/fs/cgroup/memory.events": "oom_kill",  # of cgroups v2 and v1
    "/sys/fs/cgroup/memory/memory.oom_control": "oom_kill",
}
"""Where a container sees how many of its processes were killed for want of memory."""


def keeper() -> Any:
    """Returns the keeper of the other machines, whose file is in the folder beside this one."""
    path = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "machine", "keeper.py")
    spec = importlib.util.spec_from_file_location("keeper", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


KEEPER = keeper()


def members(first: int) -> Iterator[int]:
    """Yields the processes of the machine but its first."""
    inside = os.readlink(f"/proc/{first}/ns/pid")
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit() and int(name) != first and os.readlink(f"/proc/{name}/ns/pid") == inside:
                yield int(name)


def end(first: int, mark: str) -> int:
    """Kills the process groups of a command, or all processes of the machine without a mark. Returns how many."""
    count = 0
    for pid in members(first):
        with contextlib.suppress(OSError):
            if not mark:
                os.kill(pid, signal.SIGKILL)
            elif os.getpgid(pid) == pid and mark.encode() in content(f"/proc/{pid}/environ").split(b"\0"):
                os.killpg(pid, signal.SIGKILL)
            else:
                continue
            count += 1
    return count


def content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def kills(root: str) -> int:
    """Returns how many processes of the machine were killed for want of memory; 0 where the machine can't know."""
    for path, key in KILLS.items():
        with contextlib.suppress(OSError):
            lines = KEEPER.TREE.read(root, path, 2**16).decode().splitlines()
            return next((int(line.split()[1]) for line in lines if line.startswith(f"{key} ")), 0)
    return 0


def serve(outside: socket.socket, first: int, ended: int) -> None:
    """Does what is asked until the machine has ended, or nobody asks any more."""
    root = f"/proc/{first}/root/."
    while True:
        ready, _, _ = select.select([outside, ended], [], [])
        if ended in ready:
            return
        message, descriptors, _, _ = socket.recv_fds(outside, 2**22, 3)
        if not message:
            return
        asked = json.loads(message)
        if asked["do"] in ("kill", "kills"):
            count = end(first, asked["mark"]) if asked["do"] == "kill" else kills(root)
            outside.send(json.dumps({"id": asked["id"], "error": "", "count": count}).encode())
        else:
            KEEPER.answer(outside, {"root": root}, asked, descriptors, {})
        for descriptor in descriptors:
            os.close(descriptor)


def main() -> None:
    name, first, place, *paths = sys.argv[1:]
    ended = os.pidfd_open(int(first))
    if content(f"/proc/{first}/cmdline").split(b"\0")[-2:-1] != [name.encode()]:
        sys.exit(f"process {first} is not the first of {name}")
    if place == "share":
        inside = os.open(f"/proc/{first}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        print(KEEPER.share(inside, {path: path for path in paths}) or "shared")
        return
    outside = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    outside.connect(place)
    outside.send(json.dumps({"id": 0, "error": ""}).encode())
    try:
        serve(outside, int(first), ended)
    finally:
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(ended, signal.SIGKILL)


if __name__ == "__main__":
    main()

"""A socket that listens in another network namespace, and is served by this process."""

import asyncio
import socket
import sys
from collections.abc import Sequence

from assay.errors import SandboxError

PORT = 38080
"""Where the server listens in the sandbox, on 127.0.0.1: no port that a program is likely to want itself."""
LISTEN = """
import os, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[2])), backlog=2048)
outside = socket.socket(fileno=int(sys.argv[1]))
socket.send_fds(outside, [b"."], [listener.fileno()])
os.closerange(3, 2**31 - 1)
try:
    os.execvp(sys.argv[3], sys.argv[3:])
except OSError as error:
    sys.exit(f"{sys.argv[3]} can't be started: {error.strerror}")
"""
"""Listens in the sandbox's network, hands the socket to us, closes what else was open, and becomes the command."""
_UP = """
import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sH14x", b"lo", 0x41))
"""
"""Brings the loopback device of a new network namespace up: SIOCSIFFLAGS with IFF_UP and IFF_RUNNING."""


def listening(theirs: socket.socket, command: Sequence[str], *, up: bool = False) -> list[str]:
    """Returns a command that listens, sends the socket over `theirs`, and becomes `command`.

    `up` brings the loopback device up before, for which a process needs the namespace's CAP_NET_ADMIN.
    """
    program = _UP * up + LISTEN
    return [sys.executable, "-I", "-c", program, str(theirs.fileno()), str(PORT), *command]


async def received(ours: socket.socket, within_s: float) -> socket.socket:
    """Returns the socket that `listening` sends. Raises SandboxError where none comes."""
    ours.settimeout(within_s)
    try:
        _, listeners, *_ = await asyncio.to_thread(socket.recv_fds, ours, 1, 1)
    except OSError as error:
        raise SandboxError(f"the sandbox's network could not be had: {error}") from None
    if not listeners:
        raise SandboxError("the sandbox's network could not be had")
    return socket.socket(fileno=listeners[0])

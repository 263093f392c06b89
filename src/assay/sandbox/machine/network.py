"""The network of a machine that has one: a namespace of its own, and a program that carries what leaves it.

A machine reaches what this machine reaches, but not this machine's loopback.
"""

import asyncio
import os
import shutil
import tempfile
from asyncio.subprocess import Process
from contextlib import suppress
from pathlib import Path

from assay.errors import SandboxError, UsageError
from assay.sandbox.process import GRACE_S

RESOLVER = "10.0.2.3"
"""Where a machine sends its questions for names. The program passes them to this machine's resolver."""
TOOL = "slirp4netns"
_OPTIONS = (
    *("--configure", "--mtu=65520", "--disable-host-loopback", "--enable-sandbox", "--enable-seccomp"),
    "--netns-type=path",
)
_WHILE_READ = '"$@" >&2 & exec cat'
"""Runs a command until nobody holds the other end of the standard input: it is the first process of a namespace."""


def has_network() -> bool:
    """Whether machines can have a network here."""
    return shutil.which(TOOL) is not None


def check_network() -> None:
    """Returns where machines can have a network. Raises UsageError."""
    if not has_network():
        raise UsageError(
            f"machines with a network need {TOOL}, so that they don't reach the servers on this machine's loopback: "
            f"apt install {TOOL}, or say --network none"
        )


async def connect(pid: int) -> Process:
    """Returns the process that carries packets for the network namespace of a process. It ends when its input does.

    Raises SandboxError where the network does not come up.
    """
    check_network()
    entered = [] if os.geteuid() == 0 else ["nsenter", f"--user=/proc/{pid}/ns/user", "--preserve-credentials", "--"]
    with tempfile.TemporaryFile() as said:
        process = await asyncio.create_subprocess_exec(
            *(*entered, "unshare", "--pid", "--fork", "--kill-child", "--", "sh", "-c", _WHILE_READ, "network"),
            *(TOOL, *_OPTIONS, f"/proc/{pid}/ns/net", "tap0"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(GRACE_S):
                while not _has_route(pid):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        except BaseException as error:
            await disconnect(process)
            if not isinstance(error, TimeoutError):
                raise
            said.seek(0)
            words = said.read()[-500:].decode(errors="replace").strip()
            raise SandboxError(f"{TOOL} does not connect the machine: {words}") from None
    return process


async def disconnect(process: Process) -> None:
    """Ends what `connect` has begun."""
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _has_route(pid: int) -> bool:
    """Whether a process has a way out: a route whose destination is anything."""
    routes = Path(f"/proc/{pid}/net/route").read_text().splitlines()[1:]
    return any(route.split()[1] == "00000000" for route in routes)

"""One command of the user's in a sandbox whose network is a server of ours and nothing else."""

import asyncio
import os
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Iterator, Sequence
from pathlib import Path

from assay.errors import SandboxError, UsageError
from assay.sandbox import SandboxConfig
from assay.sandbox.bubblewrap import Bubblewrap, pipe_of
from assay.sandbox.listener import listening, received
from assay.sandbox.process import GRACE_S
from assay.sandbox.seccomp import seccomp_filter

_KEPT = ("PATH", "HOME", "LANG")
_ISOLATION = "--unshare-ipc --unshare-pid --unshare-net --unshare-uts --unshare-cgroup-try --new-session --cap-drop ALL"


async def start_shut_off(
    command: Sequence[str], variables: dict[str, str], *, read_only: Path
) -> tuple[Process, socket.socket]:
    """Starts a command that can write to the working directory alone, and reach 127.0.0.1:PORT alone.

    It reads the machine's files as the user does, but for /tmp and /run, where programs of the machine have sockets. Of
    the environment it has PATH, HOME and LANG, and the variables. It ends when this process does.

    Returns the process, and the socket to serve on. Raises UsageError where bubblewrap does not work.

    Parameters
    ----------
    read_only
        A folder, perhaps in the working directory, that this process writes: a link that the command put there would
        lead it out of the sandbox.
    """
    await Bubblewrap.check(SandboxConfig())
    binds = _binds(read_only)
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    ours, theirs = socket.socketpair()
    with ours, theirs, pipe_of(seccomp_filter()) as filtered:
        process = await asyncio.create_subprocess_exec(
            *("bwrap", *_ISOLATION.split(), "--die-with-parent", "--seccomp", str(filtered.fileno()), *binds, "--"),
            *listening(theirs, command),
            env=environment | variables,
            pass_fds=(theirs.fileno(), filtered.fileno()),
        )
        theirs.close()
        try:
            return process, await received(ours, GRACE_S)
        except SandboxError:
            message = f"bubblewrap could not start the command (exit code {await process.wait()}); see above"
            raise UsageError(message) from None


def _binds(read_only: Path) -> Iterator[str]:
    """Yields bubblewrap's options for what the command sees of the disk. Raises UsageError."""
    here, kept = Path.cwd(), read_only.resolve()
    if here in (Path("/"), kept):
        raise UsageError(f"the command could write to {here}; change to a folder of its own, and choose another --out")
    if here in kept.parents:  # All of its path: a folder above it could be given another name.
        kept = here / kept.relative_to(here).parts[0]
    yield from ("--ro-bind", "/", "/", "--dev", "/dev", "--tmpfs", "/run", "--tmpfs", "/tmp")
    yield from ("--proc", "/proc", "--remount-ro", "/proc")  # root could write the kernel's settings
    binds = [("--bind", str(here)), *(("--ro-bind", path) for path in (sys.base_prefix, sys.prefix, str(kept)))]
    for how, path in sorted(binds, key=lambda bind: len(bind[1])):  # a mount hides what lies below
        yield from (how, path, path)
    yield from ("--chdir", str(here))

"""Programs as plain processes of this user's, where a machine has nothing better and its owner says so.

They can read, write and reach whatever the user can. What each of them uses is limited, and the time; a child that
cuts itself loose lives on.
"""

import asyncio
import os
import shutil
import signal
import socket
import tempfile
from asyncio.subprocess import Process
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from assay.errors import SandboxError, UsageError
from assay.sandbox import Finished, Sandbox, SandboxConfig
from assay.sandbox.folder import Folder
from assay.sandbox.process import carry_through
from assay.sandbox.watch import watch_tree


class Bare(Sandbox):
    """Runs programs as plain processes of this user, with limits but without protection."""

    def __init__(self, config: SandboxConfig) -> None:
        self._config = config
        self._path: str | None = None

    @staticmethod
    async def check(config: SandboxConfig) -> None:
        if shutil.which("prlimit") is None:
            raise UsageError("the limits of programs need prlimit: apt install util-linux")

    async def start(self) -> None:
        self._path = tempfile.mkdtemp(prefix="assay-")

    async def exec(self, command: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Finished:
        memory, disk, cpu_s = self._config.memory_mb * 2**20, self._config.disk_mb * 2**20, self._config.cpu_s
        limits = [f"--data={memory}", f"--fsize={disk}", f"--cpu={cpu_s}:{cpu_s + 1}", "--core=0"]

        async def watch(process: Process) -> None:
            await watch_tree(process.pid, memory_bytes=memory, cpu_s=cpu_s)

        finished = await carry_through(
            ["prlimit", *limits, "--", *command],
            stdin=stdin,
            timeout_s=timeout_s,
            output_bytes=self._config.output_bytes,
            environment={"PATH": os.defpath, "HOME": self._started, "LANG": "C.UTF-8"},
            cwd=self._started,
            watch=watch,
            kill=_kill_group,
        )
        if finished.stopped_by is None and finished.exit_code == 128 + signal.SIGXCPU:
            return msgspec.structs.replace(finished, stopped_by="cpu")
        return finished

    async def listen(self) -> socket.socket:
        return socket.create_server(("127.0.0.1", 0), backlog=2048)

    async def read(self, path: str) -> bytes:
        return await asyncio.to_thread(self._read, path)

    async def write(self, path: str, content: bytes) -> None:
        await asyncio.to_thread(self._write, path, content)

    async def stop(self) -> None:
        if self._path is not None:
            path, self._path = self._path, None
            await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)

    @property
    def _started(self) -> str:
        if self._path is None:
            raise SandboxError("the sandbox was not started, or is stopped")
        return self._path

    def _read(self, path: str) -> bytes:
        folder = Folder(self._started)
        try:
            return folder.read(path, self._config.disk_mb * 2**20)
        finally:
            folder.close()

    def _write(self, path: str, content: bytes) -> None:
        folder = Folder(self._started)
        try:
            folder.write(path, content)
        finally:
            folder.close()


async def _kill_group(process: Process) -> None:
    # Every command leads a group of its own, which may outlive it.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)

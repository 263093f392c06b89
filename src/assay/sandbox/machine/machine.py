"""A machine: an image with an overlay of its own, in namespaces, whose programs outlive the command that began them."""

import asyncio
import math
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from assay.errors import UsageError
from assay.sandbox import Finished, Limit, SandboxConfig
from assay.sandbox.machine import keeper
from assay.sandbox.machine.base import NO_VARIABLES, TREE_S, AnyMachine, Image, Network, absolute, valid_path
from assay.sandbox.machine.cgroup import cgroups, kills_of, make_cgroup
from assay.sandbox.machine.network import RESOLVER, TOOL, check_network, connect, disconnect
from assay.sandbox.machine.scratch import PARTS, make_scratch, remove_scratch
from assay.sandbox.process import GRACE_S, LimitReached, Output
from assay.sandbox.seccomp import seccomp_filter
from assay.sandbox.watch import watch_tree

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
KEEPER = str(keeper.__file__)
DRAIN_S = 0.2
"""How long a command's output is waited for once it has ended: what it left running may hold it open."""
FILES = 200_000
_NAMESPACES = ("--mount", "--pid", "--ipc", "--uts", "--net")


def as_root() -> list[str]:
    """Returns what a command starts with whose process is root for the files of machines.

    An ordinary user becomes root in a user namespace, with 65,536 users of /etc/subuid beside it.
    """
    return [] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--map-auto"]


def check_machine(network: Network = "none") -> None:
    """Returns where machines with this network can be had. Raises UsageError."""
    if network == "public":
        check_network()
    if missing := [tool for tool in ("unshare", *(() if os.geteuid() == 0 else _MAPPERS)) if not shutil.which(tool)]:
        raise UsageError(f"machines need {' and '.join(missing)}: apt install util-linux uidmap")
    if os.geteuid() == 0 and not _counts_processes() and cgroups() is None:
        raise UsageError(
            "as root, machines need Linux 6.14 or later, whose limit on processes holds for one machine, or cgroups v2 "
            f"that can be written; this is {os.uname().release} without. Run Assay as an ordinary user."
        )
    tried = subprocess.run([*as_root(), "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        raise UsageError(
            f"machines need a user namespace with 65,536 users, and there is none: {tried.stderr.strip()}\n"
            "  See that user namespaces are allowed and that /etc/subuid and /etc/subgid have a line for you "
            "(usermod --add-subuids 200000-265535 --add-subgids 200000-265535 USER), or run as root."
        )


_MAPPERS = ("newuidmap", "newgidmap")


def _counts_processes() -> bool:
    """Whether the limit on process numbers belongs to a namespace; before Linux 6.14 it was the whole system's."""
    numbers = [int(number) for number in re.findall(r"\d+", os.uname().release)[:2]]
    return numbers >= [6, 14]


def limits_here(network: Network = "none") -> str:
    """Returns how the limits of machines are held here, and what connects those that have a network."""
    processes = "a namespace" if _counts_processes() else "the limit of a user"
    limits = (
        "memory, processes and cpus limited by cgroups"
        if cgroups()
        else f"memory measured ten times a second, processes limited by {processes}, cpus by a choice of whole cores"
    )
    return limits + (f", network by {TOOL}" if network == "public" else "")


class Machine(AnyMachine):
    """A machine of this computer's own making: namespaces, and an overlay over the layers of its image."""

    def __init__(
        self,
        image: Image,
        config: SandboxConfig,
        *,
        network: Network = "none",
        cpus: float | None = None,
        keep: Path | None = None,
    ) -> None:
        """`cpus` is how many cores' time all programs together may use; None is no limit.

        `keep` is a folder that gets what is written; without it, that is in memory and gone with the machine.
        """
        super().__init__(image, config, network=network)
        self._cpus = cpus
        self._work = keep
        self._keeper: Process | None = None
        self._child = 0
        self._cgroup: Path | None = None
        self._carrier: Process | None = None
        """What connects the machine to a network."""

    async def start(self) -> None:
        self._made, lock = make_scratch()
        try:
            self._cgroup = make_cgroup(self._made.name, self._config, self._cpus)
            self._keeper = await self._start_keeper(lock)
            self._child = _child(self._keeper.pid)
            if self._network == "public":
                self._carrier = await connect(self._child)
        except BaseException:
            await self.stop()
            raise
        finally:
            os.close(lock)  # the keeper has it too

    async def _start_keeper(self, lock: int) -> Process:
        """Returns the first process of the machine, which has mounted the root."""
        config = self._config
        parts = [self._made / part for part in PARTS]
        for folder in parts:
            folder.mkdir()
        root, work = parts[0], self._work or parts[1]
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connect(ours)
        with theirs, ExitStack() as opened:
            entry = self._cgroup and opened.enter_context(open(self._cgroup / "cgroup.procs", "w"))  # noqa: ASYNC230
            passed = (theirs.fileno(), lock, *([entry.fileno()] if entry else []))
            unshare = [*(as_root() or ["unshare"]), *_NAMESPACES, "--fork", "--kill-child"]
            self._keeper = await asyncio.create_subprocess_exec(
                *(*unshare, "--", sys.executable, "-I", KEEPER, str(theirs.fileno())),
                pass_fds=passed,
                stdin=asyncio.subprocess.DEVNULL,
                env={"PATH": PATH},
                start_new_session=True,
            )
        cores = [] if self._cgroup else _cores(self._cpus)
        await self._ask(
            None,
            layers=[str(layer) for layer in self.image.layers],
            work=str(work),
            folders=[str(folder) for folder in (*filter(None, [self._cgroup]), *parts, self._made)],
            root=str(root),
            disk_mb=0 if self._work else config.disk_mb,
            files=FILES,
            ordinary=os.geteuid() != 0,
            counted=_counts_processes(),
            resolver=RESOLVER if self._network == "public" else "",
            processes=config.processes,
            memory=config.memory_mb * 2**20,
            cpu_s=config.cpu_s,
            cores=cores,
            entry=passed[2] if entry else None,
            path=PATH,
            seccomp=seccomp_filter(pinned=bool(cores)).hex(),
        )
        return self._keeper

    async def exec(
        self,
        command: Sequence[str],
        *,
        timeout_s: float,
        stdin: bytes = b"",
        env: Mapping[str, str] = NO_VARIABLES,
        cwd: str | None = None,
        user: str | int | None = None,
    ) -> Finished:
        started, killed = time.monotonic(), self._kills()
        (inside, feed), *outs = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
        number = self._number()
        done = self._expect(number)
        request = {
            "do": "exec",
            "id": number,
            "argv": [str(word) for word in command],
            "env": {**self.image.env, **env},
            "cwd": cwd or self.image.workdir,
            "user": str(self.image.user if user is None else user),
        }
        try:
            self._send(request, [inside, outs[0][1], outs[1][1]])
        finally:
            for descriptor in (inside, outs[0][1], outs[1][1]):
                os.close(descriptor)
        kept = Output(self._config.output_bytes)
        streams = [await _reader(reading) for reading, _ in outs]
        reading = [asyncio.ensure_future(kept.read(stream, which)) for which, (stream, _) in enumerate(streams)]
        feeding = asyncio.ensure_future(_feed(feed, stdin))
        stopped_by: Limit | None = "time"
        try:
            stopped_by = await self._finish(done, reading, timeout_s)
        finally:
            for task in (*reading, feeding):
                task.cancel()
            await asyncio.wait({*reading, feeding})
            for _, transport in streams:
                transport.close()
            if not done.done():
                self._send({"do": "kill", "id": number, "all": stopped_by == "memory"}, [])
                await asyncio.wait({done}, timeout=GRACE_S)
            self._waiting.pop(number, None)
        if stopped_by is None and self._kills() > killed:
            stopped_by = "memory"
        code = done.result()[0]["code"] if done.done() else -signal.SIGKILL
        return Finished(
            exit_code=code if code >= 0 else 128 - code,
            stdout=bytes(kept.parts[0]),
            stderr=bytes(kept.parts[1]),
            stopped_by="cpu" if code == -signal.SIGXCPU else stopped_by,
            wall_s=round(time.monotonic() - started, 6),
        )

    def _kills(self) -> int:
        """Returns how many programs the kernel has ended for their memory."""
        return kills_of(self._cgroup) if self._cgroup else 0

    async def _finish(
        self, done: asyncio.Future[Any], reading: Sequence[asyncio.Future[None]], timeout_s: float
    ) -> Limit | None:
        """Returns the limit that a command reached; None once it has ended. Raises SandboxError."""
        memory, cpu_s = self._config.memory_mb * 2**20, self._config.cpu_s
        watching = asyncio.ensure_future(watch_tree(self._child, memory_bytes=memory, cpu_s=cpu_s))
        waiting: set[asyncio.Future[Any]] = {done, watching, *reading}
        try:
            async with asyncio.timeout(timeout_s):
                while not done.done():
                    ended, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    for one in ended:
                        one.result()
                for one in (await asyncio.wait(reading, timeout=DRAIN_S))[0]:
                    one.result()
        except LimitReached as reached:
            return reached.limit
        except TimeoutError:
            return "time"
        finally:
            watching.cancel()
            await asyncio.wait({watching})
        return None

    async def share(self, paths: Sequence[str]) -> None:
        await self._ask("share", what=[valid_path(path) for path in paths])

    async def unpack(self, file: Path) -> None:
        """Fills the root with what is in a tar, but for its device files. Raises SandboxError where it is none."""
        await self._ask("unpack", what=absolute(file), timeout_s=TREE_S)

    async def stop(self) -> None:
        self._disconnect()
        keeper, self._keeper = self._keeper, None
        carrier, self._carrier = self._carrier, None
        try:
            if carrier is not None:
                await disconnect(carrier)
            if keeper is not None:
                if keeper.returncode is None:
                    keeper.kill()
                await keeper.wait()
                self._lose("the machine is stopped")
        finally:
            await asyncio.to_thread(remove_scratch, self._made)


def _cores(cpus: float | None) -> list[int]:
    """Returns the numbers of the cores that programs may use; none where these are all that this process has."""
    here = sorted(os.sched_getaffinity(0))
    count = math.ceil(cpus or len(here))
    return random.sample(here, count) if count < len(here) else []


def _child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


async def _reader(descriptor: int) -> tuple[asyncio.StreamReader, asyncio.ReadTransport]:
    stream = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(descriptor, "rb", buffering=0)
    )
    return stream, transport


async def _feed(descriptor: int, content: bytes) -> None:
    with os.fdopen(descriptor, "wb", buffering=0) as file, suppress(OSError):
        os.set_blocking(descriptor, False)
        while content:
            if (written := file.write(content)) is None:  # the pipe is full
                await asyncio.sleep(0.005)
            content = content[written or 0 :]

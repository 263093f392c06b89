"""Programs in namespaces of their own: no network, nothing of the machine but its libraries, a small disk in memory.

A sandbox is a *keeper*, and one bubblewrap for each `exec`. The keeper is a process of ours that holds a mount
namespace with the disk, whose size is thus bounded and which is gone when the keeper is, whatever kills it. Nothing of
what runs in a bubblewrap is trusted: bubblewrap's parent process, outside, reports how a program ended.

As root the programs run under a user id that nobody has; as another user, as that user in a user namespace. Either way
the kernel counts the processes of one sandbox alone against their limit, of Linux 5.14 on.
"""

import asyncio
import os
import secrets
import select
import shutil
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Self

import msgspec

from assay.errors import SandboxError, UsageError
from assay.sandbox import WORK, Finished, Sandbox, SandboxConfig
from assay.sandbox.folder import Folder
from assay.sandbox.listener import listening, received
from assay.sandbox.machine.own import OwnMachines
from assay.sandbox.process import GRACE_S, carry_through
from assay.sandbox.seccomp import seccomp_filter
from assay.sandbox.watch import can_see_children, watch_tree

_TOOLS = ("bwrap", "unshare", "nsenter", "mount", "prlimit", "setpriv", "sh")
_DISK = "/dev/shm"
"""Where the keeper mounts the disk: a folder that every Linux has and that no program's files come from."""
_KEEP = f"""
mount -t tmpfs -o "size=$1,nr_inodes=$2,mode=0711,nosuid,nodev" assay {_DISK} &&
cd {_DISK} && mkdir -m 1777 work tmp shm && mkdir -m 755 empty && echo ready && exec cat
"""
_FILES = 20_000
"""Files and folders on a disk, at most."""
_DESCRIPTORS = 256
_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_READABLE = (
    *(f"/usr/{name}" for name in (*_SYSTEM, "libexec", "include", "share/zoneinfo", "local/bin", "local/lib")),
    "/etc/ld.so.cache",
    "/etc/alternatives",
)
_OURS = (("work",), ("tmp",), ("dev",), ("proc",))
_INSIDE_UID = 1000


class _Status(msgspec.Struct, rename="kebab"):
    """A line that bubblewrap reports about itself."""

    child_pid: int | None = None
    """The first process of the sandbox's, in our numbers. All others end with it."""
    exit_code: int | None = None
    """The program's; None if bubblewrap failed."""


class Bubblewrap(Sandbox):
    """Runs programs in namespaces of their own, without a network and with a small disk in memory."""

    def __init__(self, config: SandboxConfig) -> None:
        for path in map(Path, config.readable):
            if not path.is_absolute() or path.parts[1:2] in _OURS or not path.exists():
                raise UsageError(
                    f"readable of the sandbox: {path}: expected the absolute path of something that is there, and not "
                    "below /work, /tmp, /dev or /proc, which are the sandbox's own"
                )
        self._config = config
        self._root = os.geteuid() == 0
        # 2^30 user ids above all that systems give out, so that no two sandboxes share one.
        self._uid = 2**30 + secrets.randbelow(2**30) if self._root else 0
        self._keeper: Process | None = None
        self._network: Process | None = None
        """Holds the network namespace that programs share, once a server of ours listens in it."""
        self._folder: Folder | None = None

    @staticmethod
    def machines(config: SandboxConfig) -> OwnMachines:
        """Returns what makes machines of an image, of Assay's own as bubblewrap has no overlay."""
        return OwnMachines()

    @staticmethod
    async def check(config: SandboxConfig) -> None:
        if missing := [tool for tool in _TOOLS if shutil.which(tool) is None]:
            raise UsageError(f"bubblewrap sandboxes need {', '.join(missing)}: apt install bubblewrap util-linux mount")
        if not can_see_children():
            raise UsageError("bubblewrap sandboxes need a kernel that tells children (CONFIG_PROC_CHILDREN)")
        await _try_out(msgspec.structs.replace(config, processes=8))

    async def start(self) -> None:
        disk = [str(self._config.disk_mb * 2**20), str(_FILES)]
        namespaces = ["--mount", "--propagation", "private"]
        if not self._root:
            namespaces += ["--user", "--map-root-user"]
        self._keeper = keeper = await asyncio.create_subprocess_exec(
            *("unshare", *namespaces, "sh", "-c", _KEEP, "keeper", *disk),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(),
            start_new_session=True,
        )
        assert keeper.stdout is not None
        assert keeper.stderr is not None
        try:
            async with asyncio.timeout(GRACE_S):
                if await keeper.stdout.readline() != b"ready\n":
                    words = (await keeper.stderr.read()).decode(errors="replace").strip()
                    raise SandboxError(f"a disk for the sandbox could not be had: {words}")
            self._folder = Folder(f"/proc/{keeper.pid}/root{_DISK}/work", self._uid if self._root else None)
        except BaseException:
            await self.stop()
            raise

    async def exec(self, command: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Finished:
        self._opened.unlock()
        memory, cpu_s = self._config.memory_mb * 2**20, self._config.cpu_s
        with _StatusPipe() as status, pipe_of(seccomp_filter()) as filtered:

            async def watch(process: Process) -> None:
                if (root := await status.child(process)) is not None:
                    await watch_tree(root, memory_bytes=memory, cpu_s=cpu_s)

            async def kill(process: Process) -> None:
                # Never bubblewrap itself: killed in its first milliseconds, it leaves a child that waits for ever. With
                # the first process of the sandbox the kernel ends all others, and bubblewrap ends after them.
                if (root := await status.child(process)) is not None:
                    with suppress(ProcessLookupError):
                        if process.returncode is None:
                            os.kill(root, signal.SIGKILL)
                        await _ended(root)

            finished = await carry_through(
                [*self._enter, *self._wrap(status.writer, filtered.fileno()), *self._limit, *command],
                stdin=stdin,
                timeout_s=timeout_s,
                output_bytes=self._config.output_bytes,
                environment=_environment(),
                descriptors=(status.writer, filtered.fileno()),
                watch=watch,
                kill=kill,
            )
            return _checked_result(finished, status.read().exit_code)

    async def listen(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._network = await asyncio.create_subprocess_exec(
                *(*self._enter, "unshare", "--net", "--", *listening(theirs, ["cat"], up=True)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env=_environment(),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
            theirs.close()
            return await received(ours, GRACE_S)

    async def read(self, path: str) -> bytes:
        return await asyncio.to_thread(self._opened.read, path, self._config.disk_mb * 2**20)

    async def write(self, path: str, content: bytes) -> None:
        await asyncio.to_thread(self._opened.write, path, content)

    async def stop(self) -> None:
        if self._folder is not None:
            self._folder.close()
            self._folder = None
        keepers, self._keeper, self._network = (self._network, self._keeper), None, None
        for keeper in filter(None, keepers):
            if keeper.returncode is None:
                keeper.kill()
            await keeper.communicate()

    @property
    def _opened(self) -> Folder:
        if self._folder is None:
            raise SandboxError("the sandbox was not started, or is stopped")
        return self._folder

    @property
    def _enter(self) -> list[str]:
        """Into the keeper's mount namespace, where the disk is, and the network, where there is one."""
        if self._keeper is None:
            raise SandboxError("the sandbox was not started, or is stopped")
        user = [] if self._root else ["--user", "--preserve-credentials"]
        network = [f"--net=/proc/{self._network.pid}/ns/net"] if self._network else []
        return ["nsenter", "--target", str(self._keeper.pid), "--mount", *user, *network, "--"]

    def _wrap(self, status: int, filtered: int) -> list[str]:
        identity = (
            # The two capabilities are given up with the user id, before the program starts.
            ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
            if self._root
            else ["--unshare-user", "--uid", str(_INSIDE_UID), "--gid", str(_INSIDE_UID), "--cap-drop", "ALL"]
        )
        if self._config.private_streams and not self._root:
            # Bubblewrap's own first process would have the program's user, who can open all that it holds.
            identity = [*identity, "--as-pid-1"]
        return [
            *("bwrap", *identity, *([] if self._network else ["--unshare-net"]), *self._mounts),
            *("--json-status-fd", str(status), "--seccomp", str(filtered), "--"),
        ]

    @cached_property
    def _mounts(self) -> list[str]:
        isolation = "--unshare-ipc --unshare-pid --unshare-uts --unshare-cgroup-try --new-session"
        return [
            *(*isolation.split(), "--die-with-parent", "--hostname", "sandbox"),
            *_system(),
            *(part for path in self._config.readable for part in _read_only(path)),
            *("--proc", "/proc", "--dev", "/dev", "--bind", f"{_DISK}/shm", "/dev/shm"),
            *("--bind", f"{_DISK}/tmp", "/tmp", "--bind", f"{_DISK}/work", WORK),
            *("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", WORK, "--clearenv"),
            *("--setenv", "PATH", _path(), "--setenv", "HOME", WORK, "--setenv", "LANG", "C.UTF-8"),
        ]

    @property
    def _limit(self) -> list[str]:
        """What becomes the program, once it has given up what it may not have."""
        memory, disk = self._config.memory_mb * 2**20, self._config.disk_mb * 2**20
        user = ["setpriv", f"--reuid={self._uid}", f"--regid={self._uid}", "--clear-groups"] if self._root else []
        return [
            *(*user, "prlimit", f"--nproc={self._config.processes}", f"--data={memory}", f"--fsize={disk}"),
            *(f"--cpu={self._config.cpu_s}:{self._config.cpu_s + 1}", f"--nofile={_DESCRIPTORS}"),
            *("--core=0", "--memlock=0", f"--stack={8 * 2**20}", "--"),
        ]


class _StatusPipe:
    """A pipe through which bubblewrap reports about itself."""

    def __enter__(self) -> Self:
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._text = b""
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._reader)
        os.close(self.writer)

    def read(self) -> _Status:
        with suppress(BlockingIOError):
            while chunk := os.read(self._reader, 4096):
                self._text += chunk
        child_pid = exit_code = None
        for line in self._text.rpartition(b"\n")[0].splitlines():
            report = msgspec.json.decode(line, type=_Status)
            child_pid, exit_code = child_pid or report.child_pid, report.exit_code
        return _Status(child_pid=child_pid, exit_code=exit_code)

    async def child(self, process: Process) -> int | None:
        """The sandbox's first process, once bubblewrap reports it; None if bubblewrap ended without a report."""
        while (child_pid := self.read().child_pid) is None and process.returncode is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return child_pid


def _checked_result(finished: Finished, exit_code: int | None) -> Finished:
    """The result, where there is one. Raises SandboxError where bubblewrap failed."""
    if exit_code is None and finished.stopped_by is None and finished.exit_code != 126:
        words = finished.stderr[-500:].decode(errors="replace").strip()
        raise SandboxError(f"bubblewrap failed (exit code {finished.exit_code}): {words}")
    if finished.stopped_by is None and exit_code == 128 + signal.SIGXCPU:
        return msgspec.structs.replace(finished, stopped_by="cpu")
    return finished


async def _ended(first: int) -> None:
    """Returns when the first process of a sandbox, and so all of them, are gone: bubblewrap may end just before it."""
    descriptor = os.pidfd_open(first)
    poll = select.poll()  # select() takes no descriptor above 1023
    poll.register(descriptor, select.POLLIN)
    try:
        for _ in range(1000):  # a second, and no longer: its number may be another process's by now
            if poll.poll(0):
                return
            await asyncio.sleep(0.001)
    finally:
        os.close(descriptor)


def pipe_of(content: bytes) -> FileIO:
    """An open pipe that holds so few bytes that it takes them all at once."""
    reader, writer = os.pipe()
    os.write(writer, content)
    os.close(writer)
    return FileIO(reader)


def _system() -> Iterator[str]:
    """The mounts that make the system's libraries and Python readable, and nothing that was installed for Assay."""
    for name in _SYSTEM:
        path = Path("/", name)
        if path.is_symlink():
            yield from ("--symlink", os.readlink(path), str(path))
        elif path.is_dir():
            yield from ("--ro-bind", str(path), str(path))
    prefix = Path(sys.base_prefix)
    readable = list(dict.fromkeys([*_READABLE, str(prefix / "bin"), str(prefix / "lib")]))
    for path in readable:
        if os.path.exists(path):
            yield from _read_only(path)
    for folder in sorted({Path("/usr/lib"), Path("/usr/local/lib"), prefix / "lib"}):
        for packages in folder.glob("python3*/*-packages"):
            yield from ("--ro-bind", f"{_DISK}/empty", str(packages))


def _read_only(path: str) -> Iterator[str]:
    """What makes a path readable at its own place."""
    for parent in reversed(Path(path).parents[:-1]):  # bubblewrap makes them for root alone
        yield from ("--perms", "0755", "--dir", str(parent))
    yield from ("--ro-bind", path, path)


def _environment() -> dict[str, str]:
    """Where our own tools are found, and nothing else: a program can read bubblewrap's environment in /proc/1."""
    return {"PATH": os.environ.get("PATH", os.defpath)}


def _path() -> str:
    """Where programs are found within the sandbox."""
    return ":".join(
        dict.fromkeys([f"{sys.base_prefix}/bin", "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"])
    )


_FORKS = "i=0; while [ $i -lt 40 ]; do sleep 5 & i=$((i+1)); echo $i; done"


async def _try_out(config: SandboxConfig) -> None:
    """Runs a program that starts more processes than it may. Raises UsageError where one is not held."""
    how = "See that user namespaces are allowed, run as root, or use docker."
    try:
        async with Bubblewrap(config) as sandbox:
            finished = await sandbox.exec(["sh", "-c", _FORKS], timeout_s=GRACE_S)
    except SandboxError as error:
        raise UsageError(f"bubblewrap does not work here: {error}\n  {how}") from None
    started = len(finished.stdout.split())
    if not config.processes - 4 <= started <= config.processes:
        raise UsageError(
            f"bubblewrap does not hold programs here: of {config.processes} processes {started} could be started "
            f"({finished.stderr.decode(errors='replace').strip()}); expected Linux 5.14 or later.\n  {how}"
        )

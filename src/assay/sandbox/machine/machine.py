"""A machine: an image with an overlay of its own, in namespaces, whose programs outlive the command that began them."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from assay.errors import SandboxError, UsageError
from assay.sandbox import Finished, Limit, SandboxConfig
from assay.sandbox.listener import PORT
from assay.sandbox.machine import keeper
from assay.sandbox.process import GRACE_S, LimitReached, Output
from assay.sandbox.seccomp import seccomp_filter
from assay.sandbox.watch import watch_tree

Network = Literal["none", "public"]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
KEEPER = str(keeper.__file__)
DRAIN_S = 0.2
"""How long a command's output is waited for once it has ended: what it left running may hold it open."""
FILES = 200_000
_TREE_S = 600.0
NO_VARIABLES: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Image:
    """Layers of files, the lowest first, and how programs run in them."""

    layers: tuple[Path, ...]
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    workdir: str = "/"
    user: str = ""
    name: str = ""


def as_root() -> list[str]:
    """Returns what a command starts with whose process is root for the files of machines.

    An ordinary user becomes root in a user namespace, with 65,536 users of /etc/subuid beside it.
    """
    return [] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--map-auto"]


def check_machine() -> None:
    """Returns where machines can be had. Raises UsageError."""
    if missing := [tool for tool in ("unshare", *(() if os.geteuid() == 0 else _MAPPERS)) if not shutil.which(tool)]:
        raise UsageError(f"machines need {' and '.join(missing)}: apt install util-linux uidmap")
    if os.geteuid() == 0 and not _counts_processes():
        raise UsageError(
            f"as root, machines need Linux 6.14 or later, whose limit on processes holds for one machine; this is "
            f"{os.uname().release}. Run Assay as an ordinary user."
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


class Machine:
    """An async context manager. Raises SandboxError where the machine itself fails."""

    def __init__(
        self, image: Image, config: SandboxConfig, *, network: Network = "none", keep: Path | None = None
    ) -> None:
        """`keep` is a folder that gets what is written; without it, that is in memory and gone with the machine."""
        self.image = image
        self._config = config
        self._network = network
        self._work = keep
        self._keeper: Process | None = None
        self._socket: socket.socket | None = None
        self._waiting: dict[int, asyncio.Future[tuple[dict[str, Any], list[int]]]] = {}
        self._next = 0
        self._root = ""
        self._child = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def start(self) -> None:
        self._made = Path(tempfile.mkdtemp(prefix="assay-machine-"))
        work = self._work or self._made / "work"
        for folder in (work, self._made / "root"):
            folder.mkdir(parents=True, exist_ok=True)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        namespaces = ["--mount", "--pid", "--ipc", "--uts", *(["--net"] if self._network == "none" else [])]
        self._keeper = await asyncio.create_subprocess_exec(
            *(*(as_root() or ["unshare"]), *namespaces, "--fork", "--kill-child", "--", sys.executable, "-I", KEEPER),
            str(theirs.fileno()),
            pass_fds=(theirs.fileno(),),
            stdin=asyncio.subprocess.DEVNULL,
            env={"PATH": PATH},
            start_new_session=True,
        )
        theirs.close()
        ours.setblocking(False)
        self._socket = ours
        asyncio.get_running_loop().add_reader(ours.fileno(), self._hear)
        config = self._config
        try:
            await self._ask(
                None,
                layers=[str(layer) for layer in self.image.layers],
                work=str(work),
                folders=[str(folder) for folder in (self._made / "root", self._made / "work", self._made)],
                root=str(self._made / "root"),
                disk_mb=0 if self._work else config.disk_mb,
                files=FILES,
                ordinary=os.geteuid() != 0,
                counted=_counts_processes(),
                hosts=self._network == "public",
                processes=config.processes,
                memory=config.memory_mb * 2**20,
                cpu_s=config.cpu_s,
                path=PATH,
                seccomp=seccomp_filter().hex(),
            )
            self._child = _child(self._keeper.pid)
            self._root = f"/proc/{self._child}/root{self._made}/root"
        except BaseException:
            await self.stop()
            raise

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
        """Returns how a command ended. What it left running goes on, unless it was stopped by a limit."""
        started = time.monotonic()
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
        code = done.result()[0]["code"] if done.done() else -signal.SIGKILL
        return Finished(
            exit_code=code if code >= 0 else 128 - code,
            stdout=bytes(kept.parts[0]),
            stderr=bytes(kept.parts[1]),
            stopped_by="cpu" if code == -signal.SIGXCPU else stopped_by,
            wall_s=round(time.monotonic() - started, 6),
        )

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
        """Shows files and folders of this machine to later commands, at their own place, read-only."""
        await self._ask("share", what=[_valid_path(path) for path in paths])

    async def listen(self) -> socket.socket:
        """Returns a socket that listens on the machine's own 127.0.0.1, for this process to serve on."""
        _, descriptors = await self._ask("listen", port=PORT)
        return socket.socket(fileno=descriptors[0])

    async def read(self, path: str, at_most: int) -> bytes:
        """Returns a regular file's content. Raises OSError, also for a link and for more bytes."""
        with tempfile.TemporaryFile() as file:
            await self._tree("read", path, at_most, into=file.fileno())
            file.seek(0)
            return file.read()

    async def put(self, source: Path, path: str) -> None:
        """Copies a file, or what is in a folder, from this machine to a path, for root."""
        await self._tree("put", _absolute(source), path)

    async def take(self, path: str, target: Path, *, at_most: int = 2**30) -> None:
        """Copies regular files out of the machine. Raises OSError."""
        await self._tree("take", path, _absolute(target), at_most)

    async def remove(self, path: str) -> None:
        """Removes whatever is at a path."""
        await self._tree("remove", path)

    async def mkdir(self, path: str, user: str | int | None = None) -> None:
        """Makes a folder that belongs to a user. Raises UsageError for one that the image has not."""
        await self._tree("make_folder", path, self.identity(user))

    async def unpack(self, file: Path) -> None:
        """Fills the root with what is in a tar, but for its device files. Raises SandboxError where it is none."""
        await self._ask("unpack", what=_absolute(file), timeout_s=_TREE_S)

    def identity(self, user: str | int | None = None) -> tuple[int, int]:
        """Returns the numbers of a user and its group. Raises UsageError for one that the image has not."""
        try:
            uid, gid, *_ = keeper.identity(self._root, str(self.image.user if user is None else user) or "0")
        except (KeyError, ValueError) as error:
            raise UsageError(f"the image has no user {user}: {error}") from None
        return uid, gid

    async def stop(self) -> None:
        """Ends all that runs in the machine, and leaves nothing of it. Safe to call again."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None
        if self._keeper is not None:
            keeper, self._keeper = self._keeper, None
            if keeper.returncode is None:
                keeper.kill()
            await keeper.wait()
            self._lose("the machine is stopped")
        await asyncio.to_thread(shutil.rmtree, self._made, ignore_errors=True)

    async def _ask(
        self, do: str | None, *, pass_on: Sequence[int] = (), timeout_s: float = GRACE_S, **what: Any
    ) -> tuple[dict[str, Any], list[int]]:
        number = 0 if do is None else self._number()
        answer = self._expect(number)
        self._send(what if do is None else {"do": do, "id": number, **what}, list(pass_on))
        async with asyncio.timeout(timeout_s):
            said, descriptors = await answer
        if said["error"] and "errno" in said:
            raise OSError(said["errno"], said["error"])
        if said["error"]:
            raise SandboxError(f"the machine: {said['error']}")
        return said, descriptors

    async def _tree(self, call: str, *arguments: Any, into: int | None = None) -> None:
        """Has the keeper call a function of `tree`: to an ordinary user, most files of a root belong to others."""
        await self._ask(
            "tree", call=call, arguments=arguments, pass_on=[] if into is None else [into], timeout_s=_TREE_S
        )

    def _number(self) -> int:
        self._next += 1
        return self._next

    def _expect(self, number: int) -> asyncio.Future[tuple[dict[str, Any], list[int]]]:
        self._waiting[number] = asyncio.get_running_loop().create_future()
        return self._waiting[number]

    def _send(self, message: dict[str, Any], descriptors: list[int]) -> None:
        if self._socket is None:
            raise SandboxError("the machine was not started, or is stopped")
        try:
            socket.send_fds(self._socket, [json.dumps(message).encode()], descriptors)
        except OSError as error:
            raise SandboxError(f"the machine can't be reached: {error}") from None

    def _hear(self) -> None:
        assert self._socket is not None
        try:
            message, descriptors, _, _ = socket.recv_fds(self._socket, 2**20, 1)
        except BlockingIOError:
            return
        except OSError:
            message, descriptors = b"", []
        if not message:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._lose("the machine has died")
            return
        said = json.loads(message)
        answer = self._waiting.get(said["id"])
        if answer and not answer.done():
            answer.set_result((said, descriptors))

    def _lose(self, why: str) -> None:
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(SandboxError(why))
                answer.exception()


def _child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _absolute(path: Path) -> str:
    return os.path.abspath(path)


def _valid_path(path: str) -> str:
    """Returns a path that may be shared. Raises UsageError."""
    if not os.path.isabs(path) or not os.path.exists(path) or os.path.normpath(path) == "/":
        raise UsageError(f"{path} can't be shared with a machine; expected the absolute path of what is there")
    return os.path.normpath(path)


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

"""What every machine does: its files, its users and its network, through a process that works on it from outside."""

import asyncio
import json
import os
import socket
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from assay.errors import SandboxError, UsageError
from assay.sandbox import Finished, SandboxConfig
from assay.sandbox.listener import PORT
from assay.sandbox.process import GRACE_S

Network = Literal["none", "public"]
NO_VARIABLES: Mapping[str, str] = {}
TREE_S = 600.0
"""How long a change of a machine's files may take."""


@dataclass(frozen=True, slots=True)
class Image:
    """Layers of files, the lowest first, and how programs run in them."""

    layers: tuple[Path, ...]
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    workdir: str = "/"
    user: str = ""
    name: str = ""
    id: str = ""
    """The digest by which docker or podman knows it, where it is theirs."""

    @property
    def digests(self) -> list[str]:
        """What it is made of."""
        return [self.id] if self.id else [layer.name for layer in self.layers]


class AnyMachine(ABC):
    """An async context manager. Raises SandboxError where the machine itself fails.

    Its keeper is a process that its programs can't reach. A request to it is JSON with an id and has descriptors
    beside it; so has the answer.
    """

    def __init__(self, image: Image, config: SandboxConfig, *, network: Network = "none") -> None:
        self.image = image
        self._config = config
        self._network = network
        self._socket: socket.socket | None = None
        self._waiting: dict[int, asyncio.Future[tuple[dict[str, Any], list[int]]]] = {}
        self._next = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    @abstractmethod
    async def start(self) -> None: ...

    @abstractmethod
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

    @abstractmethod
    async def share(self, paths: Sequence[str]) -> None:
        """Shows files and folders of this machine to later commands, at their own place, read-only."""

    @abstractmethod
    async def stop(self) -> None:
        """Ends all that runs in the machine, and leaves nothing of it. Safe to call again."""

    async def listen(self) -> socket.socket:
        """Returns a socket that listens on the machine's own 127.0.0.1, for this process to serve on."""
        _, descriptors = await self._ask("listen", port=PORT)
        return socket.socket(fileno=descriptors[0])

    async def read(self, path: str, at_most: int, *, end: bool = False) -> bytes:
        """Returns a regular file's content, or its `end`. Raises OSError, also for a link and for more bytes."""
        with tempfile.TemporaryFile() as file:
            await self._tree("read", path, at_most, end, beside=file.fileno())
            file.seek(0)
            return file.read()

    async def put(self, source: Path, path: str) -> None:
        """Copies a file, or what is in a folder, from this machine to a path, for root."""
        folder, name = os.path.split(absolute(source))
        await self._tree("put", name, path, beside=Path(folder))

    async def take(self, path: str, target: Path, *, at_most: int = 2**30) -> None:
        """Copies regular files out of the machine. Raises OSError."""
        folder, name = os.path.split(absolute(target))
        os.makedirs(folder, exist_ok=True)
        await self._tree("take", path, name, at_most, beside=Path(folder))

    async def remove(self, path: str) -> None:
        """Removes whatever is at a path."""
        await self._tree("remove", path)

    async def mkdir(self, path: str, user: str | int | None = None) -> None:
        """Makes a folder that belongs to a user. Raises UsageError for one that the image has not."""
        await self._tree("make_folder", path, await self.identity(user))

    async def identity(self, user: str | int | None = None) -> tuple[int, int]:
        """Returns the numbers of a user and its group. Raises UsageError for one that the image has not."""
        name = str(self.image.user if user is None else user) or "0"
        try:
            said, _ = await self._ask("identity", user=name)
        except SandboxError as error:
            raise UsageError(f"the image has no user {name}: {error}") from None
        return said["uid"], said["gid"]

    async def _tree(self, call: str, *arguments: Any, beside: int | Path | None = None) -> None:
        """Has the keeper call a function of `tree`: to an ordinary user, most files of a root belong to others.

        `beside` is a descriptor, or a folder, that the keeper gets: it may see no other file of this machine.
        """
        opened = os.open(beside, os.O_RDONLY | os.O_DIRECTORY) if isinstance(beside, Path) else None
        passed = [descriptor for descriptor in (opened, beside) if isinstance(descriptor, int)]
        try:
            await self._ask("tree", call=call, arguments=arguments, pass_on=passed, timeout_s=TREE_S)
        finally:
            if opened is not None:
                os.close(opened)

    def _connect(self, ours: socket.socket) -> None:
        """Takes the connection to the keeper."""
        ours.setblocking(False)
        self._socket = ours
        asyncio.get_running_loop().add_reader(ours.fileno(), self._hear)

    def _disconnect(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

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
            raise SandboxError(f"the machine has died, or can't be reached: {error}") from None

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


class Machines(ABC):
    """What makes machines, and their images: the way of one provider."""

    @abstractmethod
    async def check(self, network: Network, bases: Mapping[str, str]) -> str:
        """Returns how limits are held here, for run.json. Raises UsageError where there are no such machines."""

    @abstractmethod
    def check_image(self, source: Path | str, bases: Mapping[str, str]) -> None:
        """Raises UsageError for what can be seen not to build.

        `source` is a folder with a Dockerfile, or an image's name. `bases` says what stands for a name: another name,
        or a tar.
        """

    @abstractmethod
    async def build(self, source: Path | str, bases: Mapping[str, str], *, timeout_s: float = 600.0) -> Image:
        """Returns the image of a source. What was built before is not built again. Raises UsageError."""

    @abstractmethod
    def open(
        self, image: Image, config: SandboxConfig, *, network: Network = "none", cpus: float | None = None
    ) -> AnyMachine:
        """Returns a machine for `async with`. `cpus` is how many cores' time it may use; None is no limit."""


def absolute(path: Path) -> str:
    return os.path.abspath(path)


def valid_path(path: str) -> str:
    """Returns a path that may be shared. Raises UsageError."""
    if not os.path.isabs(path) or not os.path.exists(path) or os.path.normpath(path) == "/":
        raise UsageError(f"{path} can't be shared with a machine; expected the absolute path of what is there")
    return os.path.normpath(path)

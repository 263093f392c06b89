"""Sandboxes: where code that nobody has read runs, and can harm nothing but itself."""

import socket
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Protocol, Self

from msgspec import Meta, Struct, structs

from assay.config import EngineConfig
from assay.errors import UnknownName, UsageError
from assay.plugins import find, plugins

Limit = Literal["time", "cpu", "memory", "output"]

SANDBOXES = "assay.sandboxes"
"""Entry points of the classes that are a `Sandbox`. Each takes a SandboxConfig."""

WORK = "/work"
"""A program's working directory, and its home, in every provider that has a root of its own."""


class SandboxConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where programs run and what they may use. The limits hold for each `exec`, the disk for the whole session."""

    provider: str = "bubblewrap"
    """An entry point of `assay.sandboxes` (see `assay list sandboxes`)."""
    memory_mb: Annotated[int, Meta(ge=16)] = 1024
    """Of all processes together; none alone gets more either."""
    processes: Annotated[int, Meta(ge=4)] = 64
    """Processes and threads at once. The sandbox itself takes up to two of them."""
    cpu_s: Annotated[int, Meta(ge=1)] = 60
    """Seconds of processor time, of all processes together."""
    disk_mb: Annotated[int, Meta(ge=1)] = 256
    """The working directory and /tmp together, which are kept in memory."""
    output_bytes: Annotated[int, Meta(ge=1)] = 2**20
    """Standard output and error together. A program that writes more is stopped."""
    readable: tuple[str, ...] = ()
    """Files and folders of this machine that programs may read beside the system's libraries and Python's own, such
    as a virtual environment. Packages of the interpreter that runs Assay are hidden, as they may hold the answers."""
    image: str = "python:3.12-slim"
    """What a container is made from. It needs `sh`, `cat`, `mkdir`, `sleep` and `kill`."""
    run_args: tuple[str, ...] = ()
    """Further arguments of each `docker run` or `podman run`, as this computer needs them."""
    build_args: tuple[str, ...] = ()
    """Further arguments of each `docker build` or `podman build`."""
    private_streams: bool = False
    """Whether no other process of the sandbox can open a program's standard streams. For users who are not root,
    bubblewrap then makes the program its first process, which ends by no signal that it does not handle."""
    unsafe: bool = False
    """Allows the provider `subprocess`, which shuts nothing off: programs do as the user does who runs Assay."""


class Finished(Struct, frozen=True, kw_only=True):
    """How a program ended. One that was stopped by a limit is a result as much as one that ended by itself."""

    exit_code: int
    """128 + n after signal n; 126 and 127 where the command could not be started, as in a shell."""
    stdout: bytes
    stderr: bytes
    stopped_by: Limit | None = None
    """The limit that ended it. A program that fails because it gets no more memory may end by itself instead."""
    wall_s: float = 0.0

    @property
    def timed_out(self) -> bool:
        return self.stopped_by == "time"

    @property
    def truncated(self) -> bool:
        """Whether there was more output than is kept."""
        return self.stopped_by == "output"


class Sandbox(Protocol):
    """A machine within the machine, for one session: an async context manager that starts and stops it.

    A provider derives from this class, which brings the context manager.
    Programs share a working directory; no process outlives the `exec` that began it. Raises SandboxError where the
    sandbox itself fails, which says nothing about the program.
    """

    async def start(self) -> None: ...

    async def exec(self, command: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Finished:
        """What came of a command, run in the working directory; everything that it left running is killed."""
        ...

    async def listen(self) -> socket.socket:
        """Returns a socket that listens on 127.0.0.1 within the sandbox, for this process to serve on.

        It is all that later commands reach. Called once at most. Raises UsageError where the provider has none.
        """
        raise UsageError(f"a sandbox of {type(self).__name__} reaches no server of this process; use bubblewrap")

    async def read(self, path: str) -> bytes:
        """A regular file's content. Paths are relative to the working directory.

        Raises OSError: FileNotFoundError, or PermissionError for what is not a file within the working directory,
        such as a symbolic link.
        """
        ...

    async def write(self, path: str, content: bytes) -> None:
        """Puts a file in the place of whatever was there; folders on the way are made. Raises OSError as `read`."""
        ...

    async def stop(self) -> None: ...

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()


class Maker(Protocol):
    """A provider's class."""

    def __call__(self, config: SandboxConfig) -> Sandbox: ...

    async def check(self, config: SandboxConfig) -> None:
        """Returns where the provider works on this machine. Raises UsageError."""
        ...


async def check_sandbox(config: SandboxConfig) -> None:
    """Returns where sandboxes can be had. Raises UsageError, saying what is missing and how to get it."""
    await maker_of(config).check(config)


def open_sandbox(config: SandboxConfig) -> Sandbox:
    """A sandbox for `async with`, not started yet. Raises UsageError for `subprocess` without `unsafe`."""
    return maker_of(config)(config)


NO_ENGINES: Mapping[str, EngineConfig] = {}


class Place(Struct, frozen=True):
    """Where a benchmark's sandboxes are opened, whatever it asks for: the machine's matter, not the benchmark's."""

    provider: str
    image: str | None = None
    unsafe: bool = False
    engine: EngineConfig = EngineConfig()
    """What the provider needs on this computer, where it is docker or podman."""

    @classmethod
    def parse(cls, text: str, *, unsafe: bool = False, own: Mapping[str, EngineConfig] = NO_ENGINES) -> Self:
        """A place from `bubblewrap`, `docker`, `docker:IMAGE` or `subprocess`. Raises UsageError.

        `own` is what the user's file says of providers.
        """
        provider, _, image = text.partition(":")
        known = plugins(SANDBOXES)
        if provider not in known or (image and provider in ("bubblewrap", "subprocess")):
            raise UsageError(f"--sandbox {text}: expected {', '.join(known)}, or docker:IMAGE")
        if unknown := sorted(set(own) - set(known)):
            raise UnknownName("sandbox", unknown[0], known, ", in [sandbox.NAME]")
        if provider == "subprocess" and not unsafe:
            raise UsageError(
                "--sandbox subprocess shuts nothing off: programs written by a model would do as you do.\n"
                "  Use bubblewrap (apt install bubblewrap) or docker, or insist with --unsafe."
            )
        return cls(provider, image or None, unsafe, own.get(provider, EngineConfig()))

    def apply(self, config: SandboxConfig) -> SandboxConfig:
        """Returns a sandbox's configuration with this place in it."""
        image = self.image or config.image
        where = {"provider": self.provider, "image": image, "unsafe": self.unsafe, **structs.asdict(self.engine)}
        return structs.replace(config, **where)

    def __str__(self) -> str:
        return f"{self.provider} {self.image or ''}".strip()


def maker_of(config: SandboxConfig) -> Maker:
    """Returns the class of the provider. Raises UsageError for `subprocess` without `unsafe`."""
    if config.provider == "subprocess" and not config.unsafe:
        raise UsageError(
            "the sandbox provider subprocess shuts nothing off: programs written by a model would do as you do.\n"
            "  Use bubblewrap (apt install bubblewrap) or docker, or say unsafe = true."
        )
    return find(SANDBOXES, config.provider)

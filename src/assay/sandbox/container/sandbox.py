"""Programs in a container, one for each session.

Slower than bubblewrap, a few tenths of a second for each `exec`, but with any image, and memory and processes are
counted by the kernel (cgroups). The working directory and /tmp are disks in memory.
"""

import secrets
import signal
from asyncio.subprocess import Process
from collections.abc import Sequence
from typing import ClassVar

import msgspec

from assay.errors import SandboxError
from assay.sandbox import WORK, Finished, Sandbox, SandboxConfig
from assay.sandbox.container.engine import WAIT, Engine, kill_client, words
from assay.sandbox.container.machines import Containers
from assay.sandbox.folder import parts_below

_SPARE = 16
"""Processes beyond what programs may have, so that they can still be killed when they have them all."""
_READ = 'if [ -L "$1" ]; then exit 4; fi; [ -e "$1" ] || exit 3; [ -f "$1" ] || exit 4; exec cat "$1"'
_WRITE = 'mkdir -p "${1%/*}" && rm -f "$1" && exec cat > "$1"'


class Docker(Sandbox):
    """Runs programs in a docker container without a network, made from any image."""

    program: ClassVar[str] = "docker"

    def __init__(self, config: SandboxConfig) -> None:
        self._config = config
        self._engine = Engine.of(self.program, config)
        self._uid = 2**30 + secrets.randbelow(2**30)  # limits on processes count those of a user id
        self._container: str | None = None

    @classmethod
    async def check(cls, config: SandboxConfig) -> None:
        await Engine.of(cls.program, config).check()

    @classmethod
    def machines(cls, config: SandboxConfig) -> Containers:
        """Returns what makes machines of an image."""
        return Containers(Engine.of(cls.program, config), config)

    async def start(self) -> None:
        image = self._config.image
        made = await self._engine.run(["--detach", *options(self._config, self._uid)], image, "sh", "-c", WAIT)
        identity = made.stdout.decode(errors="replace").strip()
        if made.exit_code != 0 or not identity:
            raise SandboxError(f"{self.program} started no container from {image}: {words(made)}")
        self._container = identity

    async def exec(self, command: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Finished:
        container = self._started
        try:
            arguments = ["exec", "--interactive", container, *command]
            limit = self._config.output_bytes
            finished = await self._engine.carry(arguments, stdin, timeout_s, limit, kill=self._kill)
        finally:
            swept = await self._sweep()
        if finished.exit_code == 0 and swept.exit_code == 0:
            return finished
        runs, full = parse_state((await self._engine.ask(*_STATE, container)).stdout)
        if full and finished.stopped_by is None:
            return msgspec.structs.replace(finished, stopped_by="memory")
        if not runs and finished.stopped_by is None:
            raise SandboxError(f"the container has ended: {words(finished)}")
        if finished.stopped_by is None and finished.exit_code == 128 + signal.SIGXCPU:
            return msgspec.structs.replace(finished, stopped_by="cpu")
        return finished

    async def _sweep(self) -> Finished:
        """Kills all programs, with the capabilities of root, whose processes are not counted against theirs."""
        return await self._engine.ask("exec", "--privileged", "--user", "0", self._started, "sh", "-c", "kill -9 -1")

    async def _kill(self, process: Process) -> None:
        # First in the container: ending the client ends nothing there, nor podman's monitor, which holds the output.
        if process.returncode is None:
            await self._sweep()
            await kill_client(process)

    async def read(self, path: str) -> bytes:
        size = self._config.disk_mb * 2**20
        got = await self._engine.ask("exec", self._started, "sh", "-c", _READ, "read", _below(path), output_bytes=size)
        if got.exit_code == 3:
            raise FileNotFoundError(f"{path}: there is no such file")
        if got.exit_code != 0:
            raise PermissionError(f"{path}: expected a regular file of at most {size} bytes ({words(got)})")
        return got.stdout

    async def write(self, path: str, content: bytes) -> None:
        command = ("exec", "--interactive", self._started, "sh", "-c", _WRITE, "write", _below(path))
        put = await self._engine.ask(*command, stdin=content)
        if put.exit_code != 0:
            raise PermissionError(f"{path}: {words(put)}")

    async def stop(self) -> None:
        if self._container is not None:
            container, self._container = self._container, None
            await self._engine.ask("rm", "--force", container)

    @property
    def _started(self) -> str:
        if self._container is None:
            raise SandboxError("the sandbox was not started, or is stopped")
        return self._container


class Podman(Docker):
    """Runs programs in a podman container without a network, made from any image."""

    program = "podman"


def options(config: SandboxConfig, uid: int) -> list[str]:
    """Returns the options of `run` for a container with everything shut off that can be."""
    size = config.disk_mb * 2**20
    memory = f"{config.memory_mb + config.disk_mb}m"
    disk = f"rw,nosuid,nodev,exec,size={size},mode=1777"
    return [
        *("--hostname", "sandbox", "--network", "none", "--ipc", "private", "--read-only", "--cap-drop", "ALL"),
        *("--security-opt", "no-new-privileges", "--user", f"{uid}:{uid}"),
        *("--tmpfs", f"/tmp:{disk}", "--tmpfs", f"{WORK}:{disk}", "--workdir", WORK),
        *("--env", f"HOME={WORK}", "--env", "LANG=C.UTF-8"),
        *(part for path in config.readable for part in ("--volume", f"{path}:{path}:ro")),
        *("--memory", memory, "--memory-swap", memory),
        *("--ulimit", f"nproc={config.processes}", "--pids-limit", str(config.processes + _SPARE)),
        *("--ulimit", f"cpu={config.cpu_s}:{config.cpu_s + 1}", "--ulimit", f"fsize={size}"),
        *("--ulimit", "core=0", "--ulimit", "nofile=256", "--ulimit", "memlock=0"),
    ]


_STATE = ("inspect", "--format", "{{.State.Running}} {{.State.OOMKilled}}")


def _below(path: str) -> str:
    return "/".join([WORK, *parts_below(path)])


def parse_state(text: bytes) -> tuple[bool, bool]:
    """Whether a container runs and whether something in it was killed for memory, from what `inspect` tells."""
    runs, _, full = text.decode(errors="replace").strip().partition(" ")
    return runs == "true", full == "true"

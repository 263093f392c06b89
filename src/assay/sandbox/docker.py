"""Programs in a docker container, one for each session, by docker's command line.

Slower than bubblewrap, a few tenths of a second for each `exec`, but with any image, and memory and processes are
counted by the kernel (cgroups). The working directory and /tmp are disks in memory.
"""

import os
import secrets
import shutil
import signal
from asyncio.subprocess import Process
from collections.abc import Sequence
from typing import Self

import msgspec

from assay.errors import SandboxError, UsageError
from assay.sandbox import WORK, Finished, SandboxConfig
from assay.sandbox.folder import parts_below
from assay.sandbox.process import carry_through

_START_S = 600.0
"""The image may have to be fetched."""
_ASK_S = 60.0
_SPARE = 16
"""Processes beyond what programs may have, so that they can still be killed when they have them all."""
_WAIT = "while :; do sleep 60; done"
"""The first process: it takes in whatever loses its parent, and goes on when its own child is killed with the rest."""
_READ = 'if [ -L "$1" ]; then exit 4; fi; [ -e "$1" ] || exit 3; [ -f "$1" ] || exit 4; exec cat "$1"'
_WRITE = 'mkdir -p "${1%/*}" && rm -f "$1" && exec cat > "$1"'


class Docker:
    """Runs code in a Docker container of any image."""

    def __init__(self, config: SandboxConfig) -> None:
        self._config = config
        self._uid = 2**30 + secrets.randbelow(2**30)  # limits on processes count those of a user id
        self._container: str | None = None

    @staticmethod
    async def check(config: SandboxConfig) -> None:
        if shutil.which("docker") is None:
            raise UsageError("there is no docker; install it, or use bubblewrap (apt install bubblewrap)")
        asked = await _docker("version", "--format", "{{.Server.Version}}")
        if asked.exit_code != 0:
            raise UsageError(f"docker does not answer: {_words(asked)}\n  Start it (systemctl start docker).")

    async def start(self) -> None:
        made = await _docker(*start_arguments(self._config, self._uid), timeout_s=_START_S)
        identity = made.stdout.decode(errors="replace").strip()
        if made.exit_code != 0 or not identity:
            raise SandboxError(f"docker started no container from {self._config.image}: {_words(made)}")
        self._container = identity

    async def exec(self, command: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Finished:
        container = self._started
        try:
            finished = await carry_through(
                ["docker", "exec", "--interactive", container, *command],
                stdin=stdin,
                timeout_s=timeout_s,
                output_bytes=self._config.output_bytes,
                environment=_environment(),
                kill=_kill,
            )
        finally:
            # Ending docker's client ends nothing in the container. With the capabilities of root, whose processes are
            # not counted against the program's.
            sweep = ("exec", "--privileged", "--user", "0", container, "sh", "-c", "kill -9 -1")
            swept = await _docker(*sweep)
        if finished.exit_code == 0 and swept.exit_code == 0:
            return finished
        runs, full = parse_state((await _docker(*_STATE, container)).stdout)
        if full and finished.stopped_by is None:
            return msgspec.structs.replace(finished, stopped_by="memory")
        if not runs and finished.stopped_by is None:
            raise SandboxError(f"the container has ended: {_words(finished)}")
        if finished.stopped_by is None and finished.exit_code == 128 + signal.SIGXCPU:
            return msgspec.structs.replace(finished, stopped_by="cpu")
        return finished

    async def read(self, path: str) -> bytes:
        size = self._config.disk_mb * 2**20
        got = await _docker("exec", self._started, "sh", "-c", _READ, "read", _below(path), output_bytes=size)
        if got.exit_code == 3:
            raise FileNotFoundError(f"{path}: there is no such file")
        if got.exit_code != 0:
            raise PermissionError(f"{path}: expected a regular file of at most {size} bytes ({_words(got)})")
        return got.stdout

    async def write(self, path: str, content: bytes) -> None:
        command = ("exec", "--interactive", self._started, "sh", "-c", _WRITE, "write", _below(path))
        put = await _docker(*command, stdin=content)
        if put.exit_code != 0:
            raise PermissionError(f"{path}: {_words(put)}")

    async def stop(self) -> None:
        if self._container is not None:
            container, self._container = self._container, None
            await _docker("rm", "--force", container)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    @property
    def _started(self) -> str:
        if self._container is None:
            raise SandboxError("the sandbox was not started, or is stopped")
        return self._container


def start_arguments(config: SandboxConfig, uid: int) -> list[str]:
    """What docker is told, to start a container that shuts off everything that it can."""
    size = config.disk_mb * 2**20
    memory = f"{config.memory_mb + config.disk_mb}m"
    disk = f"rw,nosuid,nodev,exec,size={size},mode=1777"
    return [
        *("run", "--detach", "--rm", "--label", "assay", "--hostname", "sandbox"),
        *("--network", "none", "--ipc", "private", "--read-only", "--cap-drop", "ALL"),
        *("--security-opt", "no-new-privileges", "--user", f"{uid}:{uid}"),
        *("--tmpfs", f"/tmp:{disk}", "--tmpfs", f"{WORK}:{disk}", "--workdir", WORK),
        *("--env", f"HOME={WORK}", "--env", "LANG=C.UTF-8"),
        *(part for path in config.readable for part in ("--volume", f"{path}:{path}:ro")),
        *("--memory", memory, "--memory-swap", memory),
        *("--ulimit", f"nproc={config.processes}", "--pids-limit", str(config.processes + _SPARE)),
        *("--ulimit", f"cpu={config.cpu_s}:{config.cpu_s + 1}", "--ulimit", f"fsize={size}"),
        *("--ulimit", "core=0", "--ulimit", "nofile=256", "--ulimit", "memlock=0"),
        *(config.image, "sh", "-c", _WAIT),
    ]


_STATE = ("inspect", "--format", "{{.State.Running}} {{.State.OOMKilled}}")


def _below(path: str) -> str:
    return "/".join([WORK, *parts_below(path)])


def parse_state(text: bytes) -> tuple[bool, bool]:
    """Whether a container runs and whether something in it was killed for memory, from what `inspect` tells."""
    runs, _, full = text.decode(errors="replace").strip().partition(" ")
    return runs == "true", full == "true"


async def _docker(
    *arguments: str, stdin: bytes = b"", timeout_s: float = _ASK_S, output_bytes: int = 2**20
) -> Finished:
    return await carry_through(
        ["docker", *arguments],
        stdin=stdin,
        timeout_s=timeout_s,
        output_bytes=output_bytes,
        environment=_environment(),
        kill=_kill,
    )


def _environment() -> dict[str, str]:
    """What docker's client reads; nothing of it reaches a container."""
    return dict(os.environ)


async def _kill(process: Process) -> None:
    if process.returncode is None:
        process.kill()


def _words(finished: Finished) -> str:
    return (finished.stderr or finished.stdout)[-500:].decode(errors="replace").strip() or "it said nothing"

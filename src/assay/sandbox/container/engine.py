"""docker and podman, whose command lines are nearly one: what is asked of them, and what is left of killed runs."""

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
from asyncio.subprocess import Process
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from assay.errors import UsageError
from assay.sandbox import Finished, SandboxConfig
from assay.sandbox.process import Kill, Watch, carry_through, unwatched

START_S = 600.0
"""How long a container may take to start: its image may have to be fetched."""
ASK_S = 60.0
OWNER = "assay.owner"
"""The label of a container that names the process that made it."""


WAIT = "while :; do sleep 600; done"
"""The first process: it takes in whatever loses its parent, and goes on when its own child is killed with the rest."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A program that makes containers."""

    program: str
    run_args: tuple[str, ...] = ()
    """Further arguments of each `run`, for what this computer needs."""
    build_args: tuple[str, ...] = ()

    @classmethod
    def of(cls, program: str, config: SandboxConfig) -> Self:
        return cls(program, config.run_args, config.build_args)

    async def ask(
        self, *arguments: str, stdin: bytes = b"", timeout_s: float = ASK_S, output_bytes: int = 2**20
    ) -> Finished:
        """Returns how a command of the program ended."""
        return await self.carry(arguments, stdin, timeout_s, output_bytes)

    async def carry(
        self,
        arguments: Iterable[str],
        stdin: bytes,
        timeout_s: float,
        output_bytes: int,
        *,
        kill: Kill | None = None,
        watch: Watch = unwatched,
    ) -> Finished:
        return await carry_through(
            [self.program, *arguments],
            stdin=stdin,
            timeout_s=timeout_s,
            output_bytes=output_bytes,
            environment=dict(os.environ),  # of the program alone; nothing of it reaches a container
            cwd=tempfile.gettempdir(),  # where podman's monitor leaves a file once memory runs out
            kill=kill or kill_client,
            watch=watch,
        )

    async def run(self, options: Iterable[str], image: str, program: str, *arguments: str) -> Finished:
        """Returns how a `run` ended. The container is gone when it ends, and its owner can be seen.

        In a thread: what podman leaves running inherits the other ends of uvloop's pipes, which then never end.
        """
        label = f"{OWNER}={_owner(os.getpid())}"
        command = [self.program, "run", "--rm", "--label", label, *options, *self.run_args]
        command += ["--entrypoint", program, image, *arguments]
        running = asyncio.ensure_future(asyncio.to_thread(_run, command))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait({running})  # what has begun to start can be removed once it has started
            raise

    def network_of(self, name: str, first: int) -> str:
        """Returns what `--network` takes to share a container's, whose first process is given.

        podman removes no container that shares its network with another, unless by way of the process.
        """
        return f"ns:/proc/{first}/ns/net" if self.program == "podman" else f"container:{name}"

    async def check(self) -> str:
        """Returns the program's name and version. Raises UsageError where it does not work here."""
        if shutil.which(self.program) is None:
            raise UsageError(f"there is no {self.program}; install it, or use bubblewrap (apt install bubblewrap)")
        asked = await self.ask("version", "--format", "{{.Server.Version}}")
        if asked.exit_code != 0:
            remedy = "" if self.program == "podman" else "\n  Start it (systemctl start docker)."
            raise UsageError(f"{self.program} does not answer: {words(asked)}{remedy}")
        return f"{self.program} {asked.stdout.decode(errors='replace').strip()}"

    async def has_limits(self) -> bool:
        """Whether the engine limits memory, processes and cpus here: to a user who is not root, cgroups v1 do not."""
        form = "{{.Host.CgroupsVersion}} {{not .Host.Security.Rootless}}"
        if self.program != "podman":
            form = "{{.MemoryLimit}} {{.PidsLimit}} {{.CPUCfsQuota}}"
        said = (await self.ask("info", "--format", form)).stdout.decode(errors="replace").split()
        return said[:1] == ["v2"] or (said[1:2] == ["true"] and "false" not in said)

    async def remove_leftovers(self) -> None:
        """Removes the containers of processes of this computer that are no more."""
        listed = await self.ask("ps", "--all", "--quiet", "--filter", f"label={OWNER}")
        if not (names := listed.stdout.decode(errors="replace").split()):
            return
        looked = await self.ask("inspect", "--format", f'{{{{.Id}}}} {{{{index .Config.Labels "{OWNER}"}}}}', *names)
        lines = [line.split() for line in looked.stdout.decode(errors="replace").splitlines()]
        if dead := [line[0] for line in lines if len(line) == 2 and _is_dead(line[1])]:
            await self.ask("rm", "--force", "--volumes", *dead)


def _run(command: list[str]) -> Finished:
    try:
        ran = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=START_S,
            check=False,
            cwd=tempfile.gettempdir(),
        )
    except subprocess.TimeoutExpired as late:
        return Finished(exit_code=124, stdout=late.stdout or b"", stderr=late.stderr or b"", stopped_by="time")
    return Finished(exit_code=ran.returncode, stdout=ran.stdout, stderr=ran.stderr)


async def kill_client(process: Process) -> None:
    if process.returncode is None:
        process.kill()


def words(finished: Finished) -> str:
    """Returns the end of what a program said."""
    return (finished.stderr or finished.stdout)[-2000:].decode(errors="replace").strip() or "it said nothing"


def _owner(pid: int) -> str:
    """Returns what names a process of this computer, and no later one with its number."""
    return f"{socket.gethostname()}:{pid}:{_began(pid)}"


def _began(pid: int) -> str:
    try:
        # The name, in parentheses, may hold anything. The start is field 22 of proc(5).
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _is_dead(owner: str) -> bool:
    host, _, rest = owner.partition(":")
    pid, _, began = rest.partition(":")
    return host == socket.gethostname() and pid.isdigit() and _began(int(pid)) != began

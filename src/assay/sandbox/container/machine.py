"""A machine that is a container of docker or podman, with the same interface as those of Assay's own making."""

import asyncio
import secrets
import signal
import socket
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import structs

from assay.errors import SandboxError
from assay.sandbox import Finished, SandboxConfig
from assay.sandbox.container.engine import WAIT, Engine, kill_client, words
from assay.sandbox.machine.base import NO_VARIABLES, AnyMachine, Image, Network, valid_path
from assay.sandbox.process import GRACE_S, LimitReached

KEEPER_S = 60.0
"""How long the keeper may take to answer for the first time."""
CAPABILITIES = (
    *("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "NET_BIND_SERVICE", "SYS_CHROOT"),
)
"""What root may do: as in the other machines."""
MARK = "ASSAY_COMMAND"
"""A variable of each command's, by which its processes are found."""
LOOK_S = 0.3
HERE = Path(__file__).parents[1]
INSIDE = "/assay"
PYTHON = str(Path(sys.executable).resolve())
_OURS = ("/usr", "/lib", "/lib32", "/lib64", "/libx32", "/etc/ld.so.cache", "/nix/store", sys.base_prefix)
OURS = [path for path in _OURS if Path(path).exists()]
"""What this computer's Python is made of: its keeper sees it, in a container that has no other files."""
EMPTY = "assay/empty:1"
"""An image without files: nothing of a task's own may run where a keeper does."""


class Container(AnyMachine):
    """A machine in a container, and its keeper in a second one."""

    def __init__(
        self,
        engine: Engine,
        image: Image,
        config: SandboxConfig,
        *,
        network: Network = "none",
        cpus: float | None = None,
    ) -> None:
        super().__init__(image, config, network=network)
        self._engine = engine
        self._cpus = cpus
        self._name = f"assay-{secrets.token_hex(8)}"
        self._made = False
        self._child = 0

    async def start(self) -> None:
        try:
            self._made = True
            options = ["--detach", "--name", self._name, *self._options()]
            await self._run(options, self.image.id, "sh", "-c", WAIT, self._name)
            looked = await self._engine.ask("inspect", "--format", "{{.State.Pid}}", self._name)
            self._child = int(looked.stdout or 0)
            await self._start_keeper()
        except BaseException:
            await self.stop()
            raise

    async def _start_keeper(self) -> None:
        await make_empty(self._engine)
        with (
            tempfile.TemporaryDirectory(prefix="assay-container-") as folder,
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as place,
        ):
            place.bind(f"{folder}/socket")
            place.listen(1)
            place.setblocking(False)
            options = ["--detach", "--name", f"{self._name}-keeper", "--cap-add", "SYS_PTRACE"]
            options += ["--volume", f"{folder}:{INSIDE}/run"]
            await self._run_beside(options, f"{INSIDE}/run/socket")
            try:
                async with asyncio.timeout(KEEPER_S):
                    ours, _ = await asyncio.get_running_loop().sock_accept(place)
                    answer = self._expect(0)
                    self._connect(ours)
                    await answer
            except TimeoutError:
                program = self._engine.program
                raise SandboxError(f"no keeper came to the machine: is {program} on another computer?") from None

    def _options(self) -> list[str]:
        """Returns the options of `run` for a container with everything shut off that a task does not need."""
        config = self._config
        memory = f"{config.memory_mb}m"
        return [
            *("--hostname", "machine", "--ipc", "private", "--no-healthcheck", "--stop-signal", "KILL"),
            *(("--network", "none") if self._network == "none" else ()),
            *("--user", "0:0", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
            *(part for name in CAPABILITIES for part in ("--cap-add", name)),
            *("--memory", memory, "--memory-swap", memory, "--pids-limit", str(config.processes)),
            *(("--cpus", f"{self._cpus:g}") if self._cpus else ()),
            *("--ulimit", "core=0", "--ulimit", f"cpu={config.cpu_s}:{config.cpu_s + 1}"),
            *("--ulimit", f"fsize={config.disk_mb * 2**20}"),
        ]

    async def _run_beside(self, options: Iterable[str], place: str, *arguments: str) -> Finished:
        """Runs the program that works on the machine from outside of it, in a container of its own."""
        mounts = dict(zip(OURS, OURS, strict=True)) | {str(HERE): f"{INSIDE}/sandbox"}
        ours = ["--pid", "host", "--network", self._engine.network_of(self._name, self._child)]
        ours += ["--security-opt", "label=disable"]
        ours += [part for path, at in mounts.items() for part in ("--volume", f"{path}:{at}:ro")]
        program = f"{INSIDE}/sandbox/container/beside.py"
        return await self._run(
            [*ours, *options], EMPTY, PYTHON, "-I", "-B", program, self._name, str(self._child), place, *arguments
        )

    async def _run(self, options: Iterable[str], image: str, program: str, *arguments: str) -> Finished:
        ran = await self._engine.run(options, image, program, *arguments)
        if ran.exit_code or ran.stopped_by:
            raise SandboxError(f"{self._engine.program} started no machine of {self.image.name}: {words(ran)}")
        return ran

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
        mark, before = f"{MARK}={self._number()}", await self._kills()
        variables = [f"{name}={value}" for name, value in env.items()] + [mark]
        arguments = ["exec", "--interactive", "--workdir", cwd or self.image.workdir]
        arguments += ["--user", str(self.image.user if user is None else user) or "0"]
        arguments += [part for pair in variables for part in ("--env", pair)]
        arguments += [self._name, *(str(word) for word in command)]
        finished = await self._engine.carry(
            arguments,
            stdin,
            timeout_s,
            self._config.output_bytes,
            kill=lambda process: self._end(process, mark),
            watch=lambda _: self._watch(before),
        )
        if finished.exit_code and not finished.stopped_by:
            if await self._kills() > before:  # raises where the machine has died
                finished = structs.replace(finished, stopped_by="memory")
            elif finished.exit_code == 128 + signal.SIGXCPU:
                finished = structs.replace(finished, stopped_by="cpu")
        if finished.stopped_by == "memory":
            await self._ask("kill", mark="")
        return finished

    async def _end(self, process: Process, mark: str) -> None:
        """Kills a command in the machine, and then the client that waits for it. One that just starts is waited for."""
        with suppress(SandboxError, TimeoutError):
            async with asyncio.timeout(GRACE_S / 2):
                while process.returncode is None:
                    await self._ask("kill", mark=mark)
                    with suppress(TimeoutError):
                        await asyncio.wait_for(process.wait(), LOOK_S)
        await kill_client(process)

    async def _watch(self, before: int) -> None:
        """Raises LimitReached once the kernel has killed more processes of the machine for want of memory."""
        with suppress(SandboxError):  # a machine that dies ends the command too
            while True:
                await asyncio.sleep(LOOK_S)
                if await self._kills() > before:
                    raise LimitReached("memory")

    async def _kills(self) -> int:
        """Returns how many processes of the machine were killed for want of memory."""
        said, _ = await self._ask("kills")
        return said["count"]

    async def share(self, paths: Sequence[str]) -> None:
        valid = [valid_path(path) for path in paths]
        options = ["--privileged", *(part for path in valid for part in ("--volume", f"{path}:{path}:ro"))]
        ran = await self._run_beside(options, "share", *valid)
        if ran.stdout.strip() != b"shared":
            raise SandboxError(f"the machine: {words(ran)}")

    async def stop(self) -> None:
        if self._made:
            self._made = False
            # One by one: podman removes none where one is not there.
            for name in (f"{self._name}-keeper", self._name):
                await self._engine.ask("rm", "--force", "--volumes", name)
        self._disconnect()
        self._lose("the machine is stopped")


async def make_empty(engine: Engine) -> None:
    """Returns once there is an image without files."""
    if (await engine.ask("image", "inspect", "--format", "{{.Id}}", EMPTY)).exit_code == 0:
        return
    made = await engine.ask("import", "-", EMPTY, stdin=bytes(10240))  # a tar without members
    if made.exit_code:
        raise SandboxError(f"{engine.program} made no empty image: {words(made)}")

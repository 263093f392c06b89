"""What makes machines that are containers."""

from collections.abc import Mapping
from pathlib import Path

from assay.errors import UsageError
from assay.sandbox import SandboxConfig
from assay.sandbox.container.engine import START_S, Engine
from assay.sandbox.container.image import build
from assay.sandbox.container.machine import Container
from assay.sandbox.machine.base import Image, Machines, Network


class Containers(Machines):
    """Machines of one engine, whose images it builds itself."""

    def __init__(self, engine: Engine, config: SandboxConfig) -> None:
        self._engine = engine
        self._image = config.image

    async def check(self, network: Network, bases: Mapping[str, str]) -> str:
        if self._image != SandboxConfig().image:
            program = self._engine.program
            raise UsageError(
                f"--sandbox {program}:{self._image}: each task says what its machine is made of; expected --sandbox "
                f"{program}, and --image NAME={self._image} where that stands for the image NAME"
            )
        version = await self._engine.check()
        await self._engine.remove_leftovers()
        known = [f"{name} is {(await build(self._engine, name, bases, START_S)).id}" for name in bases]
        limited = "limited by it" if await self._engine.has_limits() else "not limited, as it can't here"
        limits = f"memory, processes and cpus {limited}, the disk only in the size of one file"
        return ", ".join([version, limits, *known])

    def check_image(self, source: Path | str, bases: Mapping[str, str]) -> None:
        """Does nothing: the engine builds any Dockerfile."""

    async def build(self, source: Path | str, bases: Mapping[str, str], *, timeout_s: float = 600.0) -> Image:
        return await build(self._engine, source, bases, timeout_s)

    def open(
        self, image: Image, config: SandboxConfig, *, network: Network = "none", cpus: float | None = None
    ) -> Container:
        return Container(self._engine, image, config, network=network, cpus=cpus)

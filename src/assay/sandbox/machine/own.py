"""What makes machines of Assay's own: namespaces over layers, with nothing else installed."""

from collections.abc import Mapping
from pathlib import Path

from assay.sandbox import SandboxConfig
from assay.sandbox.machine.base import Image, Machines, Network
from assay.sandbox.machine.image import build_image, check_image
from assay.sandbox.machine.machine import Machine, check_machine, limits_here
from assay.sandbox.machine.scratch import remove_leftovers


class OwnMachines(Machines):
    """Machines that need neither docker nor podman."""

    async def check(self, network: Network, bases: Mapping[str, str]) -> str:
        check_machine(network)
        remove_leftovers()
        return f"machines: {limits_here(network)}"

    def check_image(self, source: Path | str, bases: Mapping[str, str]) -> None:
        check_image(source, bases)

    async def build(self, source: Path | str, bases: Mapping[str, str], *, timeout_s: float = 600.0) -> Image:
        return await build_image(source, bases, timeout_s=timeout_s)

    def open(
        self, image: Image, config: SandboxConfig, *, network: Network = "none", cpus: float | None = None
    ) -> Machine:
        return Machine(image, config, network=network, cpus=cpus)

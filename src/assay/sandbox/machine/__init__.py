"""Machines: sandboxes with a root file system of their own, made of an image, in which services keep running."""

from assay.errors import UsageError
from assay.sandbox import SandboxConfig, maker_of
from assay.sandbox.machine.base import AnyMachine, Image, Machines, Network
from assay.sandbox.machine.image import build_image, check_image
from assay.sandbox.machine.machine import Machine, check_machine

__all__ = [
    "AnyMachine",
    "Image",
    "Machine",
    "Machines",
    "Network",
    "build_image",
    "check_image",
    "check_machine",
    "machines_of",
]


def machines_of(config: SandboxConfig) -> Machines:
    """Returns what makes the machines of a provider. Raises UsageError where it makes none."""
    made = getattr(maker_of(config), "machines", None)
    if made is None:
        expected = "bubblewrap (for machines of Assay's own), docker or podman"
        raise UsageError(f"--sandbox {config.provider}: it makes no machines of images; expected {expected}")
    return made(config)

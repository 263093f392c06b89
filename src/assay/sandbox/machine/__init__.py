"""Machines: sandboxes with a root file system of their own, made of an image, in which services keep running."""

from assay.sandbox.machine.base import AnyMachine, Image, Network
from assay.sandbox.machine.image import build_image, check_image
from assay.sandbox.machine.machine import Machine, check_machine, limits_here
from assay.sandbox.machine.scratch import remove_leftovers

__all__ = [
    "AnyMachine",
    "Image",
    "Machine",
    "Network",
    "build_image",
    "check_image",
    "check_machine",
    "limits_here",
    "remove_leftovers",
]

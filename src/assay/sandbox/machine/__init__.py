"""Machines: sandboxes with a root of their own, which an image holds, and in which services live on."""

from assay.sandbox.machine.image import build_image, check_image
from assay.sandbox.machine.machine import Image, Machine, Network, check_machine

__all__ = ["Image", "Machine", "Network", "build_image", "check_image", "check_machine"]

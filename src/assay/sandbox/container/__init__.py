"""Containers: sandboxes and machines that docker or podman makes, by its command line."""

from assay.sandbox.container.sandbox import Docker, Podman

__all__ = ["Docker", "Podman"]

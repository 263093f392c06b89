"""docker and podman, where a test may use them: those of the file that ASSAY_CONTAINERS names."""

import os
from pathlib import Path

import pytest

from assay.config import NO_FILE, EngineConfig, assay_toml
from assay.sandbox import Place, SandboxConfig
from assay.sandbox.machine import Machines, machines_of

FILE = os.environ.get("ASSAY_CONTAINERS", "")
ENGINES: dict[str, EngineConfig] = (assay_toml(Path(FILE)) if FILE else NO_FILE).sandbox
OWN = "bubblewrap"
"""The provider of machines of Assay's own making."""
KINDS = [OWN, *(pytest.param(name, marks=pytest.mark.containers) for name in ENGINES or ["podman"])]


def machines_here(kind: str) -> Machines:
    """What makes machines of a kind; the test is skipped where there is none."""
    if kind != OWN and kind not in ENGINES:
        pytest.skip("ASSAY_CONTAINERS names no assay.toml with a table [sandbox.podman] or [sandbox.docker]")
    return machines_of(Place.parse(kind, own=ENGINES).apply(SandboxConfig()))

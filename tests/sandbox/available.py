"""Whether this machine has what the sandbox tests need."""

import asyncio

import pytest

from assay.errors import UsageError
from assay.sandbox import SandboxConfig, check_sandbox
from assay.sandbox.machine import check_machine
from assay.sandbox.machine.cgroup import cgroups


def machines_missing() -> str:
    """Why there are no machines here; nothing where there are."""
    try:
        check_machine()
    except UsageError as error:
        return str(error)
    return ""


def missing(config: SandboxConfig) -> str:
    """Why there are no such sandboxes here; nothing where there are."""
    try:
        asyncio.run(check_sandbox(config))
    except UsageError as error:
        return str(error)
    return ""


BUBBLEWRAP_MISSING = missing(SandboxConfig())
needs_bubblewrap = pytest.mark.skipif(bool(BUBBLEWRAP_MISSING), reason=BUBBLEWRAP_MISSING or "it is there")
MACHINES_MISSING = machines_missing()
needs_machines = pytest.mark.skipif(bool(MACHINES_MISSING), reason=MACHINES_MISSING or "they are there")
needs_cgroups = pytest.mark.skipif(cgroups() is None, reason="no cgroups v2 can be made here")

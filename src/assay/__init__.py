"""Assay: a gym for LLM benchmarks that computes whether a benchmark can be trusted.

Example::

    import assay

    run = await assay.run("arithmetic", model="nano-thinking", limit=50)
    run.score, run.interval, run.failures

`assay.sync` has the same functions where there is no `await`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assay import sync as sync
    from assay.agent import Agent as Agent
    from assay.benchmark import Benchmark as Benchmark
    from assay.benchmark import Environment as Environment
    from assay.benchmark import Session as Session
    from assay.config import ModelConfig as ModelConfig
    from assay.config import Suite as Suite
    from assay.errors import AssayError as AssayError
    from assay.errors import UsageError as UsageError
    from assay.fidelity.certificate.validity import Validity as Validity
    from assay.fidelity.compare.comparison import Comparison as Comparison
    from assay.fidelity.schema.profile import Checked as Checked
    from assay.library.collecting import rollouts as rollouts
    from assay.library.collecting import run as run
    from assay.library.evidence import check as check
    from assay.library.evidence import compare as compare
    from assay.library.evidence import verify as verify
    from assay.library.names import load as load
    from assay.library.profile import Profile as Profile
    from assay.library.profile import profile as profile
    from assay.library.run import Run as Run
    from assay.library.sweep import Sweep as Sweep
    from assay.library.sweep import sweep as sweep
    from assay.model import Model as Model
    from assay.types import Failure as Failure
    from assay.types import Message as Message
    from assay.types import Request as Request
    from assay.types import Response as Response
    from assay.types import Rollout as Rollout
    from assay.types import RolloutLimits as RolloutLimits
    from assay.types import Sampling as Sampling
    from assay.types import Score as Score
    from assay.types import Task as Task
    from assay.types import Text as Text
    from assay.types import Turn as Turn

_HOMES = {
    "assay.agent": ("Agent",),
    "assay.benchmark": ("Benchmark", "Environment", "Session"),
    "assay.config": ("ModelConfig", "Suite"),
    "assay.errors": ("AssayError", "UsageError"),
    "assay.fidelity.certificate.validity": ("Validity",),
    "assay.fidelity.compare.comparison": ("Comparison",),
    "assay.fidelity.schema.profile": ("Checked",),
    "assay.library.collecting": ("rollouts", "run"),
    "assay.library.evidence": ("check", "compare", "verify"),
    "assay.library.names": ("load",),
    "assay.library.profile": ("Profile", "profile"),
    "assay.library.run": ("Run",),
    "assay.library.sweep": ("Sweep", "sweep"),
    "assay.model": ("Model",),
    "assay.types": (
        *("Failure", "Message", "Request", "Response", "Rollout", "RolloutLimits", "Sampling", "Score", "Task"),
        *("Text", "Turn"),
    ),
}
"""The public names by module. Each is imported at its first use, so `import assay` is cheap."""
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Agent",
    "AssayError",
    "Benchmark",
    "Checked",
    "Comparison",
    "Environment",
    "Failure",
    "Message",
    "Model",
    "ModelConfig",
    "Profile",
    "Request",
    "Response",
    "Rollout",
    "RolloutLimits",
    "Run",
    "Sampling",
    "Score",
    "Session",
    "Suite",
    "Sweep",
    "Task",
    "Text",
    "Turn",
    "UsageError",
    "Validity",
    "check",
    "compare",
    "load",
    "profile",
    "rollouts",
    "run",
    "sweep",
    "sync",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name == "sync":
        return importlib.import_module("assay.sync")
    if name not in _HOME:
        raise AttributeError(f"module 'assay' has no attribute {name!r}")
    found = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

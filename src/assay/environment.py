"""The old name of `assay.benchmark`, kept for one version: imports from it work, and warn."""

import sys
import warnings
from importlib import import_module

from assay.benchmark import Benchmark, Call, Environment, Replies, Session

__all__ = ["Benchmark", "Call", "Environment", "Replies", "Session"]

warnings.warn("assay.environment is now assay.benchmark; change the import", DeprecationWarning, stacklevel=2)

_VERIFIERS = ("choice", "code", "integer", "judge", "maths", "number", "schema", "state", "text")
for _name in ("catalog", "data", "reference", "tools", "verify", *(f"verify.{name}" for name in _VERIFIERS)):
    sys.modules[f"{__name__}.{_name}"] = import_module(f"assay.benchmark.{_name}")

"""Finding benchmarks: those that ship, those that installed packages bring, and any folder named by its path."""

import importlib
import re
import sys
import traceback
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from assay.benchmark import Benchmark, Origin
from assay.config import unknown
from assay.errors import UsageError

SHIPPED = Path(__file__).parent.parent / "benchmarks"
GROUP = "assay.benchmarks"
ADAPTERS = {"inspect": "assay.gyms.inspect", "verifiers": "assay.gyms.verifiers"}
"""By the prefix of a name, as in `verifiers:NAME`: the module whose `load` finds the rest in another gym."""


def names() -> dict[str, str]:
    """Every benchmark that has a name, with the place it comes from."""
    shipped = {path.parent.name: str(path.parent) for path in sorted(SHIPPED.glob("*/benchmark.py"))}
    for path in sorted(SHIPPED.glob("*/family.py")):
        members: list[str] = importlib.import_module(f"assay.benchmarks.{path.parent.name}.family").names()
        shipped |= {f"{path.parent.name.replace('_', '-')}/{member}": str(path.parent) for member in members}
    return shipped | {entry.name: entry.value for entry in entry_points(group=GROUP)}


def load(name: str) -> Benchmark:
    """Returns a benchmark by its name, its folder's path, mcq:FILE or GYM:NAME. Raises UsageError with near names."""
    found, origin = _found(name)
    return replace(found, origin=origin)


def _found(name: str) -> tuple[Benchmark, Origin]:
    own, colon, rest = name.partition(":")
    if (SHIPPED / own / "benchmark.py").exists() and own.isidentifier():
        module = importlib.import_module(f"assay.benchmarks.{own}.benchmark")
        benchmark = _of_file(module, own, rest) if colon else _benchmark(module, name)
        return benchmark, Origin(name, SHIPPED / own, "assay", own if colon else None)
    if rest and own in ADAPTERS:
        return importlib.import_module(ADAPTERS[own]).load(rest), Origin(name, None, _package_in(rest), own)
    family, _, member = name.partition("/")
    folder = SHIPPED / family.replace("-", "_")
    if member and (folder / "family.py").exists() and not Path(name).is_dir():
        module = importlib.import_module(f"assay.benchmarks.{folder.name}.family")
        return module.load(member), Origin(name, folder, "assay", family)
    if "/" in name or Path(name).is_dir():
        return _benchmark(_module_at(Path(name)), name), Origin(name, Path(name).resolve())
    for entry in entry_points(group=GROUP, name=name):
        module = _imported(entry.module, f"{name} ({entry.value})")
        within = Path(str(module.__file__)).resolve().parent if "." in entry.module else None
        return _benchmark(module, name), Origin(name, within, entry.module.partition(".")[0])
    hint = f"; or the path of a benchmark's folder, or {':NAME, '.join(ADAPTERS)}:NAME"
    return unknown("benchmark", name, names(), hint)


def _package_in(name: str) -> str | None:
    """The package that a gym's benchmark is part of; None where a file is named."""
    top = re.split(r"[/@]", name)[0].replace("-", "_")
    return top if top.isidentifier() else None


def _of_file(module: ModuleType, name: str, file: str) -> Benchmark:
    """A benchmark that is made of a file, as its `load` does."""
    make = getattr(module, "load", None)
    if make is None:
        raise UsageError(f"{name}:{file}: {name} is made of no file; expected {name} alone")
    return make(file)


def _module_at(folder: Path) -> ModuleType:
    file = folder.resolve() / "benchmark.py"
    if not file.exists():
        why = (
            "it has no benchmark.py" if folder.is_dir() else "give its folder" if folder.exists() else "it is not there"
        )
        raise UsageError(f"{folder} is not a benchmark: {why}")
    # The folder becomes a package of its own, so that its files may import each other.
    package = f"assay_benchmark_{abs(hash(str(file.parent))):x}"
    parent = ModuleType(package)
    parent.__path__ = [str(file.parent)]
    sys.modules[package] = parent
    return _imported(f"{package}.benchmark", str(file))


def _imported(module: str, place: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except Exception as error:
        raise UsageError(f"{place}: {type(error).__name__}: {error}{_line_in(error, place)}") from error


def _line_in(error: Exception, file: str) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f" (line {lines[-1]})" if lines else ""


def _benchmark(module: ModuleType, name: str) -> Benchmark:
    found = getattr(module, "BENCHMARK", None)
    if not isinstance(found, Benchmark):
        raise UsageError(f"{name}: {module.__file__} defines no BENCHMARK = Benchmark(...)")
    return found

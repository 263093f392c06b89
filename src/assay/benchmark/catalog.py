"""Finding benchmarks: those that ship, those that installed packages bring, and any folder named by its path."""

import importlib
import inspect
import sys
import traceback
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from assay.benchmark import Benchmark
from assay.errors import UnknownName, UsageError

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
    """A benchmark by its name, its folder's path, mcq:FILE or GYM:NAME. Raises UsageError, with the nearest names."""
    own, colon, file = name.partition(":")
    if (SHIPPED / own / "benchmark.py").exists() and own.isidentifier():
        module = importlib.import_module(f"assay.benchmarks.{own}.benchmark")
        return _of_file(module, own, file) if colon else _benchmark(module, name)
    if file and own in ADAPTERS:
        return importlib.import_module(ADAPTERS[own]).load(file)
    family, _, member = name.partition("/")
    if member and (SHIPPED / family.replace("-", "_") / "family.py").exists() and not Path(name).is_dir():
        return importlib.import_module(f"assay.benchmarks.{family.replace('-', '_')}.family").load(member)
    if "/" in name or Path(name).is_dir():
        return _benchmark(_module_at(Path(name)), name)
    for entry in entry_points(group=GROUP, name=name):
        return _benchmark(_imported(entry.module, f"{name} ({entry.value})"), name)
    hint = f"; or the path of a benchmark's folder, or {':NAME, '.join(ADAPTERS)}:NAME"
    raise UnknownName("benchmark", name, names(), hint)


def home(benchmark: Benchmark) -> Path:
    """The folder that holds the benchmark's own Python files, and its `published.toml`."""
    return Path(inspect.getfile(type(benchmark.environment))).parent


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

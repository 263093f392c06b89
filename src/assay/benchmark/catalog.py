"""Finding benchmarks: Assay's own, those of installed packages, and any folder by its path."""

import hashlib
import importlib
import re
import sys
import threading
import traceback
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
)
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from msgspec import Struct

from assay.benchmark import Benchmark, Origin
from assay.benchmark.code import tree
from assay.errors import UnknownName, UsageError
from assay.input import is_present
from assay.plugins import find, plugins
from assay.sandbox import Place
from assay.types import RolloutLimits, Sampling

BENCHMARKS = "assay.benchmarks"
"""Entry points of modules that define BENCHMARK."""
FILES = "assay.files"
"""Entry points by the prefix of a name such as `maths:FILE`: modules whose `load` makes a benchmark from a data set."""
FAMILIES = "assay.families"
"""Entry points by the first part of a name such as `reasoning-gym/chain_sum`: modules with `names` and `load`."""
GYMS = "assay.gyms"
"""Entry points by the prefix of a name such as `verifiers:NAME`: modules whose `load` finds NAME in another gym.
`PACKAGES = False` says that NAME is no installed package, `GOLD_FIELD = False` that no field of a task holds a gold."""

_LOADING = threading.RLock()


class BenchmarkRequest(Struct, frozen=True, kw_only=True):
    """A benchmark as data, with which another process opens the same one."""

    name: str
    place: Place | None
    """Where its sandbox opens, if `--sandbox` changed that."""
    sampling: Sampling
    limits: RolloutLimits

    @classmethod
    def of(cls, benchmark: Benchmark) -> Self:
        return cls(name=benchmark.source, place=benchmark.place, sampling=benchmark.sampling, limits=benchmark.limits)

    def load(self) -> Benchmark:
        """Returns the benchmark. Raises UsageError."""
        return replace(load(self.name), sampling=self.sampling, limits=self.limits).with_place(self.place)


def names() -> dict[str, str]:
    """Returns the module of every benchmark that has a name, by name."""
    found = {name: entry.module for name, entry in plugins(BENCHMARKS).items()}
    for name, entry in plugins(FAMILIES).items():
        found |= {f"{name}/{member}": entry.module for member in find(FAMILIES, name).names()}
    return found


def divide(request: str) -> tuple[str, dict[str, str]]:
    """Returns the file and the settings in a name such as `maths:aime.jsonl,answer=gold`, without its prefix."""
    file, *stated = re.split(r",(?=\w+=)", request)
    return file, dict(one.split("=", 1) for one in stated)


def separate(names: str) -> list[str]:
    """Returns the names of benchmarks in a text with commas; `,KEY=VALUE` belongs to the name before it."""
    return [name.strip() for name in re.split(r",(?!\w+=)", names) if name.strip()]


def path_of(name: str) -> str:
    """Returns the path in a benchmark's name, such as the file of `maths:aime.jsonl,answer=gold`; else the name."""
    prefix, _, rest = name.partition(":")
    return divide(rest)[0] if prefix in plugins(FILES) else name


def load(name: str) -> Benchmark:
    """Returns a benchmark by its name, its folder's path, maths:FILE or GYM:NAME. Raises UsageError."""
    # What its code prints is no part of a command's output, which may be JSON. All threads have the same stdout.
    with _LOADING, redirect_stdout(sys.stderr):
        found, origin = _find(name)
    return replace(found, origin=origin)


def _find(name: str) -> tuple[Benchmark, Origin]:
    own, colon, rest = name.partition(":")
    if not colon and (entry := plugins(BENCHMARKS).get(own)):
        module = _import(entry.module, f"{own} ({entry.value})")
        return _benchmark(module, name), _origin(name, module, None)
    if rest and own in plugins(FILES):
        return find(FILES, own).load(rest), Origin(name, family=own)
    if rest and own in plugins(GYMS):
        module = find(GYMS, own)
        package = _package_in(rest) if getattr(module, "PACKAGES", True) else None
        return module.load(rest), Origin(name, None, package, own)
    family, _, member = name.partition("/")
    if member and family in plugins(FAMILIES) and not Path(name).is_dir():
        module = find(FAMILIES, family)
        return module.load(member), _origin(name, module, family)
    if "/" in name or Path(name).is_dir():
        return _benchmark(_module_at(Path(name)), name), Origin(name, Path(name).resolve())
    hint = f"; or the path of a benchmark's folder, {':FILE, '.join(plugins(FILES))}:FILE, "
    hint += f"{':NAME, '.join(plugins(GYMS))}:NAME"
    raise UnknownName("benchmark", name, names(), hint)


def _origin(name: str, module: ModuleType, family: str | None) -> Origin:
    """Returns the origin of an installed package's benchmark. A single module has no folder."""
    package, dot, _ = module.__name__.partition(".")
    return Origin(name, Path(str(module.__file__)).resolve().parent if dot else None, package, family)


def _package_in(name: str) -> str | None:
    """Returns the package of a gym's benchmark; None if the name is a file."""
    top = re.split(r"[/@]", name)[0].replace("-", "_")
    return top if top.isidentifier() else None


def _module_at(folder: Path) -> ModuleType:
    file = folder.resolve() / "benchmark.py"
    if not is_present(file):
        why = (
            "it has no benchmark.py" if folder.is_dir() else "give its folder" if folder.exists() else "it is not there"
        )
        raise UsageError(f"{folder} is not a benchmark: {why}")
    # The folder becomes a package, so that its files may import each other. Its name depends on their content: after an
    # edit, as from a notebook, they are another package.
    try:
        sources = {str(path): path.read_bytes() for path in tree(file.parent) if path.suffix == ".py"}
    except OSError as error:
        raise UsageError(f"{folder} can't be read: {error}") from None
    package = f"assay_benchmark_{hashlib.sha256(repr(sorted(sources.items())).encode()).hexdigest()[:16]}"
    if package not in sys.modules:
        parent = ModuleType(package)
        parent.__path__ = [str(file.parent)]
        sys.modules[package] = parent
        _find_sources(str(file.parent))
    return _import(f"{package}.benchmark", str(file))


class _Source(SourceFileLoader):
    """Compiles a file at each import, without bytecode.

    Python uses old bytecode for a file that is rewritten within a second with the same number of bytes. Then the old
    verifier would score under the digest of the new one.
    """

    def path_stats(self, path: str) -> Mapping[str, Any]:
        raise OSError  # without a file's time and size, bytecode is neither read nor written


class _Sources(FileFinder):
    """Finds the modules of a folder and of the folders below it."""

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = super().find_spec(fullname, target)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            _find_sources(place)
        return spec


def _find_sources(folder: str) -> None:
    extensions = (ExtensionFileLoader, EXTENSION_SUFFIXES)
    sys.path_importer_cache[folder] = _Sources(folder, extensions, (_Source, SOURCE_SUFFIXES))


def _import(module: str, place: str) -> ModuleType:
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

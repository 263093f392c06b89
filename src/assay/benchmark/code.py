"""The code that decides a benchmark's scores, as resume, rescore, parity and certificate all define it.

It is all files of the benchmark's folder but its README and published.toml; the modules of verifiers that these import,
directly or not; the files that those start as a process or read as source; and the versions of the packages that they
import. Protocol modules (types, errors, the Environment base) are left out, because tests cover their behaviour.
"""

import ast
import hashlib
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

from assay.benchmark import Benchmark
from assay.digest import digest

ROOMS = ("assay.benchmark.verify", "assay.benchmark.tools", "assay.gyms", "assay.benchmarks")
"""The parts of Assay that decide a reward: verifiers, tools, other gyms, and other benchmarks."""
PACKAGES = Path(__file__).parents[2]
"""The folder with the package `assay`. Names of Assay's files begin here."""
LEFT_OUT = re.compile(r"README(\..*)?|published\.toml|.*\.pyc|\..*|__pycache__", re.IGNORECASE)
IMPORTERS = ("import_module", "require", "find_spec", "__import__")
"""Functions whose first argument names a module."""
_FILE = re.compile(r"(?:\w[\w.-]{0,99}/){0,9}\w[\w.-]{0,99}")
"""A file's name, or a path downwards."""


def code_of(benchmark: Benchmark) -> str:
    """Returns the digest of `score_code`. Two runs may be joined only if it is equal."""
    return digest(score_code(benchmark))


def score_code(benchmark: Benchmark) -> dict[str, str]:
    """Returns the benchmark's score code: SHA-256 by file, and version by `package NAME`.

    Names of the benchmark's files begin at its folder, those of Assay at its package; others are modules.
    """
    found = _Code(benchmark.folder, benchmark.origin and benchmark.origin.package)
    for path in _own_files(benchmark):
        found.add(path, path.relative_to(benchmark.folder).as_posix() if benchmark.folder else path.name)
    for name, path in benchmark.files.items():
        found.add(path, name, follow=False)  # data, even if it is Python
    if benchmark.origin and benchmark.origin.package and not benchmark.folder:
        found.add_package(benchmark.origin.package)
    return found.digests()


def _own_files(benchmark: Benchmark) -> list[Path]:
    """Returns the files of the benchmark's folder, at any depth; the file of its class if it has no folder."""
    if benchmark.folder:
        return sorted(tree(benchmark.folder))
    try:
        return [Path(inspect.getfile(type(benchmark.environment))).resolve()]
    except (TypeError, OSError):  # its class is in a notebook
        return []


def tree(folder: Path) -> Iterator[Path]:
    """Yields the files of a benchmark's folder, at any depth."""
    for path in folder.iterdir():
        if LEFT_OUT.fullmatch(path.name):
            continue
        if not path.is_dir():
            yield path
        elif not any((path / made).exists() for made in ("run.json", "plan.jsonl", "started.jsonl", "pyvenv.cfg")):
            yield from tree(path)  # files of a run or a profile are not the benchmark's


class _Code:
    """Files and packages that are reached from one another."""

    def __init__(self, folder: Path | None, package: str | None) -> None:
        self._folder = folder
        self._package = package
        self._files: dict[Path, str] = {}
        self._versions: dict[str, str] = {}

    def add(self, path: Path, name: str, *, follow: bool = True) -> None:
        """Adds a file, and what it reaches if it is Python."""
        path = path.resolve()
        if path in self._files or not path.is_file():
            return
        self._files[path] = name
        if follow and path.suffix == ".py":
            names = _names(path.read_bytes())
            for beside in _beside(names, path):
                if beside.is_file():
                    self.add(beside, self._name(beside))
            for module in sorted(names.modules):
                self._add_module(module)

    def add_package(self, name: str) -> None:
        """Adds the version of a package that isn't part of the benchmark, by its import name."""
        try:
            names = [distribution(name).metadata["Name"]]  # for most packages it is the name of the distribution
        except PackageNotFoundError:
            names = packages_distributions().get(name, [])
        self._versions |= {f"package {one}": version(one) for one in names}

    def digests(self) -> dict[str, str]:
        files = {name: hashlib.sha256(path.read_bytes()).hexdigest() for path, name in self._files.items()}
        return dict(sorted((files | self._versions).items()))

    def _name(self, path: Path) -> str:
        for base in (self._folder, PACKAGES, *map(Path, sys.path)):
            if base and path.is_relative_to(base.resolve()):
                return path.relative_to(base.resolve()).as_posix()
        return path.name

    def _add_module(self, module: str) -> None:
        top = module.partition(".")[0]
        if top in sys.stdlib_module_names or not module.replace(".", "").isidentifier():
            return
        if top == "assay":
            module = re.sub(r"^assay\.environment\b", "assay.benchmark", module)  # the old name
            if module.startswith(ROOMS):
                self._add_files(_module_files(module))
            return
        place = _place(top)
        if place is None:
            return
        if {"site-packages", "dist-packages"} & set(place.parts) and not self._is_own(top, place):
            self.add_package(top)
        else:
            _, *inside = module.split(".")
            above = [place.joinpath(*inside[:depth], "__init__.py") for depth in range(len(inside))]
            self._add_files([*above, *_module_files(module)])

    def _is_own(self, top: str, place: Path) -> bool:
        """Returns whether a module is in the benchmark's own package."""
        return top == self._package or (self._folder is not None and self._folder.is_relative_to(place))

    def _add_files(self, paths: list[Path]) -> None:
        for path in paths:
            self.add(path, self._name(path.resolve()))


@dataclass(frozen=True)
class _Names:
    """The names in a Python file: relative imports (levels up, path downwards), files beside it, modules."""

    relative: frozenset[tuple[int, str]]
    files: frozenset[str]
    modules: frozenset[str]


@cache
def _names(source: bytes) -> _Names:
    """Returns what a Python file imports, and the names of modules and files in its texts.

    Cached, because one process needs a benchmark's code many times, and parsing is most of the work.
    """
    relative, files, modules = set[tuple[int, str]](), set[str](), set[str]()
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        tree = ast.Module([], [])  # a template or a broken file reaches nothing
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = {module, *(f"{module}.{alias.name}".lstrip(".") for alias in node.names)}
            if node.level:
                relative |= {(node.level, name.replace(".", "/")) for name in names}
            else:
                modules |= names
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if _FILE.fullmatch(node.value):
                files.add(node.value)
            if node.value.startswith(ROOMS):
                modules.add(node.value)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in IMPORTERS and node.args:
            module = node.args[0]
            if isinstance(module, ast.Constant) and isinstance(module.value, str):
                modules.add(module.value)
    return _Names(frozenset(relative), frozenset(files), frozenset(modules))


def _beside(names: _Names, file: Path) -> Iterator[Path]:
    """Yields the files of a file's relative imports, and files beside it that it names."""
    yield from (file.parent / name for name in names.files)
    for level, name in names.relative:
        place = file.parents[level - 1] / name
        yield from (place.with_name(f"{place.name}.py"), place / "__init__.py")


def _place(top: str) -> Path | None:
    """Returns the folder of a top-level package or the file of a module; None if it isn't installed."""
    try:
        spec = find_spec(top)
    except (ValueError, ImportError):
        return None
    if spec is None or (spec.origin is None and not spec.submodule_search_locations):
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve()
    return Path(str(spec.origin)).resolve()


def _module_files(module: str) -> list[Path]:
    """Returns a module's file; for a package all its files, as some may be run. Imports nothing."""
    top, *rest = module.split(".")
    place = _place(top)
    if place is None or place.suffix == ".py":
        return [place] if place and not rest else []
    inside = place.joinpath(*rest)
    if inside.is_dir():
        return [inside / "__init__.py"] if module in ROOMS else sorted(inside.glob("*.py"))
    file = inside.with_name(f"{inside.name}.py")
    return [file] if file.is_file() else []

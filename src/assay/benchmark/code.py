"""The code that decides a benchmark's scores: one definition, which resume, rescore, parity and certificate share.

It is all files of the benchmark's folder but its README and published.toml; the modules of verifiers that these reach
by their imports; the files that those start as a process or read as source; and the versions of the packages that they
import. Protocol modules (types, errors, the Environment base) are left out: tests hold their behaviour.
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
"""What of Assay decides a reward: its verifiers, how tools are read and called, how other gyms are asked, and what
one benchmark takes from another."""
PACKAGES = Path(__file__).parents[2]
"""The folder that holds the package `assay`. Its files are named from here."""
LEFT_OUT = re.compile(r"README(\..*)?|published\.toml|.*\.pyc|\..*|__pycache__", re.IGNORECASE)
IMPORTERS = ("import_module", "require", "find_spec", "__import__")
"""Functions whose first argument names a module."""
_FILE = re.compile(r"(?:\w[\w.-]{0,99}/){0,9}\w[\w.-]{0,99}")
"""A file's name, or a path downwards."""


def code_of(benchmark: Benchmark) -> str:
    """Returns the digest of `score_code`: two runs may be joined only where it is equal."""
    return digest(score_code(benchmark))


def score_code(benchmark: Benchmark) -> dict[str, str]:
    """Returns what decides the benchmark's scores: SHA-256 by file, version by `package NAME`.

    Files of the benchmark are named from its folder, Assay's from the folder of the package, others by their module.
    """
    found = _Code(benchmark.folder, benchmark.origin and benchmark.origin.package)
    for path in _own_files(benchmark):
        found.add(path, path.relative_to(benchmark.folder).as_posix() if benchmark.folder else path.name)
    for name, path in benchmark.files.items():
        found.add(path, name, follow=False)  # data, even where it is Python for some other machine
    if benchmark.origin and benchmark.origin.package and not benchmark.folder:
        found.add_package(benchmark.origin.package)
    return found.digests()


def _own_files(benchmark: Benchmark) -> list[Path]:
    """The files of the benchmark's folder, at any depth; the file of its class where it has no folder."""
    if benchmark.folder:
        return sorted(tree(benchmark.folder))
    try:
        return [Path(inspect.getfile(type(benchmark.environment))).resolve()]
    except (TypeError, OSError):  # its class was typed into a notebook
        return []


def tree(folder: Path) -> Iterator[Path]:
    """Yields the files of a benchmark's folder, at any depth."""
    for path in folder.iterdir():
        if LEFT_OUT.fullmatch(path.name):
            continue
        if not path.is_dir():
            yield path
        elif not any((path / made).exists() for made in ("run.json", "plan.jsonl", "started.jsonl", "pyvenv.cfg")):
            yield from tree(path)  # what a run or a profile wrote here is none of the benchmark's files


class _Code:
    """Files and packages, as they are reached from one another."""

    def __init__(self, folder: Path | None, package: str | None) -> None:
        self._folder = folder
        self._package = package
        self._files: dict[Path, str] = {}
        self._versions: dict[str, str] = {}

    def add(self, path: Path, name: str, *, follow: bool = True) -> None:
        """Add a file, and what it reaches if it is Python."""
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
        """Add the version of a package that isn't part of the benchmark, by the name that it is imported by."""
        try:
            names = [
                distribution(name).metadata["Name"]
            ]  # most packages are imported by the name of their distribution
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
            module = re.sub(r"^assay\.environment\b", "assay.benchmark", module)  # its old name, which still works
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
        """Whether a module is in the package that the benchmark is part of."""
        return top == self._package or (self._folder is not None and self._folder.is_relative_to(place))

    def _add_files(self, paths: list[Path]) -> None:
        for path in paths:
            self.add(path, self._name(path.resolve()))


@dataclass(frozen=True)
class _Names:
    """What a Python file names: by relative imports (levels up, path downwards), as files beside it, as modules."""

    relative: frozenset[tuple[int, str]]
    files: frozenset[str]
    modules: frozenset[str]


@cache
def _names(source: bytes) -> _Names:
    """Returns what a Python file imports, or names to have it imported, run or read.

    One process asks for a benchmark's code many times, and parsing is most of the work.
    """
    relative, files, modules = set[tuple[int, str]](), set[str](), set[str]()
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        tree = ast.Module([], [])  # a template or a broken file: its bytes count, and nothing is reached from it
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
    """The files that a file's relative imports name, and files beside it that it names to have them run or read."""
    yield from (file.parent / name for name in names.files)
    for level, name in names.relative:
        place = file.parents[level - 1] / name
        yield from (place.with_name(f"{place.name}.py"), place / "__init__.py")


def _place(top: str) -> Path | None:
    """The folder of a package, or the file of a module, by its first name; None where it isn't installed."""
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
    """A module's file; of a package all its files, some of which may be run and never imported. Nothing is imported."""
    top, *rest = module.split(".")
    place = _place(top)
    if place is None or place.suffix == ".py":
        return [place] if place and not rest else []
    inside = place.joinpath(*rest)
    if inside.is_dir():
        return [inside / "__init__.py"] if module in ROOMS else sorted(inside.glob("*.py"))
    file = inside.with_name(f"{inside.name}.py")
    return [file] if file.is_file() else []

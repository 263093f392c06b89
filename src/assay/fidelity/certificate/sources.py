"""The source files that a benchmark's scores come from: its own, and those of Assay's that they stand on."""

import ast
import hashlib
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

ROOMS = ("assay.benchmark.verify", "assay.benchmark.tools")
"""What of Assay decides about a reward: its verifiers, and how tools are read and called."""


_NAME = re.compile(r"(?:\w[\w.-]{0,99}/){0,9}\w[\w.-]{0,99}")
"""A file's name, or a path downwards."""
PACKAGES = Path(__file__).parents[3]
"""Where the package lies: Assay's own files are named from here."""


def sources(home: Path) -> dict[str, str]:
    """SHA-256 by file: the Python files of a benchmark's folder, those of its folders that they import, other files
    there that they name, and the modules of ROOMS that all of these import, to the end of the chain."""
    found = sorted(home.glob("*.py"))
    for file in found:  # which grows
        if file.suffix != ".py":
            continue
        tree = ast.parse(file.read_bytes())
        reached = [*_beside(tree, file), *(path for module in sorted(_named(tree)) for path in _files(module))]
        within = [path for path in reached if path.is_relative_to(home) or path.is_relative_to(PACKAGES)]
        found += [path for path in dict.fromkeys(within) if path not in found]
    names = {(path.relative_to(home if path.is_relative_to(home) else PACKAGES)).as_posix(): path for path in found}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in sorted(names.items())}


def _beside(tree: ast.Module, file: Path) -> Iterator[Path]:
    """The files that a file's relative imports name, and files beside it that it names to have them run or read."""
    for node in ast.walk(tree):
        places: list[Path] = []
        if isinstance(node, ast.ImportFrom) and node.level:
            place = file.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            places = [place, *(place / alias.name for alias in node.names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _NAME.fullmatch(node.value):
            yield from (path for path in (file.parent / node.value,) if path.is_file())
        for path in places:
            yield from (one for one in (path.with_name(f"{path.name}.py"), path / "__init__.py") if one.is_file())


def _named(tree: ast.Module) -> set[str]:
    """The modules of ROOMS that a file imports, or names to have them imported or run."""
    named: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            named |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            named.add(node.value)
    return {name for name in named if name.startswith(ROOMS) and name.replace(".", "").isidentifier()}


def _files(module: str) -> list[Path]:
    """A module's file; of a package all its files, some of which may be run and never imported."""
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:  # a name inside a module
        return []
    if spec is None or spec.origin is None:
        return []
    origin = Path(spec.origin)
    return sorted(origin.parent.glob("*.py")) if origin.name == "__init__.py" else [origin]

"""What holds for the test files themselves."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
MODULES = sorted(TESTS.rglob("test_*.py"))


def imported(file: Path) -> Iterator[str]:
    """The modules that a file imports, and the names that it imports from a package of tests."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            if node.level or (node.module or "").startswith("tests"):
                yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(TESTS)))
def test_no_test_module_imports_another(file: Path):
    """What two test modules share stands in a module of its own, such as tests/commands.py."""
    others = [name for name in imported(file) if name.rpartition(".")[2].startswith("test_")]
    assert not others

"""docs/contributing.md and AGENTS.md: what they name is there."""

import ast
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/contributing.md").read_text(encoding="utf-8")
AGENTS = (ROOT / "AGENTS.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", [PAGE, AGENTS])
def test_every_path_is_there(text: str):
    named = re.findall(r"`((?:src|docs|tests)/[\w/.-]+?)(?:/ROOM)?(?:/NAME\.py)?`", text)
    assert named
    for path in named:
        assert (ROOT / path).exists(), path
    for link in re.findall(r"\]\((?!https:)([\w/.-]+)\)", text):
        assert (ROOT / "docs" / link).exists(), link


def test_every_entry_point_group_has_a_file_of_assays_in_the_folder_that_the_table_names():
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    rows = re.findall(r"`(src/[\w/]+?)(?:/ROOM)?/NAME\.py`.*under `(assay\.\w+)`", PAGE)
    expected = ["dialects", "detectors", "agents", "sandboxes", "exports"]
    assert [group for _, group in rows] == [f"assay.{noun}" for noun in expected]
    for folder, group in rows:
        modules = [value.partition(":")[0].replace(".", "/") for value in groups[group].values()]
        assert any((ROOT / "src" / f"{module}.py").is_relative_to(ROOT / folder) for module in modules), group


def test_the_agents_page_is_thirty_lines():
    assert len(AGENTS.splitlines()) <= 30


MODULES = sorted((ROOT / "src").rglob("*.py"))


@pytest.mark.heavy
def test_no_function_is_longer_than_60_lines():
    long = [
        f"{file.relative_to(ROOT)}: {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for file in MODULES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= 60
    ]
    assert not long


def test_no_folder_holds_more_than_twelve_modules():
    folders = Counter(file.parent.relative_to(ROOT).as_posix() for file in MODULES if file.name != "__init__.py")
    assert max(folders.values()) <= 12, folders.most_common(1)

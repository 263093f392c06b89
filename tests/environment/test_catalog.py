from pathlib import Path

import pytest

from assay.environment.catalog import load, names
from assay.errors import UsageError

MINE = """
from assay.environment import Benchmark, Environment
from assay.environment.verify.integer import integer
from assay.types import Message, Task
from .gold import GOLD


class Mine(Environment):
    name, version = "mine", "1"

    def tasks(self):
        return [Task(id="a", input=[Message(role="user", content="6*7?")], gold=GOLD)]

    def verify(self, task, response):
        return integer(response, int(task.gold))


BENCHMARK = Benchmark(environment=Mine(), repeats=2)
"""


def test_what_ships_is_found_by_name():
    assert "arithmetic" in names()
    assert load("arithmetic").name == "arithmetic"


def test_a_folder_is_a_benchmark_by_its_path(tmp_path: Path):
    (tmp_path / "benchmark.py").write_text(MINE)
    (tmp_path / "gold.py").write_text('GOLD = "42"')
    found = load(str(tmp_path))
    assert [task.gold for task in found.environment.tasks()] == ["42"]


def test_a_folder_that_is_none_says_what_it_lacks(tmp_path: Path):
    with pytest.raises(UsageError, match=r"has no benchmark\.py"):
        load(str(tmp_path))
    (tmp_path / "benchmark.py").write_text("x = 1")
    with pytest.raises(UsageError, match="defines no BENCHMARK"):
        load(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "words"),
    [("\nimport nothere", r"ModuleNotFoundError: No module named 'nothere' \(line 2\)"), ("def (", "SyntaxError")],
)
def test_a_benchmark_that_cannot_be_imported_is_told_with_its_line(tmp_path: Path, text: str, words: str):
    (tmp_path / "benchmark.py").write_text(text)
    with pytest.raises(UsageError, match=words):
        load(str(tmp_path))


def test_the_nearest_names_are_told():
    with pytest.raises(UsageError, match="Did you mean arithmetic"):
        load("arithmetics")

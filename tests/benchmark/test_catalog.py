import os
import py_compile
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from assay.benchmark.catalog import load, names
from assay.errors import UsageError
from tests.commands import assay

MINE = """
from assay.benchmark import Benchmark, Environment
from assay.benchmark.verify.integer import integer
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


def test_what_a_benchmarks_code_prints_is_no_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "benchmark.py").write_text("print('loading')" + MINE)
    (tmp_path / "gold.py").write_text('GOLD = "42"')
    load(str(tmp_path))
    assert capsys.readouterr() == ("", "loading\n")


def test_threads_that_load_benchmarks_leave_the_output_as_it_is(tmp_path: Path):
    out = sys.stdout
    folders = [tmp_path / name for name in ("one", "two", "three")]
    for number, folder in enumerate(folders, 1):
        folder.mkdir()
        (folder / "benchmark.py").write_text(f"import time\ntime.sleep({number / 20})\n" + MINE)
        (folder / "gold.py").write_text('GOLD = "42"')
    with ThreadPoolExecutor() as threads:
        assert len(list(threads.map(load, map(str, folders)))) == 3
    assert sys.stdout is out


def test_files_that_were_written_again_are_what_is_loaded_however_fast(tmp_path: Path):
    inner = tmp_path / "inner"
    inner.mkdir()
    for path, text in ((inner / "__init__.py", ""), (tmp_path / "benchmark.py", MINE.replace(".gold", ".inner.gold"))):
        path.write_text(text)
    for gold in ("42", "43"):
        (inner / "gold.py").write_text(f'GOLD = "{gold}"')
        os.utime(inner / "gold.py", (1, 1))
        py_compile.compile(str(inner / "gold.py")) if gold == "42" else None
        assert [task.gold for task in load(str(tmp_path)).environment.tasks()] == [gold]
    assert type(load(str(tmp_path)).environment) is type(load(str(tmp_path)).environment)


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


def wheel(folder: Path, module: str, text: str) -> Path:
    """A wheel of a package with one benchmark, as a build tool makes it."""
    info = "their_quiz-1.0.dist-info"
    files = {
        "their_quiz/__init__.py": "",
        f"their_quiz/{module}.py": text,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: their-quiz\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[assay.benchmarks]\ntheir-quiz = their_quiz.benchmark\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    path = folder / "their_quiz-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def install(folder: Path, module: str) -> Path:
    """The folder in which pip has installed a package whose benchmark is in that module."""
    text = MINE.replace("from .gold import GOLD", 'GOLD = "42"').replace('"mine"', '"their-quiz"')
    file = wheel(folder, module, text)
    target = folder / "site"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", str(target), str(file)]
    subprocess.run(pip, check=True, capture_output=True, timeout=60)
    return target


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("quiz"), "benchmark")


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["list", "benchmarks"], "their-quiz"),
        (["check", "their-quiz"], "their-quiz 1: no check fails"),
        (["run", "their-quiz", "--model", "gold"], "score 100.0%"),
    ],
    ids=lambda value: value[0],
)
def test_a_package_that_is_installed_brings_its_benchmarks_by_name(
    site: Path, tmp_path: Path, command: list[str], words: str
):
    code, out, err = assay(*command, cwd=tmp_path, PYTHONPATH=str(site))
    assert (code, words in out) == (0, True), out + err


def test_a_package_whose_entry_point_leads_nowhere_is_told(tmp_path: Path):
    site = install(tmp_path, "elsewhere")
    code, _, err = assay("run", "their-quiz", "--model", "gold", cwd=tmp_path, PYTHONPATH=str(site))
    assert code == 2
    assert "their-quiz (their_quiz.benchmark): ModuleNotFoundError" in err

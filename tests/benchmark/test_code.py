"""The code that decides a score: what belongs to it, and that two verifiers' scores are never joined."""

from importlib.metadata import version
from pathlib import Path

import pytest

import assay
from assay.benchmark.catalog import load
from assay.benchmark.code import score_code
from assay.digest import changed_files
from tests.commands import copy_package, start

BENCHMARK = """
from assay.benchmark import Benchmark, Environment
from assay.types import Message, Task
from .rules.grade import grade

class Sums(Environment):
    name, version = "sums", "1"

    def tasks(self):
        for n in range(3):
            yield Task(id=f"t{n}", input=[Message("user", f"{n} + 1")], gold=str(n + 1))

    def verify(self, task, response):
        return grade(response, task.gold)

BENCHMARK = Benchmark(environment=Sums(), repeats=1)
"""
GRADE = """
from assay.benchmark.verify.integer import integer

def grade(response, gold):
    return integer(response, int(gold))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A benchmark whose verifier is in a folder of its own."""
    home = tmp_path / "sums"
    files = {
        "benchmark.py": BENCHMARK,
        "rules/__init__.py": "",
        "rules/grade.py": GRADE,
        "rules/deep/rows.json": "[]",
        "README.md": "a card",
        "published.toml": "original = true\n",
        "runs/sums/gold/run.json": "{}",
        "__pycache__/benchmark.cpython-311.pyc": "",
    }
    for name, text in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    return home


def test_it_is_all_files_of_the_folder_and_what_they_reach(folder: Path):
    assert set(score_code(load(str(folder)))) == {
        "benchmark.py",
        "rules/__init__.py",
        "rules/grade.py",
        "rules/deep/rows.json",
        *(f"assay/benchmark/verify/{name}.py" for name in ("integer", "number", "markup", "phrases", "text")),
    }


def test_what_verifiers_start_as_a_process_or_read_as_source_is_in_it(folder: Path):
    (folder / "rules/more.py").write_text("from assay.benchmark.verify import code, maths\n")
    found = score_code(load(str(folder)))
    verify = "assay/benchmark/verify"
    for name in (
        "code/__init__.py",
        "code/candidate.py",
        "code/checker.py",
        "maths/__init__.py",
        "maths/reading.py",
        "maths/worker.py",
    ):
        assert f"{verify}/{name}" in found
    assert found["package math-verify"] == version("math-verify")


def test_a_module_outside_of_the_folder_is_in_it(folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder.parent / "shared_rules.py").write_text("LIMIT = 1\n")
    (folder / "rules/more.py").write_text("import shared_rules\n")
    monkeypatch.syspath_prepend(folder.parent)
    before = score_code(load(str(folder)))
    (folder.parent / "shared_rules.py").write_text("LIMIT = 2\n")
    assert changed_files(before, score_code(load(str(folder)))) == ["shared_rules.py has changed"]


def test_a_package_outside_of_the_folder_is_in_it_from_its_top(folder: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("common/__init__.py", "common/rules/__init__.py", "common/rules/strict.py", "common/other.py"):
        (folder.parent / name).parent.mkdir(exist_ok=True)
        (folder.parent / name).write_text("LIMIT = 1\n")
    (folder / "rules/more.py").write_text("import common.rules.strict\n")
    monkeypatch.syspath_prepend(folder.parent)
    reached = {name for name in score_code(load(str(folder))) if name.startswith("common/")}
    assert reached == {"common/__init__.py", "common/rules/__init__.py", "common/rules/strict.py"}


@pytest.mark.parametrize(
    ("imports", "file"),
    [
        ("from assay.environment.verify.maths import verify", "assay/benchmark/verify/maths/worker.py"),
        ("from assay.environment.verify import code", "assay/benchmark/verify/code/checker.py"),
        ("from assay.environment import tools", "assay/benchmark/tools.py"),
        ("from assay.benchmarks.mastermind.game import pegs", "assay/benchmarks/mastermind/game.py"),
    ],
)
def test_old_names_and_other_benchmarks_are_followed(folder: Path, imports: str, file: str):
    (folder / "rules/more.py").write_text(imports)
    assert file in score_code(load(str(folder)))


def test_a_package_that_is_a_benchmark_of_its_own_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    site = tmp_path / "site-packages"
    for name, text in {
        "own_sums-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: own_sums\nVersion: 1.0\n",
        "own_sums-1.0.dist-info/entry_points.txt": "[assay.benchmarks]\nown-sums = own_sums\n",
        "own_sums/__init__.py": BENCHMARK.replace("from .rules.grade", "from own_sums.rules.grade"),
        "own_sums/rules/__init__.py": "",
        "own_sums/rules/grade.py": GRADE,
    }.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    monkeypatch.syspath_prepend(site)
    before = score_code(load("own-sums"))
    assert before["package own_sums"] == "1.0"
    (site / "own_sums/rules/grade.py").write_text(GRADE + "# another verifier\n")
    assert changed_files(before, score_code(load("own-sums"))) == ["own_sums/rules/grade.py has changed"]


def test_protocol_modules_are_not_in_it():
    names = score_code(load("office"))
    assert not {name for name in names if name.startswith(("assay/types", "assay/errors", "assay/benchmark/__init__"))}


def edit_grade(package: Path, folder: Path) -> str:
    with (folder / "rules/grade.py").open("a") as file:
        file.write("# another verifier\n")
    return "rules/grade.py has changed"


def edit_worker(package: Path, folder: Path) -> str:
    with (package / "benchmark/verify/maths/worker.py").open("a") as file:
        file.write("# another verifier\n")
    return "assay/benchmark/verify/maths/worker.py has changed"


def edit_checker(package: Path, folder: Path) -> str:
    with (package / "benchmark/verify/code/checker.py").open("a") as file:
        file.write("# another verifier\n")
    return "assay/benchmark/verify/code/checker.py has changed"


@pytest.mark.heavy
def test_scores_of_two_verifiers_are_not_joined(folder: Path, tmp_path: Path):
    (folder / "rules/more.py").write_text("from assay.benchmark.verify import code, maths\n")
    package = copy_package(tmp_path / "copy")

    def command(*arguments: str) -> tuple[int, str]:
        process = start(*arguments, cwd=tmp_path, PYTHONPATH=str(package.parent), COLUMNS="200")
        _, err = process.communicate(timeout=100)
        return process.returncode, err

    code, err = command("run", "./sums", "--model", "gold")
    assert code == 0, err
    for edit in (edit_grade, edit_worker, edit_checker):
        file = edit(package, folder)
        code, err = command("run", "./sums", "--model", "gold", "--repeats", "2")
        assert code == 2
        assert file in err and "assay rescore" in err
        code, err = command("rescore", "runs/sums/gold", "--benchmark", "./sums")
        assert code == 0, err


def test_a_benchmark_knows_where_it_came_from(folder: Path):
    mine, shipped = load(str(folder)), load("arithmetic")
    assert (mine.source, mine.folder) == (str(folder), folder)
    assert shipped.source == "arithmetic" and shipped.folder == Path(assay.__file__).parent / "benchmarks/arithmetic"

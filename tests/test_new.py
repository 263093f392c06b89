"""`assay new benchmark`: what it writes passes its checks and its own tests, and runs, as a user would find it."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import msgspec
import pytest

from assay.benchmark.catalog import load
from assay.cli.benchmark.new import TEMPLATES, benchmark
from tests.commands import assay
from tests.endpoint import Call, Endpoint, answering

KINDS = get_args(get_type_hints(benchmark)["kind"])
ROLES = {"judge": ["--with", "judge=fair"]}
"""What a kind needs beside a model to measure."""
FAIR = """
[models.fair]
dialect = "chat"
id = "fair"
base_url = "{url}"
"""


async def judging(call: Call, writer: asyncio.StreamWriter) -> None:
    """A judge that finds every criterion met where the answer is the reference and says nothing else of weight."""
    asked = msgspec.json.decode(call.prompt)
    before, found, after = asked["answer"].partition(asked["reference"])
    rest = set(re.findall(r"\w+", (before + after).lower()))
    verdict = {"reason": "by the rule", "met": bool(found) and rest <= {"that", "is", "all"}}
    await answering(msgspec.json.encode(dict.fromkeys(asked["criteria"], verdict)).decode())(call, writer)


@pytest.fixture(scope="module")
def judge_url() -> Iterator[str]:
    with Endpoint(judging) as endpoint:
        yield endpoint.url


def outside_pytest(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=100, check=False
    )


def test_every_kind_has_a_template_and_every_template_a_kind():
    assert {path.name for path in TEMPLATES.iterdir() if any(path.glob("*.py"))} == set(KINDS)


@pytest.mark.heavy
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind != "qa")) for kind in KINDS])
def test_what_is_written_passes_its_checks_and_its_own_tests_and_runs(tmp_path: Path, kind: str, judge_url: str):
    code, out, err = assay("new", "benchmark", "river-quiz", "--kind", kind, cwd=tmp_path)
    assert code == 0, err
    folder = tmp_path / "river-quiz"
    assert {path.name for path in folder.iterdir()} >= {"README.md", "benchmark.py", "test_river_quiz.py"}
    assert load(str(folder)).name == "river-quiz"
    for file in filter(Path.is_file, folder.iterdir()):
        assert not re.search("my.?benchmark", file.read_text(), re.IGNORECASE), file
        assert str(file.relative_to(tmp_path)) in out

    (tmp_path / "assay.toml").write_text(FAIR.format(url=judge_url))
    for roles in ([], ROLES[kind]) if kind in ROLES else ([],):
        code, out, err = assay("check", "./river-quiz", *roles, cwd=tmp_path)
        assert (code, "no check fails" in out) == (0, True), out + err
    assert "not run" not in err
    tested = outside_pytest("-m", "pytest", "-q", "-W", "error", "river-quiz", cwd=tmp_path)
    assert tested.returncode == 0, tested.stdout
    for model, score in (("gold", "score 100.0%"), ("null", "score 0.0%")):
        command = ["run", "./river-quiz", "--model", model, "--repeats", "1", *ROLES.get(kind, [])]
        code, out, err = assay(*command, cwd=tmp_path)
        assert (code, score in out) == (0, True), out + err


@pytest.mark.parametrize("kind", KINDS)
def test_the_row_at_the_top_is_a_real_one(kind: str):
    module = (TEMPLATES / kind / "benchmark.py").read_text().split('"""')[1]
    tasks = {task.id: task for task in load(str(TEMPLATES / kind)).environment.tasks()}
    shown = dict(re.findall(r"^(\w+) {2,}(.+)$", module, re.MULTILINE))
    task = tasks[shown["id"]]
    asked = " ".join(str(item.content) for item in task.input if hasattr(item, "content"))  # type: ignore[union-attr]
    words = shown.get("question") or shown["asks"]
    for part in re.split(r" ?… ?", words):
        assert " ".join(part.split()) in " ".join(asked.split()), part


def test_two_of_them_are_tested_together(tmp_path: Path):
    for name in ("one", "two"):
        benchmark(tmp_path / name)
    tested = outside_pytest("-m", "pytest", "-q", ".", cwd=tmp_path)
    assert tested.returncode == 0, tested.stdout


def test_nothing_is_overwritten(tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("months of work")
    code, _, err = assay("new", "benchmark", "mine", cwd=tmp_path)
    assert (code, "there already" in err) == (2, True)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("name", ["My Quiz", "1st", "a/../Quiz", "quiz.", "-quiz"])
def test_a_name_that_is_none_is_told(tmp_path: Path, name: str):
    code, _, err = assay("new", "benchmark", "--", name, cwd=tmp_path)
    assert (code, "no name for a benchmark" in err) == (2, True), err
    assert list(tmp_path.iterdir()) == []

import json
from pathlib import Path

import pytest

from assay.errors import UsageError
from assay.exports import write
from assay.exports.rows import _fence, _line
from assay.store import read_rollouts, read_tasks
from assay.types import Message, Score, Task
from tests.commands import assay


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    arguments = ("run", "arithmetic", "--model", "gold", "--limit", "3", "--repeats", "1", "--out", "r")
    code, _, err = assay(*arguments, cwd=folder)
    assert code == 0, err
    return folder / "r"


def test_a_format_that_does_not_take_the_thing_is_refused_with_those_that_do(run: Path, tmp_path: Path):
    with pytest.raises(UsageError, match=r"is a run; name a format for it\n.*a run: --format .*nemo-gym"):
        write(str(run), None, None)
    with pytest.raises(UsageError, match=r"no export 'nemo'"):
        write("arithmetic", "nemo", tmp_path / "o")


def test_no_part_of_a_run_is_replaced(run: Path):
    before = (run / "tasks.jsonl").read_bytes()
    for name in ("tasks.jsonl", "run.json", "rollouts.jsonl"):
        with pytest.raises(UsageError, match="part of what is exported"):
            write(str(run), "nemo-gym", run / name)
    assert (run / "tasks.jsonl").read_bytes() == before


def test_formats_are_listed_by_what_they_take(tmp_path: Path):
    code, out, _ = assay("list", "exports", cwd=tmp_path)
    assert code == 0 and "nemo-gym" in out and "benchmark, run" in out
    code, out, _ = assay("export", "--help", cwd=tmp_path)
    assert code == 0 and "of a benchmark: " in out and "of a run: " in out


def text_in(task: Task) -> str:
    return "\n\n".join(item.text for item in task.input if isinstance(item, Message))


def test_a_selection_is_rows_or_text_that_no_output_breaks_out_of(tmp_path: Path):
    arguments = ("run", "arithmetic", "--model", "micro-instruct", "--limit", "20", "--repeats", "2", "--out", "r")
    assert assay(*arguments, cwd=tmp_path)[0] == 0
    run = tmp_path / "r"
    scored = {one.key: one.outcome.reward for one in read_rollouts(run) if isinstance(one.outcome, Score)}
    write(str(run), "jsonl", tmp_path / "wrong.jsonl", ["max_reward=0"])
    rows = [json.loads(line) for line in (tmp_path / "wrong.jsonl").read_text().splitlines()]
    assert {(row["task"], row["repeat"]) for row in rows} == {key for key, reward in scored.items() if reward == 0}
    tasks = {task.id: task for task in read_tasks(run)}
    assert all((row["gold"], row["prompt"]) == (tasks[row["task"]].gold, text_in(tasks[row["task"]])) for row in rows)
    code, out, err = assay("export", "r", "--format", "markdown", "--set", "limit=3", "--out", "i.md", cwd=tmp_path)
    assert (code, out) == (0, "3 of 3 rollouts are in i.md\n"), err
    text = (tmp_path / "i.md").read_text()
    assert text.count("\n## ") == 3 and "- gold: `" in text and "```text\n" in text
    with pytest.raises(UsageError, match="no rollout is selected"):
        write(str(run), "jsonl", tmp_path / "none.jsonl", ["task=nowhere"])


def test_markup_in_a_text_stays_text():
    assert next(iter(_fence("a\n````\n# b"))) == "`````text"
    assert _line("a `b`\n| c") == "`` a `b` | c ``"


def test_the_package_that_is_named_to_pip_is_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert "pip install ./out," in write("arithmetic", "verifiers", Path("out"))  # `out` would be a package of PyPI
    assert f"pip install {tmp_path}/other," in write("arithmetic", "verifiers", tmp_path / "other")

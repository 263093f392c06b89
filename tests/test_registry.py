"""Runs are written down before they start: by the command, by many processes at once, through kills."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from assay.errors import UsageError
from assay.store import Begin, Start, Store, line_digest, read_record, read_registry
from tests.commands import assay
from tests.runs import TASKS, record

RUN = ("run", "arithmetic", "--model", "gold", "--limit", "3")


def begin(folder: Path, registry: Path, id: str = "a") -> None:
    with Store(folder, record(id=id), TASKS, registry=registry):
        pass


def linked(registry: Path) -> bool:
    lines = registry.read_bytes().splitlines()
    return [json.loads(line)["previous"] for line in lines] == ["", *map(line_digest, lines[:-1])]


def test_a_run_is_written_down_before_its_first_file_and_once(tmp_path: Path):
    assert assay(*RUN, "--repeats", "1", cwd=tmp_path)[0] == 0
    assert assay(*RUN, "--repeats", "2", cwd=tmp_path)[0] == 0  # goes on with the same run
    started, begun = read_registry(tmp_path / "runs/started.jsonl")
    folder = tmp_path / "runs/arithmetic-limit3/gold"
    assert isinstance(started, Start) and isinstance(begun, Begin)
    assert started.path == "arithmetic-limit3/gold"
    assert started.id == begun.id == read_record(folder).id
    assert (started.benchmark, started.model, started.tasks, started.repeats) == ("arithmetic", "gold", 3, 1)
    assert assay(*RUN, "--out", "elsewhere/mine", cwd=tmp_path)[0] == 0
    assert [line.path for line in read_registry(tmp_path / "elsewhere/started.jsonl") if isinstance(line, Start)] == [
        "mine"
    ]


def test_a_run_that_replaces_another_is_a_line_of_its_own(tmp_path: Path):
    registry = tmp_path / "started.jsonl"
    begin(tmp_path / "run", registry, "a")
    begin(tmp_path / "run", registry, "a")
    shutil.rmtree(tmp_path / "run")
    begin(tmp_path / "run", registry, "b")
    assert [(type(line), line.id) for line in read_registry(registry)] == [
        (Start, "a"),
        (Begin, "a"),
        (Start, "b"),
        (Begin, "b"),
    ]
    assert linked(registry)


@pytest.mark.parametrize("file", ["tasks.jsonl", "run.json"])
def test_killed_before_run_json_is_a_run_that_never_began(tmp_path: Path, file: str):
    registry = tmp_path / "started.jsonl"
    # The first file that is written kills the process, as a power cut would.
    program = (
        "import os, sys, signal\n"
        "from pathlib import Path\n"
        "from tests.test_registry import begin\n"
        "sys.addaudithook(lambda event, args: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"    if event == 'open' and '.{file}.' in str(args[0]) else None)\n"
        "begin(Path(sys.argv[1], 'run'), Path(sys.argv[1], 'started.jsonl'))\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, tmp_path], check=False, cwd=Path(__file__).parent.parent)
    assert killed.returncode == -signal.SIGKILL
    assert [line.id for line in read_registry(registry)] == ["a"]
    assert not (tmp_path / "run/run.json").exists()
    begin(tmp_path / "run", registry, "b")
    assert Counter(line.id for line in read_registry(registry)) == {"a": 1, "b": 2}
    assert linked(registry)


def test_a_kill_between_run_json_and_its_second_line_is_made_good(tmp_path: Path):
    registry = tmp_path / "started.jsonl"
    begin(tmp_path / "run", registry)
    registry.write_bytes(registry.read_bytes().splitlines(keepends=True)[0] + b'{"type":"beg')  # torn in the middle
    begin(tmp_path / "run", registry)
    assert [type(line) for line in read_registry(registry)] == [Start, Begin]
    assert linked(registry)


def test_many_processes_write_one_chain(tmp_path: Path):
    program = (
        "import sys\nfrom pathlib import Path\nfrom tests.test_registry import begin\n"
        "folder, name = Path(sys.argv[1]), sys.argv[2]\n"
        "for i in range(10): begin(folder / 'runs' / name / str(i), folder / 'started.jsonl', f'{name}-{i}')\n"
    )
    root = Path(__file__).parent.parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), *filter(None, sys.path)])}
    at_once = [
        subprocess.Popen([sys.executable, "-c", program, tmp_path, name], cwd=root, env=environment) for name in "abcd"
    ]
    assert [process.wait(60) for process in at_once] == [0] * 4
    lines = read_registry(tmp_path / "started.jsonl")
    assert Counter(type(line) for line in lines) == {Start: 40, Begin: 40}
    assert linked(tmp_path / "started.jsonl")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_registry_that_cannot_be_written_is_told(tmp_path: Path):
    (tmp_path / "run").mkdir()
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(UsageError, match="written down there before it starts"):
            begin(tmp_path / "run", tmp_path / "started.jsonl")
    finally:
        tmp_path.chmod(0o755)

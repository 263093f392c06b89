"""Harbor tasks from the command line: agents, the network, kills, the digest of what decides a score, and the gates."""

import json
from collections import Counter
from pathlib import Path

import pytest

from assay.store import read_rollouts
from tests.commands import assay, scored, start, until, written
from tests.gyms.harbor.made import write_task


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    for number in range(4):
        slow = "#!/bin/sh\nsleep 0.3; touch /app/done\n"
        files = {"instruction.md": f"Do number {number}.", "solution/solve.sh": slow, "tests/help.py": "import numpy"}
        write_task(tmp_path / f"tasks/t{number}", **files)
    return tmp_path


def run(root: Path, tasks: Path, *arguments: str) -> tuple[int, str, str]:
    words = ["run", "harbor:tasks", "--image", f"small={root}", *arguments]
    return assay(*words, cwd=tasks, XDG_CACHE_HOME=str(root.parent))


def test_solutions_get_1_and_nothing_gets_0_and_both_need_no_model(root: Path, tasks: Path):
    code, out, err = run(root, tasks, "--agent", "oracle", "--limit", "2")
    assert code == 0 and "score 100.0%" in out, err
    assert "run in the machine that the agent leaves" in err
    code, out, err = run(root, tasks, "--agent", "nop", "--limit", "2")
    assert code == 0 and "score 0.0%" in out, err
    [record] = tasks.glob("runs/*/*oracle/run.json")
    found = json.loads(record.read_text())
    assert f"small={root}" in found["version"] and "network none" in found["version"]
    assert found["versions"]["sandbox"].startswith("machines: memory")
    assert "package numpy" not in found["sources"]
    names = [name for name in found["sources"] if name.startswith("t0/")]
    assert sorted(names) == [
        "t0/environment/Dockerfile",
        "t0/instruction.md",
        "t0/solution/solve.sh",
        "t0/task.toml",
        "t0/tests/help.py",
        "t0/tests/test.sh",
    ]


def test_a_killed_run_scores_each_rollout_once(root: Path, tasks: Path):
    words = ["run", "harbor:tasks", "--image", f"small={root}", "--agent", "oracle", "--out", "r", "--concurrency", "1"]
    process = start(*words, cwd=tasks, XDG_CACHE_HOME=str(root.parent))
    until(lambda: written(tasks / "r/rollouts.jsonl"))
    process.kill()
    process.communicate()
    before = scored(tasks / "r")
    assert 0 < len(before) < 4
    code, _, err = assay(*words, cwd=tasks, XDG_CACHE_HOME=str(root.parent))
    assert code == 0, err
    assert scored(tasks / "r") == Counter({(f"t{number}", 0): 1 for number in range(4)})


def test_a_changed_test_is_another_benchmark(root: Path, tasks: Path):
    assert run(root, tasks, "--agent", "nop", "--out", "r")[0] == 0
    (tasks / "tasks/t1/tests/test.sh").write_text("#!/bin/sh\necho 1 > /logs/verifier/reward.txt\n")
    code, _, err = run(root, tasks, "--agent", "nop", "--out", "r", "--repeats", "2")
    assert code == 2 and "t1/tests/test.sh" in err


def test_a_network_that_a_task_states_is_chosen(root: Path, tmp_path: Path):
    write_task(tmp_path / "tasks/t", '[agent]\nnetwork_mode = "public"\n')
    code, _, err = run(root, tmp_path, "--agent", "nop")
    assert code == 2 and "--network public, or --network none" in err
    assert run(root, tmp_path, "--agent", "nop", "--network", "none")[0] == 0
    code, _, err = assay("run", "arithmetic", "--model", "gold", "--network", "none", cwd=tmp_path)
    assert code == 2 and "no machine" in err


@pytest.mark.usefixtures("root")
def test_what_cannot_be_built_is_refused_before_the_run(tmp_path: Path):
    write_task(tmp_path / "tasks/t", environment__Dockerfile="FROM python:3.12\n")
    code, _, err = assay("run", "harbor:tasks", "--agent", "nop", cwd=tmp_path)
    assert code == 2 and "line 1" in err and "--image python:3.12=" in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_the_gates_play_the_solution_and_nothing(root: Path, tasks: Path):
    code, out, err = assay("check", f"harbor:tasks,image=small={root}", cwd=tasks, timeout=110)
    assert code in (0, 5), out + err
    assert "gold answers score 1" in err and "kinds of wrong answers" in err and " fail " not in err


def test_the_loop_works_with_a_tool_in_the_machine(root: Path, tasks: Path):
    code, out, err = run(root, tasks, "--model", "gold", "--limit", "1", "--out", "r")
    assert code == 0 and "score 100.0%" in out, err
    [rollout] = read_rollouts(tasks / "r")
    assert [len(turn.response.output) for turn in rollout.turns] == [1, 1]

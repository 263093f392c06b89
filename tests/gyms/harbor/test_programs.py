"""Programs as agents in the machines of Harbor tasks, which have no network beside the model's address."""

import json
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assay.agent.command import Command
from assay.benchmark import Benchmark
from assay.serve.door import HttpDoor
from assay.store import read_rollouts
from assay.types import Outcome, Score
from tests.commands import assay, start
from tests.gyms.harbor.made import play
from tests.sandbox.engines import FILE, KINDS, OWN, machines_here

TASKS = Path(__file__).parent / "tasks"
ASKS = """
body='{"model": "m", "messages": [{"role": "user", "content": "Go."}]}'
rest=${OPENAI_BASE_URL#http://}
exec 3<>/dev/tcp/127.0.0.1/$(echo ${rest%%/*} | cut -d: -f2)
for line in "POST /${rest#*/}/chat/completions HTTP/1.1" "Host: 127.0.0.1" "Content-Type: application/json" \\
    "Connection: close" "Content-Length: ${#body}" ""; do printf '%s\\r\\n' "$line" >&3; done
printf %s "$body" >&3
cat <&3
"""
"""Asks the model, with nothing but bash."""


def test_a_program_works_in_the_tasks_machine(make: Callable[..., Benchmark]):
    agent = Command(argv=["bash", "-c", f"{ASKS}\ntouch /app/done"], door=HttpDoor("m"))
    assert rewards(play(make(), agent)) == [1]
    idle = Command(argv=["bash", "-c", ASKS], door=HttpDoor("m"))
    assert rewards(play(make(), idle)) == [0]


def test_a_program_is_run_again_for_each_step(make: Callable[..., Benchmark]):
    toml = '[environment]\nnetwork_mode = "no-network"\n[[steps]]\nname = "one"\n[[steps]]\nname = "two"\n'
    files = {f"steps/{name}/instruction.md": f"touch /app/{name}" for name in ("one", "two")}
    check = "#!/bin/sh\n[ -e /app/{} ]; echo $((1 - $?)) > /logs/verifier/reward.txt\n"
    files |= {f"steps/{name}/tests/test.sh": check.format(name) for name in ("one", "two")}
    agent = Command(argv=["bash", "-c", f"{ASKS}\n{{instruction}}"], door=HttpDoor("m"))
    assert rewards(play(make(toml, solution__solve__sh="touch /app/one /app/two", **files), agent)) == [1]


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root of the release that the tasks are in, for engines that can pull none."""
    if shutil.which("mmdebstrap") is None:
        pytest.skip("needs mmdebstrap")
    file = tmp_path_factory.mktemp("debian") / "bookworm.tar"
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", "--include=ca-certificates", "bookworm", str(file)], check=True
    )
    return file


@pytest.mark.agents
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_mini_swe_agent_solves_tasks_though_it_is_killed_in_the_middle(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
):
    machines_here(kind)
    program = shutil.which("mini", path=os.environ.get("ASSAY_AGENTS", ""))
    if program is None:
        pytest.skip("mini is not in ASSAY_AGENTS")
    # A container's tasks install nothing.
    names = {path.name for path in TASKS.iterdir()} if kind == OWN else {"data", "edit", "service"}
    for name in names:
        shutil.copytree(TASKS / name, tmp_path / "tasks" / name)
    mean = (TASKS / "c-bug/solution/mean.c").read_text()
    solutions = {
        "server.conf": _solution("edit/solution"),
        "sales.csv": _solution("data/solution"),
        "mean.c": f"cat > /app/mean.c <<'END'\n{mean}END\n",
        "skip.txt": _solution("two-steps/steps/change/solution"),
        "": _solution("two-steps/steps/write/solution") + _solution("service/solution"),
    }
    text = "".join(f"if [ -e /app/{file} ]; then\n{lines}\nexit 0; fi\n" for file, lines in solutions.items())
    commands = [text, "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"] * 2  # once more for a second step
    script = [
        [{"type": "function_call", "call_id": f"c{number}", "name": "bash", "arguments": json.dumps({"command": text})}]
        for number, text in enumerate(commands)
    ]
    write_toml(tmp_path, "mini-swe-agent", program, script)
    if kind != OWN:
        (tmp_path / "assay.toml").write_text((tmp_path / "assay.toml").read_text() + Path(FILE).read_text())
    options = {
        "--sandbox": kind,
        "--agent": "theirs",
        "--model": "m",
        "--repeats": "1",
        "--concurrency": "1",
        "--network": "none",
    }
    if kind != OWN:
        options["--image"] = f"debian:bookworm={request.getfixturevalue('debian')}"
    run = ["run", "harbor:tasks", "--out", "run", *(word for pair in options.items() for word in pair)]
    command, rollouts = start(*run, cwd=tmp_path), tmp_path / "run/rollouts.jsonl"
    while command.poll() is None and not (rollouts.exists() and rollouts.stat().st_size):
        time.sleep(0.2)
    command.kill()
    said, errors = command.communicate()
    assert 0 < sum(1 for _ in read_rollouts(tmp_path / "run")) < len(names), (said, errors)
    code, said, errors = assay(*run, cwd=tmp_path, timeout=500)
    assert code == 0, errors
    made = list(read_rollouts(tmp_path / "run"))
    scored = Counter(rollout.task for rollout in made if isinstance(rollout.outcome, Score))
    assert len(scored) == len(names) and set(scored.values()) == {1}, made
    assert rewards(*(rollout.outcome for rollout in made)) == [1] * len(names)


def rewards(*outcomes: Outcome) -> list[float | str]:
    return [one.reward if isinstance(one, Score) else one.message for one in outcomes]


SHELLS = {
    "codex": ("codex", "exec_command", lambda command: {"cmd": command}),
    "claude-code": ("claude", "Bash", lambda command: {"command": command, "description": "Solve it"}),
}
"""By agent: its program, and how it has a command run."""


@pytest.mark.agents
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SHELLS)
def test_codex_and_claude_code_solve_a_task(name: str, tmp_path: Path):
    file, tool, arguments = SHELLS[name]
    program = shutil.which(file, path=os.environ.get("ASSAY_AGENTS", ""))
    if program is None:
        pytest.skip(f"{file} is not in ASSAY_AGENTS")
    shutil.copytree(TASKS / "edit", tmp_path / "tasks/edit")
    call = {"type": "function_call", "call_id": "c1", "name": tool}
    script = [[call | {"arguments": json.dumps(arguments(_solution("edit/solution")))}], "It is done."]
    write_toml(tmp_path, name, program, script)
    run = ["run", "harbor:tasks", "--agent", "theirs", "--model", "m", "--repeats", "1", "--network", "none"]
    code, _, errors = assay(*run, "--out", "run", cwd=tmp_path, timeout=250)
    assert code == 0, errors
    [made] = read_rollouts(tmp_path / "run")
    assert (reward(made.outcome), len(made.turns)) == (1.0, 2)


def reward(outcome: Outcome) -> float:
    assert isinstance(outcome, Score), outcome
    return outcome.reward


def write_toml(folder: Path, agent: str, program: str, script: list[Any]) -> None:
    """Writes an assay.toml with the agent `theirs` and the scripted model `m`."""
    (folder / "assay.toml").write_text(
        f'[agents.theirs]\nagent = "{agent}"\nsettings = {{ program = "{program}" }}\n'
        f'[models.m]\ndialect = "scripted"\nscript = {_toml(script)}\n'
    )


def _solution(folder: str) -> str:
    return (TASKS / folder / "solve.sh").read_text().removeprefix("#!/bin/bash\n")


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{name} = {_toml(held)}' for name, held in value.items())} }}"
    return f"[{', '.join(map(_toml, value))}]" if isinstance(value, list) else json.dumps(value)

"""docs/interchange.md: the folder that NeMo Gym's launcher starts, with what the launcher sets, and by itself."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from assay import sync
from assay.benchmark.catalog import load
from assay.config import ModelConfig
from assay.gyms.nemo_gym.rows import row_of
from assay.types import Message, Request, Score
from tests.commands import ENVIRONMENT, assay, until
from tests.nemo_gym import PYTHON, free, theirs
from tests.serve.served import serving

PREFIX = Path(PYTHON or sys.executable).parents[1]
"""The environment that has the package nemo-gym."""
PAGE = (Path(__file__).parents[2] / "docs/interchange.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    """The first block of this language after the words about the launcher."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE[PAGE.index("### NeMo Gym's launcher") :], re.DOTALL)
    assert found
    return found[1]


def post(url: str, body: object, cookie: str = "") -> tuple[dict[str, object], str]:
    headers = {"content-type": "application/json", "cookie": cookie}
    request = urllib.request.Request(url, msgspec.json.encode(body), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        said = msgspec.json.decode(answer.read(), type=dict[str, object])
        return said, answer.headers["set-cookie"].partition(";")[0]


def test_the_folder_serves_the_environment_at_the_launchers_address(tmp_path: Path):
    (tmp_path / "app.py").write_text(block("python"), encoding="utf-8")
    config = yaml.safe_load(block("yaml"))
    config["arithmetic"]["resources_servers"]["arithmetic"] |= {"host": "127.0.0.1", "port": 0}
    variables = {"NEMO_GYM_CONFIG_DICT": yaml.safe_dump(config), "NEMO_GYM_CONFIG_PATH": "arithmetic"}
    task = next(iter(load("arithmetic").environment.tasks()))
    command, env = [sys.executable, "app.py"], ENVIRONMENT | variables
    with subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            url = re.search(r"http://127\.0\.0\.1:\d+", process.stderr.readline())
            assert url
            row = row_of(task)
            said = {"role": "assistant", "type": "message", "content": [{"type": "output_text", "text": task.gold}]}
            _, cookie = post(f"{url[0]}/seed_session", row)
            verified, _ = post(f"{url[0]}/verify", row | {"response": {"output": [said]}}, cookie)
            assert verified["reward"] == 1.0
        finally:
            process.terminate()


@contextmanager
def launched(folder: Path, command: list[str]) -> Iterator[None]:
    """Their launcher, in a process group of its own, until all servers are ready; then Ctrl-C, as in a terminal."""
    log = folder / "log.txt"
    with (
        log.open("w") as output,
        subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, start_new_session=True) as process,
    ):
        try:
            until(lambda: process.poll() is not None or "servers ready!" in log.read_text(), within_s=400)
            assert process.poll() is None, log.read_text()
            yield
        finally:
            os.killpg(process.pid, signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(60)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.clients
@pytest.mark.timeout(900)
@theirs
def test_nemo_gyms_own_launcher_gets_the_rewards_of_a_run_here(tmp_path: Path):
    benchmark = load("arithmetic")
    tasks = [*benchmark.environment.tasks()][:40]
    golds = {"".join(item.text for item in task.input if isinstance(item, Message)): task.gold for task in tasks}

    def answer(request: Request) -> str:
        """The right answer to every third task, and a wrong one to the others."""
        asked = "".join(item.text for item in request.input if isinstance(item, Message))
        return str(golds[asked]) if [*golds].index(asked) % 3 == 0 else "The answer is 1."

    # Environments that are there already take the place of those that the launcher would make.
    folders = {"resources_servers/arithmetic": Path(sys.prefix)}
    folders |= dict.fromkeys(("responses_api_agents/simple_agent", "responses_api_models/openai_model"), PREFIX)
    for name, environment in folders.items():
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / ".venv").symlink_to(environment)
    (tmp_path / "resources_servers/arithmetic/app.py").write_text(block("python"), encoding="utf-8")
    (tmp_path / "resources_servers/arithmetic/requirements.txt").write_text(block("text"), encoding="utf-8")
    more: dict[str, Any] = {"skip_venv_if_present": True, "head_server": {"host": "127.0.0.1", "port": free()}}
    (tmp_path / "arithmetic.yaml").write_text(block("yaml") + yaml.safe_dump(more), encoding="utf-8")
    export, settings, start, collect = block("sh").splitlines()
    assert assay(*shlex.split(export)[1:], cwd=tmp_path)[0] == 0
    with serving(answer) as url:
        model = shlex.split(settings.partition("=")[2])[0].replace("http://127.0.0.1:8000", url).replace("NAME", "m")
        start, collect = (f"{PREFIX}/bin/{line.replace('$MODEL', model)}" for line in (start, collect))
        with launched(tmp_path, shlex.split(start)):
            command = [*shlex.split(collect), "--limit", "40"]
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
            assert done.returncode == 0, done.stderr
        config = ModelConfig(dialect="responses", id="m", base_url=f"{url}/v1")
        here = sync.rollouts(benchmark, model=config, tasks=[task.id for task in tasks])
    made = [json.loads(line) for line in (tmp_path / "rollouts.jsonl").read_text().splitlines()]
    there = {row["assay"]["id"]: row["reward"] for row in made}
    assert there == {one.task: one.outcome.reward for one in here if isinstance(one.outcome, Score)}
    assert [there[task.id] for task in tasks[:6]] == [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]

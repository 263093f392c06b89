"""docs/interchange.md: the folder that NeMo Gym's launcher starts, with what the launcher sets."""

import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import msgspec
import yaml

from assay.benchmark.catalog import load
from assay.gyms.nemo_gym.rows import row_of
from tests.commands import ENVIRONMENT

PAGE = (Path(__file__).parents[2] / "docs/interchange.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    """The first block of this language after the words about the launcher."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE[PAGE.index("NeMo Gym's launcher") :], re.DOTALL)
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

"""action.yml, step by step as GitHub runs it: its environment, an event, and its REST API on loopback."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.commands import ENVIRONMENT, ROOT, assay
from tests.endpoint import Call, Endpoint, http

ACTION = yaml.safe_load((ROOT / "action.yml").read_text())


@dataclass
class GitHub:
    """The part of the REST API that the action needs, for one pull request."""

    files: list[str]
    comments: list[dict[str, Any]]
    status: int = 200

    async def behave(self, call: Call, writer: asyncio.StreamWriter) -> None:
        place = call.path.partition("?")[0]
        if self.status != 200:
            writer.write(http(b'{"message": "Resource not accessible by integration"}', status=self.status))
            return
        if place.endswith("/pulls/7/files"):
            page = int(call.path.rpartition("page=")[2])
            answer: Any = [{"filename": name} for name in self.files[100 * (page - 1) : 100 * page]]
        elif call.body:
            body = call.json["body"]
            if place.endswith("/issues/7/comments"):
                self.comments.append({"id": 10 + len(self.comments), "body": body})
            else:
                next(one for one in self.comments if place.endswith(f"/issues/comments/{one['id']}"))["body"] = body
            answer = {}
        else:
            answer = self.comments
        writer.write(http(json.dumps(answer).encode()))


def run_action(folder: Path, github: GitHub, event: dict[str, Any], **inputs: str) -> tuple[list[int], str, str]:
    """Returns the exit code of each step, the summary, and what was printed. A step after a failure has its `if`."""
    given = {name: one["default"] for name, one in ACTION["inputs"].items()} | inputs
    place = folder.parent / "github"
    place.mkdir(exist_ok=True)
    (place / "event.json").write_text(json.dumps(event))
    (place / "summary.md").write_text("")
    codes, printed = list[int](), ""
    with Endpoint(github.behave) as endpoint:
        base = ENVIRONMENT | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_API_URL": endpoint.url.removesuffix("/v1"),
            "GITHUB_EVENT_PATH": str(place / "event.json"),
            "GITHUB_REPOSITORY": "them/benches",
            "GITHUB_STEP_SUMMARY": str(place / "summary.md"),
            "RUNNER_TEMP": str(place),
        }
        for step in ACTION["runs"]["steps"]:
            if any(codes) and "cancelled()" not in step.get("if", ""):
                continue
            own = {name: _filled(text, given) for name, text in step["env"].items()}
            command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
            assert step["shell"] == "bash"
            done = subprocess.run(
                command, cwd=folder, env=base | own, capture_output=True, text=True, timeout=100, check=False
            )
            codes.append(done.returncode)
            printed += done.stdout + done.stderr
        assert all(call.headers["authorization"] == "Bearer tok" for call in endpoint.calls)
    return codes, (place / "summary.md").read_text(), printed


def _filled(text: str, inputs: dict[str, str]) -> str:
    filled = re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda found: inputs[found[1]], text)
    filled = filled.replace("${{ github.token }}", "tok")
    assert "${{" not in filled
    return filled


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with two benchmarks, one of which is broken, and a certificate of a third."""
    folder = tmp_path_factory.mktemp("repository")
    for name in ("good", "bad"):
        assert assay("new", "benchmark", name, "--kind", "qa", cwd=folder)[0] == 0
    code = (folder / "bad/benchmark.py").read_text()
    (folder / "bad/benchmark.py").write_text(re.sub(r"gold=.*", 'gold="| <img src=x> never",', code, count=1))
    profile = ("profile", "arithmetic", "--models", "nano-instruct", "--limit", "8", "--out", "certified")
    assert assay(*profile, cwd=folder)[0] == 0
    assert assay("certify", "certified", cwd=folder)[0] == 0
    return folder


@pytest.fixture
def checkout(repository: Path, tmp_path: Path) -> Path:
    return shutil.copytree(repository, tmp_path / "checkout")


PULL = {"pull_request": {"number": 7}}


def test_no_expression_of_github_stands_in_a_script():
    assert all("${{" not in step["run"] for step in ACTION["runs"]["steps"])


@pytest.mark.slow
def test_a_pull_request_gets_one_comment_with_the_checks_and_the_certificates(checkout: Path):
    changed = [*(f"src/{n}.py" for n in range(120)), "good/benchmark.py", "certified/runs/nano-instruct/run.json"]
    github = GitHub([*changed, "gone/benchmark.py", "bad-not/x.md"], [{"id": 3, "body": "Well done."}])
    codes, summary, printed = run_action(checkout, github, PULL)
    assert codes == [0, 0, 0, 0], printed
    (_, made) = github.comments
    assert made["body"].startswith("<!-- assay -->") and summary.strip() in made["body"]
    assert "good 1: no check fails" in summary and "| check | verdict | what was found |" in summary
    assert "bad" not in summary and "arithmetic 1: not verified" in summary and "## Gates" in summary
    codes, again, _ = run_action(checkout, github, PULL)
    assert len(github.comments) == 2 and github.comments[1]["body"].count(again.strip()) == 1


@pytest.mark.heavy
def test_a_failing_check_and_a_forged_certificate_fail_the_job_and_are_in_the_comment(checkout: Path):
    path = checkout / "certified/certificate.json"
    certificate = json.loads(path.read_text())
    certificate["models"]["nano-instruct"]["score"] = 1.0
    path.write_text(json.dumps(certificate))
    before = [{"id": 3, "body": "Well done."}, {"id": 4, "body": "<!-- assay -->\nof the commit before"}]
    github = GitHub(["bad/benchmark.py", "certified/certificate.json"], before)
    codes, summary, printed = run_action(checkout, github, PULL)
    assert codes == [0, 3, 3, 0], printed
    assert "checks fail" in summary and "certificate.json: forged" in summary
    assert "<img" not in summary.replace("\\<img", "")
    assert len(github.comments) == 2 and "commit before" not in github.comments[1]["body"]
    assert github.comments[1]["body"] == f"<!-- assay -->\n{summary}"


@pytest.mark.slow
def test_without_a_pull_request_all_of_the_checkout_counts_and_nothing_is_commented(checkout: Path):
    (checkout / "bad/benchmark.py").write_text("1 +")
    shutil.rmtree(checkout / "certified")
    github = GitHub([], [])
    codes, summary, _ = run_action(checkout, github, {"ref": "refs/heads/main"})
    assert codes == [0, 2, 0, 0] and github.comments == []
    assert "bad: it can't be checked" in summary and "good 1: no check fails" in summary


@pytest.mark.slow
def test_given_folders_count_and_a_comment_that_is_refused_is_a_warning(checkout: Path):
    inputs = {"benchmarks": "good\n", "certificates": "certified", "rescore": "true"}
    codes, summary, printed = run_action(checkout, GitHub([], [], status=403), PULL, **inputs)
    assert codes == [0, 0, 0, 0], printed
    assert "::warning::The comment can't be written: HTTP Error 403" in printed
    assert "good 1" in summary and "arithmetic 1" in summary

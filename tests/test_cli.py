"""The command as a user gives it: a process of its own, on a real endpoint, killed for real."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from assay.config import suites
from assay.store import read_rollouts
from assay.types import Failure
from tests.commands import ENVIRONMENT, assay, scored, start, written
from tests.endpoint import Call, Endpoint, answer_body, answering, http


def test_who_reads_no_further_gets_no_traceback(tmp_path: Path):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "assay.cli", "new", "benchmark", "quiz"]
    done = subprocess.run(
        command, cwd=tmp_path, env=ENVIRONMENT, stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_run_on_an_endpoint(tmp_path: Path):
    with Endpoint(answering("42")) as endpoint:
        code, out, err = assay(
            *(
                "run",
                "arithmetic",
                "--model",
                "openai:m",
                "--base-url",
                endpoint.url,
                "--repeats",
                "2",
                "--limit",
                "30",
            ),
            cwd=tmp_path,
        )
    assert code == 0, err
    assert "avg@2 of 60 rollouts" in out
    assert "only 30 of 240 tasks" in out
    folder = tmp_path / "runs/arithmetic-limit30/m"
    assert {path.name for path in folder.iterdir()} == {"run.json", "tasks.jsonl", "rollouts.jsonl", "summary.json"}
    assert json.loads((folder / "summary.json").read_text())["rollouts"] == 60
    assert "60 rollouts to make" in err


@pytest.mark.heavy
@pytest.mark.parametrize("times", [6, pytest.param(20, marks=pytest.mark.slow)])
def test_sigkill_at_random_moments_loses_nothing(tmp_path: Path, times: int):
    """Each planned rollout is scored once in the end, however often the run was killed."""
    rng = random.Random(4)
    tasks, repeats = 240, times + times // 4
    with Endpoint(answering("42", delay_s=0.05)) as endpoint:
        command = ["run", "arithmetic", "--model", "chat:m", "--base-url", endpoint.url, "--out", "run"]
        command += ["--repeats", str(repeats), "--concurrency", "16"]
        run, kills, grew = tmp_path / "run/rollouts.jsonl", 0, 0
        while kills < times:
            process = start(*command, cwd=tmp_path)
            size = written(run)
            deadline = time.monotonic() + 30
            # Half of the kills fall while it starts, half while rollouts come in.
            while kills % 2 and written(run) == size and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(rng.random() * 0.6)
            process.kill()
            process.communicate()
            kills += 1
            grew += written(run) > size
        assert grew >= times / 2
        before = scored(tmp_path / "run")
        assert 0 < len(before) < tasks * repeats
        code, _, err = assay(*command, cwd=tmp_path)
    assert code == 0, err
    found = scored(tmp_path / "run")
    assert set(found.values()) == {1}
    assert len(found) == tasks * repeats


def test_ctrl_c_finishes_what_is_in_flight(tmp_path: Path):
    with Endpoint(answering("42", delay_s=0.4)) as endpoint:
        command = ["run", "arithmetic", "--model", "chat:m", "--base-url", endpoint.url, "--out", "run"]
        process = start(*command, "--concurrency", "8", cwd=tmp_path)
        while len(endpoint.calls) < 8:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "finishing what is in flight" in err
    assert len(scored(tmp_path / "run")) == len(endpoint.calls)


def test_sigterm_keeps_what_has_ended_and_ends_within_what_schedulers_grant(tmp_path: Path):
    """Half of the answers never come."""

    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        if len(endpoint.calls) % 2:
            await asyncio.sleep(600)
        writer.write(http(answer_body(call.path)))

    with Endpoint(behave) as endpoint:
        command = ["run", "arithmetic", "--model", "chat:m", "--base-url", endpoint.url, "--out", "run"]
        process = start(*command, "--concurrency", "8", cwd=tmp_path)
        while not written(tmp_path / "run/rollouts.jsonl"):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        # Docker kills what has not ended after 10 s.
        _, err = process.communicate(timeout=10)
    assert process.returncode == 130, err
    assert "finishing what is in flight" in err
    kept = scored(tmp_path / "run")
    assert kept and set(kept.values()) == {1}
    assert not [rollout for rollout in read_rollouts(tmp_path / "run") if isinstance(rollout.outcome, Failure)]


def test_shards_of_one_run_are_read_together(tmp_path: Path):
    with Endpoint(answering("42")) as endpoint:
        for index in (1, 2, 3):
            command = ["run", "arithmetic", "--model", "chat:m", "--base-url", endpoint.url, "--repeats", "2"]
            code, _, err = assay(*command, "--shard", f"{index}/3", "--out", "run", cwd=tmp_path)
            assert code == 0, err
    assert len(scored(tmp_path / "run")) == 480


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "arithmetik", "--model", "gold"], 2, "there is no benchmark 'arithmetik'. Did you mean arithmetic?"),
        (["run", "arithmetic", "--model", "goldd"], 2, "there is no model 'goldd'. Did you mean gold?"),
        (["profile", "arithmetic", "--suite", "embeded"], 2, "there is no suite 'embeded'. Did you mean embedded?"),
        (["run", "./nowhere", "--model", "gold"], 2, "nowhere is not a benchmark"),
        (["run", "arithmetic", "--model", "gold", "--repeats", "0"], 2, "at least 1"),
        (["run", "arithmetic", "--model", "gold", "--shard", "4/3"], 2, "expected i/n"),
        (["run", "arithmetic", "--model", "gold", "--set", "sampling.x=1"], 2, "unknown field `x`"),
        (
            [
                "run",
                "arithmetic",
                "--model",
                "chat:m",
                "--base-url",
                "http://127.0.0.1:9/v1",
                "--set",
                "model.attempts=1",
            ],
            4,
            "is the server running?",
        ),
    ],
)
def test_bad_input_is_told_without_a_traceback(tmp_path: Path, arguments: list[str], code: int, words: str):
    returned, _, err = assay(*arguments, cwd=tmp_path)
    assert words in err
    assert "Traceback" not in err
    assert returned == code


def test_a_run_directory_of_another_run_is_refused(tmp_path: Path):
    assert assay("run", "arithmetic", "--model", "gold", "--out", "run", cwd=tmp_path)[0] == 0
    code, _, err = assay("run", "arithmetic", "--model", "null", "--out", "run", cwd=tmp_path)
    assert code == 2
    assert "identity" in err
    code, _, err = assay("run", "arithmetic", "--model", "gold", "--limit", "3", "--out", "run", cwd=tmp_path)
    assert code == 2
    assert "tasks: 240 there, 3 now" in err


def test_no_key_is_ever_written(tmp_path: Path):
    async def behave(call, writer):  # type: ignore[no-untyped-def]
        writer.write(http(call.headers["authorization"].encode(), 401))

    (tmp_path / "assay.toml").write_text('[models.m]\ndialect="chat"\nbase_url="http://x/v1"\napi_key_env="CANARY"\n')
    with Endpoint(behave) as endpoint:
        command = ["run", "arithmetic", "--model", "m", "--base-url", endpoint.url]
        code, out, err = assay(*command, cwd=tmp_path, CANARY="sk-canary-1234")
    assert endpoint.calls[0].headers["authorization"] == "Bearer sk-canary-1234"
    assert code == 4
    written = (out + err).encode() + b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert b"sk-canary" not in written
    assert b"CANARY" in written


@pytest.mark.parametrize(
    ("what", "name", "words"),
    [
        ("benchmarks", "arithmetic", "240 problems with integer answers"),
        ("models", "micro-thinking", "local"),
        ("suites", "embedded", "The models that ship with Assay"),
        ("agents", "loop", "Calls the model until"),
        ("dialects", "chat", "/chat/completions"),
        ("sandboxes", "bubblewrap", "without a network"),
        ("detectors", "token-cap", "reached the token cap"),
    ],
)
def test_list_names_what_there_is_with_a_sentence(tmp_path: Path, what: str, name: str, words: str):
    code, out, err = assay("list", what, cwd=tmp_path)
    assert code == 0, err
    assert name in out and words in out


def test_a_suite_that_ships_is_printed_byte_for_byte(tmp_path: Path):
    for name, path in suites().items():
        code, out, err = assay("list", "suites", name, cwd=tmp_path)
        assert (code, out.encode()) == (0, path.read_bytes()), err
    for arguments, words in [(("suites", "embeded"), "Did you mean embedded?"), (("models", "gold"), "takes no name")]:
        code, out, err = assay("list", *arguments, cwd=tmp_path)
        assert (code, out) == (2, "")
        assert words in err


def test_a_run_replayed_from_its_directory_scores_the_same(tmp_path: Path):
    asked = ["arithmetic", "--limit", "5", "--repeats", "2"]
    code, _, err = assay("run", *asked, "--model", "nano-instruct", "--out", "made", cwd=tmp_path)
    assert code == 0, err
    code, _, err = assay("run", *asked, "--model", "replay:made", "--out", "replayed", cwd=tmp_path)
    assert code == 0, err

    def told(folder: str) -> dict[tuple[str, int], object]:
        return {one.key: (one.outcome, one.turns[0].response) for one in read_rollouts(tmp_path / folder)}

    assert len(told("made")) == 10
    assert told("replayed") == told("made")
    assay("run", *asked[:-1], "3", "--model", "replay:made", "--out", "replayed", cwd=tmp_path)
    assert scored(tmp_path / "replayed").keys() == told("made").keys()
    failed = [one.outcome for one in read_rollouts(tmp_path / "replayed") if isinstance(one.outcome, Failure)]
    assert {one.kind for one in failed} == {"not_recorded"}
    assert all("of this task it has repeats 0, 1" in one.message for one in failed)


def test_a_scripted_model_stands_in_the_toml(tmp_path: Path):
    (tmp_path / "assay.toml").write_text('[models.mine]\ndialect = "scripted"\nscript = ["<think>so</think>42"]\n')
    code, _, err = assay("run", "arithmetic", "--limit", "3", "--model", "mine", "--out", "run", cwd=tmp_path)
    assert code == 0, err
    responses = [one.turns[0].response for one in read_rollouts(tmp_path / "run")]
    assert {(one.reasoning, one.text) for one in responses} == {("so", "42")}


def test_a_limit_is_said_wherever_a_score_is_shown(tmp_path: Path):
    said = "only 5 of 240 tasks"
    options = ("--limit", "5", "--repeats", "1")
    for command in (
        ("run", "arithmetic", "--model", "gold", *options, "--out", "part"),
        ("merge", "whole", "part"),
        ("profile", "arithmetic", "--models", "gold,null", *options, "--out", "profile"),
        ("report", "profile"),
    ):
        code, out, err = assay(*command, cwd=tmp_path)
        assert code == 0 and said in out + err, (command, out, err)
    assert said in (tmp_path / "profile/report.html").read_text(encoding="utf-8")

"""`assay serve model` as a user gives it."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest

from assay.store import read_rollouts
from tests.commands import ENVIRONMENT, assay
from tests.endpoint import Call, Endpoint, http


@contextmanager
def served(
    *options: str, cwd: Path, environment: dict[str, str] | None = None
) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """The address that the command tells, and its process."""
    command = [sys.executable, "-m", "assay.cli", "serve", "model", *options, "--port", "0"]
    environment = {**ENVIRONMENT, **(environment or {})}
    with subprocess.Popen(command, cwd=cwd, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.search(r"(http://\S+)/v1", line)
            assert found, line + process.stderr.read()
            yield found[1], process
        finally:
            process.kill()


@pytest.mark.heavy
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_model_is_served_until_it_is_told_to_end(number: signal.Signals, tmp_path: Path):
    with served("nano-thinking", cwd=tmp_path) as (url, process):
        question = "What is 3 * 49 + 55?"
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as sdk:
            made = sdk.responses.create(model="nano-thinking", input=question, temperature=0)
            said = sdk.chat.completions.create(
                model="nano-thinking", messages=[{"role": "user", "content": question}], temperature=0
            )
        assert made.output_text == "202"
        assert said.choices[0].message.content == "202"
        process.send_signal(number)
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_one_served_model_is_run_as_any_other(tmp_path: Path):
    with served("nano-instruct", cwd=tmp_path) as (url, _):
        there = ["run", "arithmetic", "--limit", "20", "--repeats", "2", "--out"]
        code, _, err = assay(*there, "there", "--model", "chat:nano-instruct", "--base-url", f"{url}/v1", cwd=tmp_path)
        assert code == 0, err
        code, _, err = assay(*there, "here", "--model", "nano-instruct", cwd=tmp_path)
        assert code == 0, err
    texts = [
        {(r.task, r.repeat): r.turns[0].response.text for r in read_rollouts(tmp_path / name)}
        for name in ("there", "here")
    ]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["nano-instruct", "--host", "0.0.0.0"], "open to other machines"),
        (["nano-instruct", "--host", "::"], "open to other machines"),
        (["nano-instruct", "--host", "0.0.0.0", "--api-key-env", "NO_SUCH_KEY"], "NO_SUCH_KEY"),
        (["nano-instruct", "--api-key-env", "NO_SUCH_KEY"], "not set, or empty"),
        (["nano-instruct", "--concurrency", "0"], "at least 1"),
        (["gold"], "can't be served alone"),
        (["nano-instrct"], "Did you mean nano-instruct"),
    ],
)
def test_what_would_be_unsafe_or_useless_is_refused(options: list[str], words: str, tmp_path: Path):
    code, _, err = assay("serve", "model", *options, "--port", "0", cwd=tmp_path)
    assert (code, words in err) == (2, True), err


@pytest.mark.parametrize("streamed", [False, True])
def test_a_server_behind_that_is_overloaded_holds_nobody(streamed: bool, tmp_path: Path):
    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(http(b'{"error": {"message": "slow down"}}', 429, retry_after="7"))

    with Endpoint(behave) as behind, served("chat:m", "--base-url", behind.url, cwd=tmp_path) as (url, _):
        sdk = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=30)
        with sdk, pytest.raises(openai.RateLimitError, match="slow down") as caught:
            sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": "?"}], stream=streamed)
    assert caught.value.response.headers["retry-after"] == "7"


def test_a_port_that_is_taken_is_told(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, _, err = assay("serve", "model", "nano-instruct", "--port", port, cwd=tmp_path)
    assert (code, f"port {port}: Address already in use" in err) == (2, True), err
    code, _, err = assay("serve", "model", "nano-instruct", "--port", "99999", cwd=tmp_path)
    assert (code, "port 99999: " in err, "Traceback" in err) == (2, True, False), err


def test_with_a_key_other_machines_may_call(tmp_path: Path):
    options = ["nano-instruct", "--host", "0.0.0.0", "--api-key-env", "SERVE_KEY"]
    with served(*options, cwd=tmp_path, environment={"SERVE_KEY": "sk-canary-served"}) as (told, _):
        url = told.replace("0.0.0.0", "127.0.0.1")
        with openai.OpenAI(base_url=f"{url}/v1", api_key="wrong") as sdk, pytest.raises(openai.AuthenticationError):
            sdk.models.list()
        with openai.OpenAI(base_url=f"{url}/v1", api_key="sk-canary-served") as sdk:
            assert [model.id for model in sdk.models.list()] == ["nano-instruct"]
    assert not os.listdir(tmp_path)

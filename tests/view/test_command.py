"""`assay view` as a user starts it."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.commands import assay, start
from tests.view.client import Client


@contextmanager
def viewing(folder: Path, *arguments: str, **variables: str) -> Iterator[tuple[Client, "subprocess.Popen[str]"]]:
    """A client of the command, once it says where it is."""
    command = start("view", *arguments, "--port", "0", cwd=folder, **variables)
    try:
        assert command.stderr
        line = command.stderr.readline()
        assert " is shown at http://" in line, line
        yield Client(line.split()[-1]), command
    finally:
        command.kill()
        command.communicate()


@pytest.mark.heavy
def test_the_command_shows_the_folder_in_a_browser_until_it_is_interrupted(made: Path, tmp_path: Path):
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    with viewing(made, BROWSER=str(browser)) as (client, command):
        assert "nano-instruct" in client.get("/").words
        code, _, err = assay("view", "--no-open", "--port", client.url.rpartition(":")[2], cwd=made)
        assert (code, "choose another with --port" in err) == (2, True)
        live = subprocess.Popen(["curl", "-sN", client.url + "/live"], stdout=subprocess.PIPE)
        assert live.stdout and os.read(live.stdout.fileno(), 10)
        command.send_signal(signal.SIGINT)
        assert command.wait(20) == 0
        assert live.wait(20) == 0
        live.stdout.close()
    assert (tmp_path / "opened").read_text().strip() == client.url


def test_with_a_key_one_signs_in_and_read_only_writes_nothing(made: Path):
    with viewing(made, "runs", "--no-open", "--read-only", "--api-key-env", "KEY", KEY="secret") as (client, _):
        assert client.get("/").status == 401
        assert client.post("/sign-in", key="secret", follow=False).status == 303


def test_other_machines_need_a_key(made: Path):
    code, _, err = assay("view", "--host", "0.0.0.0", "--no-open", cwd=made)
    assert (code, "--api-key-env" in err) == (2, True)


def test_a_file_is_refused(made: Path):
    code, _, err = assay("view", "runs/arithmetic/started.jsonl", cwd=made)
    assert (code, "is no folder" in err) == (2, True)

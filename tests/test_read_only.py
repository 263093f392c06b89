"""Commands on a file system that can't be written: one line that names the file, and exit code 4."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import ENVIRONMENT, ROOT, assay

ALONE = ("unshare", "--map-root-user", "--mount")
"""Starts a command in a mount namespace of its own."""
SCRIPT = """
import json, subprocess, sys
from tests.commands import assay
place, commands = sys.argv[1], json.loads(sys.argv[2])
subprocess.run(["mount", "--bind", place, place], check=True)
subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
for command in commands:
    code, _, err = assay(*command, cwd=place)
    print(json.dumps([code, err]))
"""
GOLD = ["run", "arithmetic", "--model", "gold", "--limit", "3", "--repeats", "1", "--out"]
PROFILE = ["profile", "arithmetic", "--models", "gold,null", "--limit", "3", "--repeats", "1", "--out", "profiles/p"]
COMMANDS = {
    "runs": [*GOLD, "runs/new"],
    "profiles/p/runs/gold/rollouts.jsonl": [*GOLD, "profiles/p/runs/gold", "--processes", "2"],
    "profiles/p/runs/gold": PROFILE,
    "profiles/p/profile.json": ["report", "profiles/p"],
    "profiles/p/": ["certify", "profiles/p"],
    "all": ["merge", "all", "profiles/p/runs/gold"],
    "profiles/p/runs/gold-rescored": ["rescore", "profiles/p/runs/gold"],
    "mine": ["new", "benchmark", "mine"],
    "rows.jsonl": ["export", "arithmetic", "--format", "nemo-gym", "--out", "rows.jsonl"],
}


def can_mount() -> bool:
    try:
        tried = subprocess.run([*ALONE, "mount", "-t", "tmpfs", "none", "/mnt"], check=False, capture_output=True)
    except FileNotFoundError:
        return False
    return tried.returncode == 0


@pytest.mark.heavy
@pytest.mark.skipif(not can_mount(), reason="needs unshare and user namespaces")
@pytest.mark.timeout(300)
def test_a_command_that_can_write_nothing_says_so_in_a_line_and_one_that_only_reads_works(tmp_path: Path):
    code, _, err = assay(*PROFILE, cwd=tmp_path)
    assert code == 0, err
    assert assay("certify", "profiles/p", cwd=tmp_path)[0] == 0
    commands = json.dumps([*COMMANDS.values(), ["verify", "profiles/p/certificate.json"]])
    command = [*ALONE, sys.executable, "-c", SCRIPT, str(tmp_path), commands]
    ended = subprocess.run(command, cwd=ROOT, check=True, env=ENVIRONMENT, capture_output=True, text=True, timeout=280)
    *said, (verified, words) = map(json.loads, ended.stdout.splitlines())
    for path, (code, err) in zip(COMMANDS, said, strict=True):
        last = next((line for line in err.splitlines() if line.startswith("assay: ")), "")
        assert code == 4 and last.startswith(f"assay: {path}") and "Read-only file system" in last, (path, err)
        assert "Traceback" not in err and "/." not in last, err
    assert verified == 0, words

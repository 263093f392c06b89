"""`python -m chaos` in short: a quick round of each scenario, and that the checks can fail."""

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from assay.store import read_rollouts
from chaos.__main__ import play
from chaos.checks import Broken, check_run, check_words
from chaos.machine import ROOT, adopt
from chaos.rounds import Round, Run
from chaos.scenarios import SCENARIOS
from chaos.server import endpoint

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are watched by Linux's /proc")
SHORT = {"torn", "disk", "hostile"}
"""The others take minutes together; tests of their parts are elsewhere."""


@pytest.fixture(scope="module", autouse=True)
def adopting() -> None:
    adopt()


@pytest.mark.heavy
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in SHORT)) for name in SCENARIOS]
)
def test_nothing_is_lost_invented_or_left_behind(name: str):
    round = play(name, 0, 0, quick=True)
    if round.skipped:
        pytest.skip(round.skipped)
    assert round.faults


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of 4 tasks, twice each, that nothing happened to."""
    round = Round("0", tmp_path_factory.mktemp("whole"))
    server = round.server()
    with endpoint(server) as served:
        run = Run(round, server, served.url, tasks=4, repeats=2)
        run.finish()
    return run


def doubled(lines: list[str]) -> list[str]:
    return [*lines, lines[0]]


def lost(lines: list[str]) -> list[str]:
    return lines[1:]


def invented(lines: list[str]) -> list[str]:
    flipped = lines[0].replace('"reward":1.0', '"reward":?').replace('"reward":0.0', '"reward":1.0')
    return [flipped.replace('"reward":?', '"reward":0.0'), *lines[1:]]


def never_said(lines: list[str]) -> list[str]:
    return [re.sub(r'"text":"\d+"', '"text":"12345"', lines[0]), *lines[1:]]


def never_planned(lines: list[str]) -> list[str]:
    return [*lines, re.sub(r'"repeat":\d', '"repeat":7', lines[0])]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (doubled, r"a second score for repeat \d of task t\d"),
        (lost, "1 of 8 rollouts are owed"),
        (invented, "has reward"),
        (never_said, "an answer that was never given"),
        (never_planned, "was never planned"),
    ],
)
def test_what_was_lost_or_invented_is_noticed(whole: Run, change, words: str):
    path = whole.folder / "rollouts.jsonl"
    before = path.read_text()
    path.write_text("\n".join(change(before.splitlines())) + "\n")
    try:
        with pytest.raises(Broken, match=words):
            whole.check(whole=True)
    finally:
        path.write_text(before)
    assert whole.check(whole=True) == 8
    assert len(list(read_rollouts(whole.folder))) == 8


def test_an_answer_of_another_rollout_is_noticed(whole: Run):
    with pytest.raises(Broken, match="never given"):
        check_run(whole.folder, defaultdict(set), tasks=4, repeats=2, whole=True)


@pytest.mark.parametrize("said", ["Traceback (most recent call last):", "\x1b]0;owned\x07"])
def test_words_that_are_not_for_users_are_noticed(said: str):
    with pytest.raises(Broken):
        check_words(said)


def test_a_process_that_is_left_behind_is_noticed(tmp_path: Path):
    round = Round("0", tmp_path)
    subprocess.run(["sh", "-c", "sleep 3 >/dev/null 2>&1 &"], check=True)
    with pytest.raises(Broken, match=r"left behind: .*sleep 3"):
        round.check_gone(within_s=0.3)
    round.check_gone()


def test_the_command_says_what_broke_and_how_to_see_it_again(tmp_path: Path):
    command = [sys.executable, "-m", "chaos", "torn", "nothing"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "there is no scenario nothing" in done.stderr

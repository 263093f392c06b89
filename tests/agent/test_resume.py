"""A run whose agent is a program, killed in the middle and continued."""

import json
import time
from collections import Counter
from pathlib import Path

import pytest

from assay.store import read_record, read_rollouts
from assay.types import Score
from tests.agent.programs import HEAD
from tests.commands import assay, start
from tests.sandbox.available import needs_bubblewrap
from tests.sandbox.programs import running

MARK = "assay-resumed-4714"
RUN = (
    "run",
    "arithmetic",
    "--model",
    "answer",
    "--agent",
    "slow",
    "--limit",
    "6",
    "--repeats",
    "1",
    "--concurrency",
    "2",
)


@pytest.mark.slow
@needs_bubblewrap
def test_a_run_of_programs_goes_on_after_a_kill(tmp_path: Path):
    argv = ["python3", "-c", f"{HEAD}ask(sys.argv[1]); time.sleep(0.5)", "{instruction}", MARK]
    (tmp_path / "assay.toml").write_text(
        f'[agents.slow]\nagent = "command"\nsettings.argv = {json.dumps(argv)}\n'
        'settings.version = ["echo", "tiny 1.2"]\n'
        '[models.answer]\ndialect = "scripted"\nscript = ["42"]\n'
    )
    folder = tmp_path / "runs/arithmetic-limit6/answer-slow"
    running_command = start(*RUN, cwd=tmp_path)
    for _ in range(600):
        if (folder / "rollouts.jsonl").exists() and (folder / "rollouts.jsonl").stat().st_size and running(MARK):
            break
        time.sleep(0.05)
    running_command.kill()
    running_command.communicate()
    for _ in range(100):
        if not running(MARK):
            break
        time.sleep(0.05)
    assert not running(MARK)
    assert 0 < sum(1 for _ in read_rollouts(folder)) < 6
    code, _, errors = assay(*RUN, "--processes", "2", cwd=tmp_path)
    assert code == 0, errors
    scores = Counter(rollout.key for rollout in read_rollouts(folder) if isinstance(rollout.outcome, Score))
    assert len(scores) == 6 and set(scores.values()) == {1}
    assert read_record(folder).agent.version == "tiny 1.2"
    toml = (tmp_path / "assay.toml").read_text()
    (tmp_path / "assay.toml").write_text(toml.replace("tiny 1.2", "tiny 1.3"))
    code, _, errors = assay(*RUN, cwd=tmp_path)
    assert code == 2 and "tiny 1.2" in errors and "tiny 1.3" in errors


@pytest.mark.slow
@needs_bubblewrap
def test_a_profile_is_made_with_a_program_and_certified(tmp_path: Path):
    argv = ["python3", "-c", f"{HEAD}ask(sys.argv[1])", "{instruction}"]
    (tmp_path / "assay.toml").write_text(
        f'[agents.tiny]\nagent = "command"\nsettings.argv = {json.dumps(argv)}\nsettings.version = ["echo", "1.2"]\n'
    )
    options = ["--agent", "tiny", "--models", "nano-instruct", "--limit", "4", "--repeats", "1", "--out", "made"]
    code, _, errors = assay("profile", "arithmetic", *options, cwd=tmp_path)
    assert code in (0, 3, 5), errors
    made = list(read_rollouts(tmp_path / "made/runs/nano-instruct"))
    assert len(made) == 4 and all(isinstance(rollout.outcome, Score) for rollout in made), made
    code, _, errors = assay("certify", "made", cwd=tmp_path)
    assert code == 0, errors

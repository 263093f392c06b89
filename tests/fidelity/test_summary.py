"""The figures of one run."""

import json
from pathlib import Path

from assay.fidelity.results.results import read
from assay.fidelity.results.summary import summarise, text
from tests.fidelity.made import made_run


def test_what_a_verifier_could_not_decide_is_counted_and_shown(tmp_path: Path):
    run = made_run(tmp_path / "run", [[1, 0]] * 4)
    file = run / "rollouts.jsonl"
    rollouts = [json.loads(line) for line in file.read_text().splitlines()]
    wrong = [rollout for rollout in rollouts if rollout["outcome"]["reward"] == 0]
    for rollout in wrong[:2]:
        rollout["outcome"]["metrics"] = {"undecided": 1.0}
    file.write_text("".join(f"{json.dumps(rollout)}\n" for rollout in rollouts))
    summary = summarise(read(run))
    assert summary.undecided == 2 / 8
    assert "25.0% undecided by the verifier" in text(summary)


def test_a_run_that_was_decided_says_nothing_of_it(tmp_path: Path):
    summary = summarise(read(made_run(tmp_path / "run", [[1, 0]] * 4)))
    assert summary.undecided == 0
    assert "undecided" not in text(summary)

"""`assay failures` on a profile that was run for real, and then damaged on purpose."""

import json
import shutil
from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from assay.fidelity.failures import Failures
from assay.store import read_rollouts, write_lines
from assay.types import Failure, Message, Rollout, Score, Text
from tests.commands import assay

MODELS = ("policy", "nano-instruct")


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("profile")
    command = [
        "profile",
        "arithmetic",
        "--models",
        ",".join(MODELS),
        "--repeats",
        "2",
        "--limit",
        "20",
        "--out",
        "made",
    ]
    code, _, err = assay(*command, cwd=folder)
    assert code == 0, err
    return folder / "made"


@pytest.fixture
def damaged(profile: Path, tmp_path: Path) -> Path:
    """The profile with an empty output, a text full of markup, and failures of two kinds in one model's run."""
    shutil.copytree(profile, tmp_path / "made")
    run = tmp_path / "made/runs/policy"
    rollouts = list(read_rollouts(run))
    rollouts[0] = said(rollouts[0], "")
    rollouts[1] = said(rollouts[1], "[bold red]</think>[/] it is \x1b[31mred[link=x]")
    for number, kind in enumerate(["timeout", "timeout", "http_500"], 2):
        outcome = Failure("model", kind, f"[/] no answer, {kind}", True)
        rollouts[number] = structs.replace(rollouts[number], stop="failed", outcome=outcome)
    write_lines(run / "rollouts.jsonl", rollouts)
    return tmp_path / "made"


def said(rollout: Rollout, text: str) -> Rollout:
    turn = rollout.turns[0]
    output = [Message(role="assistant", content=[Text(text=text)])]
    response = structs.replace(turn.response, output=output, tokens=None)
    return structs.replace(rollout, turns=[structs.replace(turn, response=response)], outcome=Score(reward=0.0))


def test_findings_failures_and_their_remedies_are_shown(damaged: Path):
    code, out, err = assay("failures", "made", cwd=damaged.parent)
    assert (code, err) == (0, "")
    assert "nano-instruct: 40 rollouts, nothing found" in out
    for words in ("empty output", "reasoning leaked", ", repeat ", "model/timeout", "2/40", "raise timeout_s"):
        assert words in " ".join(out.split())
    assert "[bold red]</think>[/] it is [U+001B][31mred[link=x]" in " ".join(out.split())
    assert "\x1b" not in out
    assert "assay review made" in out


def test_it_fits_a_terminal_of_80_columns(damaged: Path):
    code, out, _ = assay("failures", "made", cwd=damaged.parent, COLUMNS="80")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80


def test_all_is_there_as_json(damaged: Path):
    code, out, _ = assay("failures", "made", "--json", "--model", "policy", cwd=damaged.parent)
    assert code == 0
    found = msgspec.json.decode(out, type=Failures)
    assert (found.rollouts, found.models) == ({"policy": 40}, 2)
    assert {f.detector: f.count for f in found.findings}["failed: model/timeout"] == 2
    assert all(spotted.rollout.task for finding in found.findings for spotted in finding.spotted)
    assert json.loads(out)["looked_for"][:2] == ["answer of another form", "empty output"]


def test_a_run_directory_will_do(profile: Path):
    code, out, _ = assay("failures", "made/runs/nano-instruct", cwd=profile.parent)
    assert code == 0
    assert (
        "Nothing was found in rollouts. Looked for: answer of another form, empty output, gold in the text"
        in " ".join(out.split())
    )
    assert "two models are needed" in out
    assert "assay review" not in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["made/runs"], "neither a run's directory nor a profile's"),
        (["made", "--model", "polcy"], "policy"),
        (["nowhere"], "neither"),
    ],
)
def test_what_is_not_there_is_told(profile: Path, arguments: list[str], words: str):
    code, _, err = assay("failures", *arguments, cwd=profile.parent)
    assert code == 2
    assert words in err
    assert "Traceback" not in err


def test_a_damaged_file_is_told_with_its_line(damaged: Path):
    path = damaged / "runs/policy/rollouts.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b"{not json}\n", *lines[4:]]))
    code, _, err = assay("failures", "made", cwd=damaged.parent)
    assert code == 2
    assert "rollouts.jsonl, line 4" in err

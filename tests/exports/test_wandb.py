"""Runs and profiles in Weights & Biases, by the real package in its offline mode."""

from pathlib import Path

import pytest

from assay.exports import write
from tests.commands import assay

pytest.importorskip("wandb", reason="needs the extra `wandb`")
pytestmark = pytest.mark.filterwarnings("ignore")  # the library's own warnings are no errors of ours


def test_a_profile_is_a_group_of_runs_with_its_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    arguments = ("profile", "arithmetic", "--models", "gold,null", "--limit", "12", "--repeats", "1", "--out", "p")
    assert assay(*arguments, cwd=tmp_path)[0] in (0, 3, 5)
    said = write(str(tmp_path / "p"), "wandb", tmp_path / "w")
    assert said.startswith(f"3 runs of Weights & Biases are in {tmp_path}/w/wandb; to send them: wandb sync")
    assert said.endswith("report.html, profile.json are its artifacts")
    folders = sorted((tmp_path / "w/wandb").glob("offline-run-*"))
    assert len(folders) == 3
    tables = [path.name for folder in folders for path in folder.glob("files/media/table/*.json")]
    assert sorted(name.partition("_")[0] for name in tables) == ["gates", "rollouts", "rollouts"]
    written = b"".join(path.read_bytes() for folder in folders for path in folder.glob("*.wandb"))
    assert b"interval_task" in written and b"score_is" in written

"""What the viewer finds in a folder, and what it says of what it can't read."""

import os
import shutil
from pathlib import Path

import pytest

from assay.fidelity.compare.compare import compare
from assay.store import write_json
from assay.view import catalog
from assay.view.catalog import Catalog, NotThere
from tests.view.client import Client

RUN = "runs~arithmetic~nano-thinking"


def test_runs_profiles_and_comparisons_have_names_of_their_places(folder: Path):
    run = folder / "runs/arithmetic/nano-thinking"
    write_json(folder / "new~old.json", compare(run, [folder / "profiles/arithmetic/runs/nano-instruct"]))
    (folder / "other.json").write_text('{"pears": []}')
    found = Catalog(folder)
    profile = "profiles~arithmetic"
    assert {(one.name, one.profile) for one in found.entries("run")} == {
        (RUN, None),
        (f"{profile}~runs~nano-thinking", profile),
        (f"{profile}~runs~nano-instruct", profile),
    }
    assert [one.name for one in found.entries("profile")] == [profile]
    (compared,) = found.entries("comparison")
    assert compared.name.startswith("new~old.json~")
    assert found.comparison(compared).pairs[0].tasks == 12


def test_a_run_is_a_folder_to_view_too(folder: Path):
    (run,) = Catalog(folder / "runs/arithmetic/nano-thinking").entries("run")
    assert run.name == "nano-thinking"


def test_what_is_read_is_kept_until_a_file_changes(tmp_path: Path):
    catalog, file, made = Catalog(tmp_path), tmp_path / "file", list[str]()

    def make() -> int:
        made.append("once")
        return len(made)

    assert [catalog.cached("it", [file], make) for _ in range(2)] == [1, 1]
    file.write_text("x")
    assert [catalog.cached("it", [file], make) for _ in range(2)] == [2, 2]


def test_what_is_gone_is_not_there(folder: Path):
    catalog = Catalog(folder)
    assert catalog.run(RUN)
    shutil.rmtree(folder / "runs")
    with pytest.raises(NotThere, match="removed"):
        catalog.run(RUN)


def test_links_that_lead_in_circles_and_hidden_folders_are_not_followed(folder: Path):
    (folder / "runs/again").symlink_to(folder)
    shutil.copytree(folder / "runs/arithmetic", folder / ".hidden")
    assert len(Catalog(folder).entries("run")) == 3


def _no_record(run: Path) -> None:
    (run / "run.json").write_text("{")


def _no_tasks(run: Path) -> None:
    (run / "tasks.jsonl").unlink()
    (run / "summary.json").unlink()


def _broken_line(run: Path) -> None:
    (run / "rollouts.jsonl").write_bytes((run / "rollouts.jsonl").read_bytes() + b"nonsense\n")


def _torn_line(run: Path) -> None:
    lines = (run / "rollouts.jsonl").read_bytes()
    (run / "rollouts.jsonl").write_bytes(lines[:-20])


def _no_rollouts(run: Path) -> None:
    (run / "rollouts.jsonl").unlink()
    (run / "summary.json").unlink()


def _unreadable(run: Path) -> None:
    (run / "run.json").unlink()
    os.mkfifo(run / "run.json")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_no_record, "run.json"),
        (_no_tasks, "no such file"),
        (_broken_line, "a line of its rollouts can't be read"),
        (_torn_line, "23 of 24"),
        (_no_rollouts, "0 of 24"),
        (_unreadable, "regular file"),
    ],
)
def test_a_damaged_run_is_listed_with_what_is_wrong(folder: Path, client: Client, damage, words: str):
    run = folder / "runs/arithmetic/nano-thinking"
    os.utime(run / "summary.json", (1, 1))
    damage(run)
    answer = client.get("/")
    assert (answer.status, words in answer.words) == (200, True), answer.words
    assert "nano-instruct" in answer.words


def test_an_empty_folder_says_what_makes_a_run(tmp_path: Path, served):
    assert "assay run" in served(tmp_path).get("/").words


def test_folders_that_are_too_many_are_told_of(folder: Path, served, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(catalog, "MOST_FOLDERS", 3)
    words = served(folder).get("/").words
    assert "runs may be missing" in words

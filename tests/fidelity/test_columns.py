"""Large runs: their columns and findings are kept, say what the lines say, and are made again once these change."""

import hashlib
import json
import os
from pathlib import Path

import msgspec
import numpy as np
import pytest

from assay.fidelity.detectors import detect, search
from assay.fidelity.results import columns, results
from assay.fidelity.results.results import read
from assay.store import read_rollouts
from tests.commands import assay
from tests.fidelity.made import made_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("columns")
    code, _, err = assay("run", "arithmetic", "--model", "policy", "--repeats", "2", "--limit", "60", cwd=folder)
    assert code == 0, err
    return folder / "runs/arithmetic-limit60/policy"


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run counts as large."""
    monkeypatch.setattr(columns, "WORTH", 1)
    monkeypatch.setattr(search, "WORTH", 1)


def test_a_small_run_has_none(run: Path):
    read(run)
    assert not (run / columns.NAME).exists()


def test_a_run_of_some_thousand_rollouts_is_searched_once(tmp_path: Path):
    run = made_run(tmp_path / "run", [[1, 0, None, 1]] * 300)
    found = detect(run, "m")
    assert columns.load(run) is not None
    assert json.loads((run / "findings.json").read_bytes())["findings"] == msgspec.to_builtins(found)


@pytest.mark.usefixtures("large")
def test_columns_say_what_the_lines_say(run: Path):
    (run / columns.NAME).unlink(missing_ok=True)
    first, found = read(run), detect(run, "policy")
    assert (run / columns.NAME).exists() and (run / "findings.json").exists()
    again = read(run)
    assert columns.load(run) is not None
    assert (again.cells, again.tokens, again.wall_s, again.roles_usd) == (
        first.cells,
        first.tokens,
        first.wall_s,
        first.roles_usd,
    )
    assert (again.rewards_TK == first.rewards_TK).all()
    assert detect(run, "policy") == found


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("what", ["grown", "changed", "torn table", "one bit", "no text beside", "another code"])
def test_a_stale_or_damaged_table_is_made_again(run: Path, what: str, monkeypatch: pytest.MonkeyPatch):
    read(run)
    lines = (run / "rollouts.jsonl").read_bytes()
    before = len(read(run).scored)
    try:
        if what == "grown":
            extra = lines.splitlines(keepends=True)[0].replace(b'"repeat":0', b'"repeat":2')
            (run / "rollouts.jsonl").write_bytes(lines + extra)
        if what == "changed":
            kept = os.stat(run / "rollouts.jsonl")
            (run / "rollouts.jsonl").write_bytes(lines.replace(b'"reward":1.0', b'"reward":0.0'))
            os.utime(run / "rollouts.jsonl", ns=(kept.st_atime_ns, kept.st_mtime_ns))
        if what == "torn table":
            table = (run / columns.NAME).read_bytes()
            (run / columns.NAME).write_bytes(table[: len(table) // 2])
        if what == "one bit":
            table = bytearray((run / columns.NAME).read_bytes())
            table[len(table) // 3] ^= 1
            (run / columns.NAME).write_bytes(table)
        if what == "no text beside":
            (run / columns.BESIDE).write_bytes(b'{"made_of":"\xff"}')
        if what == "another code":
            monkeypatch.setattr(columns, "tree_digest", lambda *_: "other")
        assert columns.load(run) is None
        found = read(run)
        assert len(found.scored) == before + (what == "grown")
        if what == "changed":
            assert not any(cell.reward for cell in found.cells)
    finally:
        (run / "rollouts.jsonl").write_bytes(lines)


@pytest.mark.usefixtures("large")
def test_a_planted_table_whose_digests_fit_is_not_believed(run: Path):
    true = read(run)
    cells = [msgspec.structs.replace(cell, reward=1.0) for cell in true.cells]
    columns.keep(run, cells, columns.Totals(true.tokens, true.wall_s, true.roles_usd), columns.stamp(run))
    assert columns.load(run) is not None
    assert (read(run).rewards_TK == true.rewards_TK).all()
    kept = columns.load(run)
    assert kept is not None and kept[0] == true.cells, "it is made again"


@pytest.mark.usefixtures("large")
def test_kept_findings_of_which_a_byte_is_another_are_found_again(tmp_path: Path):
    run = made_run(tmp_path / "run", [[1, 0, None]] * 4)
    found = detect(run, "m")
    kept = (run / "findings.json").read_bytes()
    assert found
    for damaged in (kept.replace(b'"count": ', b'"count": 1', 1), kept.replace(b'"reason": "', b'"reason": "\xff', 1)):
        assert damaged != kept
        (run / "findings.json").write_bytes(damaged)
        assert detect(run, "m") == found


def test_a_failed_rollout_and_an_unknown_answer_stay_what_they_are(tmp_path: Path):
    cells = [
        columns.Cell(0, 0, None, None, "failed", 0, 2**64 - 1),
        columns.Cell(0, 1, 0.25, "", "completed", 2**40, 0, 0.125),
    ]
    for name in ("run.json", "tasks.jsonl", "rollouts.jsonl"):
        (tmp_path / name).write_text("")
    columns.keep(tmp_path, cells * columns.WORTH, columns.Totals({"input": 3}, 1.5, None), columns.stamp(tmp_path))
    found = columns.load(tmp_path)
    assert found is not None
    assert found[0][:2] == cells and found[1] == columns.Totals({"input": 3}, 1.5, None)


def test_the_table_is_one_that_numpy_reads_without_pickle(tmp_path: Path):
    for name in ("run.json", "tasks.jsonl"):
        (tmp_path / name).write_text("")
    cells = [columns.Cell(task, 0, 1.0, "a", "completed", 5, task) for task in range(columns.WORTH)]
    columns.keep(tmp_path, cells, columns.Totals({}, 0.0, 0.0), columns.stamp(tmp_path))
    with np.load(tmp_path / columns.NAME, allow_pickle=False) as table:
        assert set(columns.Cell.__struct_fields__) <= set(table)
        assert table["reward"].sum() == columns.WORTH


class Trap:
    """An object that leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("what", ["no archive", "a field less", "another type", "a number past the names", "a pickle"])
def test_a_foreign_table_is_not_read_even_where_its_digest_fits(tmp_path: Path, what: str):
    cells = [columns.Cell(task, 0, 1.0, "a", "completed", 5, task) for task in range(columns.WORTH)]
    for name in ("run.json", "tasks.jsonl"):
        (tmp_path / name).write_text("")
    columns.keep(tmp_path, cells, columns.Totals({}, 0.0, 0.0), columns.stamp(tmp_path))
    path = tmp_path / columns.NAME
    with np.load(path) as table:
        arrays = dict(table)
    if what == "no archive":
        path.write_bytes(b"task,repeat\n0,0\n")
    else:
        if what == "a field less":
            del arrays["text"]
        if what == "another type":
            arrays["reward"] = arrays["reward"].astype("f4")
        if what == "a number past the names":
            arrays["answer"] = arrays["answer"] + 1
        if what == "a pickle":
            arrays["task"] = np.array([Trap(tmp_path / "sprung")] * len(cells), object)
        np.savez(path, **arrays)
    beside = msgspec.json.decode((tmp_path / columns.BESIDE).read_bytes())
    beside["table"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / columns.BESIDE).write_bytes(msgspec.json.encode(beside))
    assert columns.load(tmp_path) is None
    assert not (tmp_path / "sprung").exists()


def test_lines_are_read_for_what_columns_do_not_hold(run: Path):
    assert len(list(read_rollouts(run))) == len(results.read(run).cells)

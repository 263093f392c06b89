"""hf:ORG/NAME, against a hub on loopback."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.benchmarks.files.hub import choose, parts
from tests.benchmarks.tables import parquet
from tests.commands import assay
from tests.hub import COMMIT, DataSet, Hub

TRAIN = b'{"problem": "1?", "answer": "1"}\n'
TEST = b'{"problem": "1 + 1?", "answer": "2"}\n{"problem": "2 + 2?", "answer": "4"}\n'
CARD = {"configs": [{"config_name": "default", "data_files": [{"split": "test", "path": "test-*.jsonl"}]}]}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    parquet(tmp_path / "one.parquet", {"problem": "1 + 1?", "answer": 2})
    two = {f"test-{part}-of-2.jsonl": line + b"\n" for part, line in enumerate(TEST.splitlines())}
    sets = {
        "mine/plain": DataSet({"README.md": b"", "train.jsonl": TRAIN, "test.jsonl": TEST}),
        "mine/carded": DataSet({"README.md": b"", "train.jsonl": TRAIN, **two}, CARD),
        "mine/parquet": DataSet({"data/test-00000-of-00001.parquet": (tmp_path / "one.parquet").read_bytes()}),
        "mine/many": DataSet({"a/test.jsonl": TEST, "b/test.jsonl": TEST}),
        "mine/scripted": DataSet({"mine.py": b"print()"}),
        "mine/gated": DataSet({}, gated=True),
    }
    with Hub(sets) as served:
        served.variables |= {"HF_HOME": str(tmp_path / "hf"), "ASSAY_DATA": str(tmp_path / "data")}
        yield served


def sources(folder: Path) -> dict[str, str]:
    return json.loads((folder / "run.json").read_text())["sources"]


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("reference", "tasks", "files"),
    [
        ("mine/plain", 2, ["test.jsonl"]),
        ("mine/plain#train", 1, ["train.jsonl"]),
        ("mine/plain#train.jsonl", 1, ["train.jsonl"]),
        (f"mine/carded@{COMMIT}#test", 2, ["test-0-of-2.jsonl", "test-1-of-2.jsonl"]),
        (f"mine/parquet@{COMMIT}", 1, ["data/test-00000-of-00001.parquet"]),
        ("mine/many#b/test", 2, ["b/test.jsonl"]),
    ],
)
def test_a_data_set_runs_and_its_revision_and_digests_are_recorded(
    tmp_path: Path, hub: Hub, reference: str, tasks: int, files: list[str]
):
    code, out, err = assay(
        "run", f"maths:hf:{reference}", "--model", "gold", "--repeats", "1", cwd=tmp_path, **hub.variables
    )
    assert code == 0 and f"avg@1 of {tasks} rollouts" in out, err
    name = reference.partition("/")[2].partition("@")[0].partition("#")[0]
    recorded = sources(tmp_path / "runs" / f"maths-{name}" / "gold")
    kept = {f"hf:mine/{name}@{COMMIT}/{file}" for file in files}
    assert {one for one in recorded if one.startswith("hf:")} == kept
    assert all(len(recorded[one]) == 64 for one in kept) and "package huggingface-hub" not in recorded
    assert ("may change" in err) == ("@" not in reference)


def test_a_commit_is_listed_once_and_then_needs_no_network(tmp_path: Path, hub: Hub):
    name = f"maths:hf:mine/plain@{COMMIT}#test"
    code, out, err = assay("prepare", name, cwd=tmp_path, **hub.variables)
    assert code == 0 and Path(out.strip()).read_bytes() == TEST, err
    hub.asked.clear()
    code, out, err = assay("run", name, "--model", "gold", "--repeats", "1", cwd=tmp_path, **hub.variables)
    assert code == 0 and hub.asked == [], err


@pytest.mark.heavy
def test_without_the_hub_what_it_meant_before_is_used(tmp_path: Path, hub: Hub):
    run = ("run", "maths:hf:mine/plain", "--model", "gold", "--repeats", "1")
    hub.variables["HF_HUB_OFFLINE"] = "1"
    code, _, err = assay(*run, cwd=tmp_path, **hub.variables)
    assert code == 2 and "could not be had" in err and "assay prepare" in err
    del hub.variables["HF_HUB_OFFLINE"]
    assert assay("prepare", "maths:hf:mine/plain", cwd=tmp_path, **hub.variables)[0] == 0
    hub.variables["HF_HUB_OFFLINE"] = "1"
    code, out, err = assay(*run, cwd=tmp_path, **hub.variables)
    assert code == 0 and "100.0%" in out, err


@pytest.mark.heavy
def test_a_run_does_not_go_on_with_data_that_changed(tmp_path: Path, hub: Hub):
    run = ("run", "maths:hf:mine/plain", "--model", "gold", "--repeats", "1")
    assert assay(*run, cwd=tmp_path, **hub.variables)[0] == 0
    hub.sets["mine/plain"].files["test.jsonl"] = TEST.replace(b"4", b"5")
    hub.sets["mine/plain"].commit = COMMIT[::-1]
    code, _, err = assay(*run, cwd=tmp_path, **hub.variables)
    assert code == 2 and COMMIT[::-1] in err, err


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("mine/none", "the hub has no data set mine/none"),
        ("mine/plain@v9", "mine/plain has no revision v9"),
        ("mine/plain#dev", "there is no one part #dev; expected one of #default/test, #default/train"),
        ("mine/many", "it has several parts; expected one of #a/test, #b/test"),
        ("mine/scripted", "refs/convert/parquet"),
        ("mine/gated", "set HF_TOKEN"),
        ("mine", "expected hf:ORG/NAME"),
        ("mine/plain@../x", "expected hf:ORG/NAME"),
    ],
)
def test_what_the_hub_does_not_have_is_one_message(tmp_path: Path, hub: Hub, reference: str, said: str):
    code, _, err = assay("run", f"maths:hf:{reference}", "--model", "gold", cwd=tmp_path, **hub.variables)
    assert code == 2 and said in err and "Traceback" not in err, err


def configs(*data_files: Any) -> list[dict[str, Any]]:
    return [{"config_name": f"c{number}", "data_files": one} for number, one in enumerate(data_files)]


@pytest.mark.parametrize(
    ("names", "card", "part", "expected"),
    [
        (["a.csv"], None, None, ["a.csv"]),
        (["train.csv", "test.csv"], None, None, ["test.csv"]),
        (["train.csv", "dev.csv"], None, "validation", ["dev.csv"]),
        (["train.csv", "dev.csv"], None, None, None),
        (["data/test-0.parquet", "data/test-1.parquet", "data/train-0.parquet"], None, "test", ["data/test-0.parquet", "data/test-1.parquet"]),  # noqa: E501
        (["latest.csv"], None, "train", ["latest.csv"]),
        (["one/test.csv", "two/test.csv"], None, "two", ["two/test.csv"]),
        (["default/test/0000.parquet", "other/test/0000.parquet"], None, None, ["default/test/0000.parquet"]),
        (["x.csv", "y.csv"], configs("x.csv", "y.csv"), "c1", ["y.csv"]),
        (["x.csv", "y.csv"], configs(["x.csv", "y.csv"]), None, ["x.csv", "y.csv"]),
        (["d/x-1.csv", "d/y.csv"], configs([{"split": "test", "path": "d/x-*"}]), "test", ["d/x-1.csv"]),
        (["a.csv"], "a card of another form", None, ["a.csv"]),
        (["../a.csv", "/b.csv"], None, None, None),
    ],
)  # fmt: skip
def test_the_files_of_a_part_are_those_of_the_card_or_of_their_names(
    names: list[str], card: Any, part: str | None, expected: list[str] | None
):
    assert choose(parts(names, card), part, names) == expected

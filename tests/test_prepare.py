"""`assay prepare`, as a user types it."""

from pathlib import Path

from tests import commands
from tests.benchmarks.data import beside


def assay(cwd: Path, *words: str) -> tuple[int, str, str]:
    return commands.assay(*words, cwd=cwd, ASSAY_DATA=str(cwd / "data"))


def test_what_is_not_prepared_tells_the_command_and_runs_after_it(tmp_path: Path):
    file = beside("gsm8k", "test.jsonl")
    run = ("run", "gsm8k", "--model", "gold", "--limit", "3")
    code, _, err = assay(tmp_path, *run)
    assert code == 2 and "assay prepare gsm8k" in err
    code, out, err = assay(tmp_path, "prepare", "gsm8k", "--from", str(file))
    assert code == 0 and out.strip() == str(tmp_path / "data" / "gsm8k" / "test.jsonl"), err
    code, out, err = assay(tmp_path, *run)
    assert code == 0 and "100.0%" in out, err
    code, out, err = assay(tmp_path, "prepare", "gsm8k")
    assert code == 0 and "is there already" in out, err


def test_another_file_is_refused_and_a_benchmark_of_the_package_needs_nothing(tmp_path: Path):
    (tmp_path / "test.jsonl").write_text("{}\n")
    code, _, err = assay(tmp_path, "prepare", "gsm8k", "--from", "test.jsonl")
    assert code == 2 and "expected" in err
    assert not (tmp_path / "data").exists()
    for words in ((), ("--from", "test.jsonl")):
        code, out, err = assay(tmp_path, "prepare", "arithmetic", *words)
        assert code == 0 and "needs nothing" in out, err


def test_a_folder_is_looked_through_for_the_data_by_any_name(tmp_path: Path):
    file = beside("gsm8k", "test.jsonl")
    clone = tmp_path / "clone" / "data"
    clone.mkdir(parents=True)
    (clone / "README.md").write_text("none of the data")
    code, _, err = assay(tmp_path, "prepare", "gsm8k", "--from", "clone")
    assert code == 2 and "clone lacks data of gsm8k" in err and "test.jsonl" in err
    (clone / "main-test.txt").write_bytes(file.read_bytes())
    code, out, err = assay(tmp_path, "prepare", "gsm8k", "--from", "clone")
    assert code == 0 and out.strip() == str(tmp_path / "data" / "gsm8k" / "test.jsonl"), err

from pathlib import Path

import pytest

from assay.errors import UsageError
from assay.exports import write
from tests.commands import assay


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    arguments = ("run", "arithmetic", "--model", "gold", "--limit", "3", "--repeats", "1", "--out", "r")
    code, _, err = assay(*arguments, cwd=folder)
    assert code == 0, err
    return folder / "r"


def test_a_format_that_does_not_take_the_thing_is_refused_with_those_that_do(run: Path, tmp_path: Path):
    with pytest.raises(UsageError, match=r"is a run; name a format for it\n.*a run: --format .*nemo-gym"):
        write(str(run), None, None)
    with pytest.raises(UsageError, match=r"no export 'nemo'"):
        write("arithmetic", "nemo", tmp_path / "o")


def test_no_part_of_a_run_is_replaced(run: Path):
    before = (run / "tasks.jsonl").read_bytes()
    for name in ("tasks.jsonl", "run.json", "rollouts.jsonl"):
        with pytest.raises(UsageError, match="part of what is exported"):
            write(str(run), "nemo-gym", run / name)
    assert (run / "tasks.jsonl").read_bytes() == before


def test_formats_are_listed_by_what_they_take(tmp_path: Path):
    code, out, _ = assay("list", "exports", cwd=tmp_path)
    assert code == 0 and "nemo-gym" in out and "benchmark, run" in out
    code, out, _ = assay("export", "--help", cwd=tmp_path)
    assert code == 0 and "of a benchmark: " in out and "of a run: " in out

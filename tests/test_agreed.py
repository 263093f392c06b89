"""The README's table of judgements agreed with the originals': its commands are run, and give its numbers."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from assay.benchmark.catalog import load
from assay.fidelity.original.published import published_scores
from assay.fidelity.original.reference import read_parity
from tests.benchmarks.data import DATA, beside, data_file, prepare, rows
from tests.commands import assay

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
_CELLS = re.compile(r"\| `([\w-]+)` \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| (\d+) of \6 \| `(\S+)` \|")


class Agreed(NamedTuple):
    """A row of the table."""

    tasks: int
    outputs: int
    alike: int
    left_out: int
    scores: int


class Reference(NamedTuple):
    """A command of a row."""

    model: str
    file: Path
    options: list[str]


FOUND = {
    name: (Agreed(*(int(cell.replace(",", "")) for cell in cells)), file)
    for name, *cells, file in _CELLS.findall(README)
}
COLUMNS = {"tau-airline": "--column output=traj --column repeat=trial"}
AGREED = {name: row for name, (row, _) in FOUND.items()}


def references(benchmark: str) -> Iterator[Reference]:
    """The reference files of a row, with the options of the command. gsm8k's two solvers stand in one file."""
    if benchmark == "gsm8k":
        file = beside("gsm8k", "recorded_solutions.jsonl")
        for size in ("6B", "175B"):
            solver = f"{size.lower()}_verification"
            columns = f"--column score={solver}.is_correct --column output={solver}.solution"
            yield Reference(f"gsm8k paper, {size} verification", file, f"--match question {columns}".split())
        return
    folder, _, name = FOUND[benchmark][1].rpartition("/")
    if not (DATA / "recorded" / folder).is_dir():
        pytest.skip(f"{folder} is not on this machine")
    for file in sorted((DATA / "recorded" / folder).glob(name.replace("MODEL", "*"))):
        model = file.name.removesuffix(".jsonl.gz").rpartition("__")[2].replace("3_1", "3.1")
        if model != "tasks":
            yield Reference(model, file, COLUMNS.get(benchmark, "").split())


def test_the_table_has_every_benchmark_whose_outputs_are_recorded():
    assert AGREED.keys() >= {"gsm8k", "gsm8k-zeroeval", "math-l5", "cruxeval", "ifeval", "humaneval"}
    assert AGREED.keys() >= {"mmlu-pro-0-shot", "tau-airline"}


@pytest.mark.parametrize("benchmark", AGREED)
def test_the_table_counts_the_outputs_and_the_published_scores(benchmark: str):
    row, files = AGREED[benchmark], [*references(benchmark)]
    published = published_scores(load(benchmark.removesuffix("-0-shot")))
    assert published and {one.model for one in files} <= {score.model for score in published.scores}
    recorded = {score.model for score in published.scores if score.settings.get("outputs") == "recorded"}
    assert row.scores == len(files) == len(recorded)
    outputs = row.tasks * len(files) if benchmark == "gsm8k" else sum(len(rows(one.file)) for one in files)
    assert (row.outputs, row.alike + row.left_out) == (outputs, outputs)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("benchmark", AGREED)
def test_the_commands_give_the_tables_numbers(benchmark: str, tmp_path: Path):
    published = published_scores(load(benchmark.removesuffix("-0-shot")))
    scores = {score.model: score for score in published.scores if score.whole} if published else {}
    tasks = outputs = alike = reproduced = 0
    for _ in prepare(load(benchmark), data_file(benchmark, tmp_path), tmp_path / "data"):
        for model, file, options in references(benchmark):
            box = ["--setting", "box_fallback=true"] if scores[model].settings.get("box_fallback") else []
            command = ["parity", benchmark, "--reference", str(file), *options, *box, "--out", "p"]
            _, out, err = assay(*command, cwd=tmp_path, timeout=600, ASSAY_DATA=str(tmp_path / "data"))
            made = read_parity(tmp_path / "p/parity.json")
            data, verifiers = (
                next(rung for rung in made.ladder if rung.name == name) for name in ("data", "verifiers")
            )
            assert verifiers.verdict == "identical", (out, err)
            tasks = data.numbers["tasks_here"]
            outputs += made.reference.rows
            alike += verifiers.numbers["agree"]
            digits = len(str(scores[model].score).partition(".")[2])
            reproduced += f"{100 * made.reference.score:.{digits}f}" == scores[model].score
    assert Agreed(tasks, outputs, alike, outputs - alike, reproduced) == AGREED[benchmark]

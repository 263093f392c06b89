"""`assay parity`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import uvloop
from cyclopts import Parameter
from msgspec import structs
from rich.console import Console
from rich.text import Text

from assay.benchmark import Benchmark
from assay.cli.options import BenchmarkName, Code, Paths, Roles
from assay.cli.output import plain_table
from assay.collect.run import tasks_of
from assay.errors import UsageError
from assay.fidelity.original.parity import compare
from assay.fidelity.original.published import MARGIN
from assay.fidelity.original.reference import OriginalResults, pairs, read, read_parity, toml_value
from assay.fidelity.profile import read_plan
from assay.fidelity.schema.evidence import Parity, SampleLook
from assay.gyms.logs import log_files
from assay.gyms.rows import files_of
from assay.input import is_present
from assay.report.words import legible
from assay.score import PassAt, PassHat
from assay.store import write_json, write_lines

STYLES = {
    "identical": "green",
    "equivalent": "green",
    "different": "red bold",
    "inconclusive": "yellow",
    "not run": "dim",
}
ENDING = r"(\.(jsonl|csv))?(\.gz)?$"
CODES = {"identical": 0, "equivalent": 0, "different": 3, "inconclusive": 5}
FIRST = 10
"""Disagreements that are printed."""
console = Console(highlight=False)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Form:
    """What the original's results are like."""

    column: Annotated[tuple[str, ...], Parameter(negative="", consume_multiple=True)] = ()
    """NAME=COLUMN if the files have another name for a column, such as --column score=is_correct; may be given several
    times. Dots lead into nested JSON."""
    match: str | None = None
    """If the original has no task ids: the column whose text is part of exactly one task's prompt. Default: the longest
    text of a row that is part of one."""
    aggregate: str | None = None
    """If outputs have no score each: the score of all of them in per cent, as it is printed, such as 56.25."""
    setting: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """How the original's results were made, such as --setting temperature=0.7; may be given several times. `reasoning`
    (auto, field, tags, none) says where their thinking stands."""

    def read(self, files: Sequence[Path], benchmark: Benchmark) -> OriginalResults:
        """Returns the results in files. Raises UsageError, and InputError with the row that can't be read."""
        settings = pairs(self.setting, "--setting", "temperature=0.7")
        return read(
            files,
            pairs(self.column, "--column", "score=is_correct"),
            match=self.match,
            tasks=tasks_of(benchmark),
            settings={name: toml_value(text) for name, text in settings.items()},
            aggregate=_percent(self.aggregate),
        )


def parity(
    benchmark: BenchmarkName,
    *,
    reference: Paths,
    form: Form = Form(),
    data: Paths = (),
    run: Path | None = None,
    margin: float | None = None,
    out: Path | None = None,
    concurrency: int = 16,
    roles: Roles = Roles(),
    code: Code = Code(),
) -> int:
    """Compare a benchmark with the results of its original code.

    Compares the data, the prompts, both verifiers on the same outputs, and the scores of fresh samples.

    Exits 0 if they are identical or equivalent, 3 if they are different, and 5 if that can't be said.

    Parameters
    ----------
    reference
        The original code's results: files, folders or patterns such as 'out/*.jsonl'. Rows in JSONL, JSON, CSV or
        Parquet (.gz or .zip, too): one row per rollout, with the columns task and score, and repeat, output, prompt and
        gold if there are any. Or the logs of lm-evaluation-harness (--log_samples), Inspect, NeMo Gym or bfcl-eval.
    data
        The original's data files, whose SHA-256 is compared.
    run
        The directory of a new run of the same model here. The result is written there.
    margin
        Largest difference between the scores of fresh samples that counts as equivalent, in percentage points. Default:
        what the run's profile wrote into the registry before its first run, else 2.
    out
        Where to write, if there is no run. Default: parity/BENCHMARK-FILE.
    concurrency
        Outputs that are verified at the same time at most.
    """
    if run is not None and out is not None:
        raise UsageError("--run and --out both say where to write; give one")
    if concurrency < 1:
        raise UsageError(f"--concurrency {concurrency}: expected at least 1")
    bench = code.load(benchmark)
    files = log_files(reference)
    results = form.read(files, bench)
    share = _margin_of(run) if margin is None else margin / 100
    climb = partial(compare, bench, results, run=run, data=files_of(data), margin=share, earlier=_looks(run))
    with console.status(f"comparing {len(results.rows):,} results"):
        comparison = uvloop.run(climb(roles=roles.configs(), concurrency=concurrency))
    _write(run or out or _folder(bench.name, files[0].name), results, comparison, bench)
    return CODES[comparison.verdict]


def _show_attempts(benchmark: Benchmark, results: OriginalResults) -> None:
    """Prints the original's pass@k or pass^k for each k, where the benchmark's score is one of these."""
    score = benchmark.score
    if not isinstance(score, PassAt | PassHat):
        return
    tasks = tasks_of(benchmark)
    rules = [structs.replace(score, k=k) for k in range(1, results.record.repeats + 1)]
    samples = [(rule, results.results(tasks, rule).sample) for rule in rules]
    print(", ".join(f"{rule} {sample.score:.2%}" for rule, sample in samples if sample))


def _percent(score: str | None) -> str | None:
    """Returns a score as it is printed, without its sign. Raises UsageError for what is none."""
    if score is None:
        return None
    number = score.removesuffix("%").strip()
    if not re.fullmatch(r"\d+(\.\d+)?", number) or float(number) > 100:
        raise UsageError(f"--aggregate {score}: expected a score in per cent, such as 56.25")
    return number


def _looks(run: Path | None) -> list[SampleLook]:
    """Returns the looks at a run's fresh samples before this one."""
    before = run / "parity.json" if run else None
    return read_parity(before).looks if before and is_present(before) else []


def _margin_of(run: Path | None) -> float:
    """Returns the margin that the profile of a run registered, as a share."""
    profile = run.resolve().parent.parent if run else None
    has_plan = profile is not None and is_present(profile / "plan.jsonl")
    return read_plan(profile).margins.get("parity", MARGIN) if profile and has_plan else MARGIN


def _folder(benchmark: str, file: str) -> Path:
    return Path("parity", f"{benchmark.replace('/', '--')}-{re.sub(ENDING, '', file) or file}")


def _write(folder: Path, results: OriginalResults, comparison: Parity, benchmark: Benchmark) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_lines(folder / "reference.jsonl", results.rows)
    write_json(folder / "parity.json", comparison)
    _show_attempts(benchmark, results)
    _show(comparison, folder / "parity.json")


def _show(comparison: Parity, path: Path) -> None:
    ladder = plain_table("rung", "verdict", "why")
    for rung in comparison.ladder:
        ladder.add_row(rung.name, Text(rung.verdict, style=STYLES[rung.verdict]), Text(legible(rung.reason)))
    console.print(ladder)
    disagreements = [(rung.name, one) for rung in comparison.ladder for one in rung.disagreements]
    disagreements.sort(key=lambda one: one[1].there == "no result")  # the least telling last
    if disagreements:
        places = plain_table("rung", "task", "repeat", "there", "here", "why")
        for name, one in disagreements[:FIRST]:
            repeat = "" if one.repeat is None else str(one.repeat)
            places.add_row(name, *(Text(legible(part)) for part in (one.task, repeat, one.there, one.here, one.why)))
        more = (
            f"{len(disagreements) - FIRST:,} more disagreements are"
            if len(disagreements) > FIRST
            else "Disagreements are"
        )
        console.print("", places, Text(f"{more} in {path}."))
    reference = comparison.reference
    print()
    for remark in reference.remarks[: FIRST + 1]:
        print(legible(remark))
    of = f"{reference.rows:,} results on {reference.tasks:,} tasks"
    print(f"{reference.file}: score {reference.score:.2%} of {of}{f' ({reference.log})' if reference.log else ''}")
    print(f"{comparison.verdict}: {legible(comparison.reason)}\n{path}")

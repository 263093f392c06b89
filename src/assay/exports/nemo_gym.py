"""Rows of NeMo Gym: a benchmark's tasks, or a run's rollouts for its trainers."""

from pathlib import Path

from assay.benchmark import Benchmark
from assay.exports import Export
from assay.gyms.nemo_gym.interchange import export_run, export_tasks, failures_beside


def _benchmark(benchmark: Benchmark, file: Path) -> str:
    return f"{export_tasks(benchmark, file)} tasks are in {file}"


def _run(folder: Path, file: Path) -> str:
    scored, failed = export_run(folder, file)
    return f"{scored} rollouts are in {file}, {failed} failures in {failures_beside(file)}"


EXPORT = Export(ending=".jsonl", benchmark=_benchmark, run=_run)

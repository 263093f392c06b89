"""`assay train`."""

import importlib
from functools import partial
from pathlib import Path
from typing import Any

from assay.cli.collect.live import console
from assay.cli.options import BenchmarkName
from assay.config import assay_toml, load_model
from assay.errors import UsageError
from assay.fidelity.compare.compare import side_by_side
from assay.input import check_vacant
from assay.library.names import load
from assay.model.builtin.local import folder_of
from assay.report import comparison
from assay.trainers import page
from assay.trainers.training import Settings, Training, compare_sides


def train(
    benchmark: BenchmarkName,
    *,
    model: str = "policy",
    out: Path | None = None,
    steps: int = 80,
    learning_rate: float = 2e-4,
    attempts: int = 64,
    seed: int = 0,
    on_test: bool = False,
) -> int:
    """Train a small model on a benchmark's training tasks by GRPO, on a CPU, and compare it before and after.

    Training tasks share no problem with the test tasks. Needs the extra `trl`. Writes checkpoints (each a model,
    `local:FOLDER`), the runs on the test tasks, `training.json` and `training.html`, the page with the curves.

    Exits 3 if the policy got worse, learns the training tasks alone or seems to have found a hole in the verifier, 5 if
    the score did not rise.

    Parameters
    ----------
    model
        An embedded model's name, or local:FOLDER with a small Llama.
    out
        The directory to write to. Default: trainings/BENCHMARK-MODEL.
    steps
        Updates of the weights, each of 64 tasks with 8 rollouts.
    learning_rate
        Learning rate of the first step; it falls linearly to 0.
    attempts
        Rollouts of each test task, before and after; also k of the largest pass@k.
    seed
        Seed of tasks, rollouts and the order of training.
    on_test
        Train on the benchmark's test tasks where it has no others. Its score then means nothing.
    """
    name, server = load_model(model, own=assay_toml())
    if server.dialect != "local":
        raise UsageError(f"--model {model}: only a model that runs here can be trained; expected such as policy")
    settings = _check(Settings(steps=steps, learning_rate=learning_rate, attempts=attempts, seed=seed))
    bench, weights = load(benchmark), folder_of(server.id)
    grpo = _grpo()
    folder = out or Path("trainings") / f"{bench.name}-{name}"
    check_vacant(folder)
    try:
        record: Training = grpo.train(
            bench, name, weights, server, folder, settings=settings, on_test=on_test, watch=partial(_show, folder)
        )
    except KeyboardInterrupt:
        print(f"interrupted; {folder} holds the checkpoints and the curves so far", file=console.file)
        raise
    _end(folder, record)
    return 3 if record.stop_reason or page.suspicion(record) else 0 if page.is_better(record) else 5


def _check(settings: Settings) -> Settings:
    """Returns the settings. Raises UsageError for those that no training can have."""
    for option, value, is_sound, expected in (
        ("--steps", settings.steps, settings.steps > 0, "above 0"),
        ("--learning-rate", settings.learning_rate, 0 < settings.learning_rate < 1, "between 0 and 1"),
        ("--attempts", settings.attempts, settings.attempts > 0, "above 0"),
        ("--seed", settings.seed, settings.seed >= 0, "from 0 on"),
    ):
        if not is_sound:
            raise UsageError(f"{option} {value}: expected a number {expected}")
    return settings


def _grpo() -> Any:
    try:
        return importlib.import_module("assay.trainers.grpo")
    except ImportError as error:
        raise UsageError(f"training needs the extra trl ({error}).\n  pip install 'assay[trl]'") from None


def _show(folder: Path, record: Training) -> None:
    if not record.looks:
        console.print(f"{record.model} on the test tasks of {record.benchmark}, before it is trained ...")
        return
    look = record.looks[-1]
    reward = f" · reward {record.steps[-1].reward:.1%}" if record.steps else ""
    place = f"step {look.step} of {record.settings.steps}"
    console.print(f"{place}: held out {look.score:.1%} ± {1.96 * look.se:.1%}{reward}")
    page.publish(folder / "training.html", record)


def _end(folder: Path, record: Training) -> None:
    """Write the pages and print the outcome."""
    page.publish(folder / "training.html", record)
    print(page.headline(record))
    if record.changes:
        sides = compare_sides(folder / "before", folder / "after", record.model)
        comparison.write(folder / "comparison.html", sides, side_by_side(sides))
        for one in record.changes:
            print(f"  {one.name:24} {one.before:7.1%} {one.after:7.1%}   {page.interval(one)}")
        print(page.suspicion(record) or page.reading(record))
    print(f"Page: {folder / 'training.html'}")

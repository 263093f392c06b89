"""What is known of a profile's failing rollouts, or of one run's, before anybody has read them."""

from pathlib import Path

from msgspec import Struct

from assay.config import unknown
from assay.errors import UsageError
from assay.fidelity.detectors import LOOKED_FOR, detect
from assay.fidelity.detectors.suspects import suspects
from assay.fidelity.profile import contenders_of, read_plan
from assay.fidelity.results.contender import measured
from assay.fidelity.results.results import Results, read
from assay.fidelity.schema.evidence import Finding, SuspectTask
from assay.store import read_record


class Failures(Struct, frozen=True, kw_only=True):
    """What the detectors found, and which tasks are suspect."""

    rollouts: dict[str, int]
    """By model that was looked at, how many rollouts were tried."""
    findings: list[Finding]
    models: int
    """How many there are, by all of which tasks are suspected, whichever were looked at."""
    suspects: list[SuspectTask]
    looked_for: tuple[str, ...] = LOOKED_FOR


def failures(folder: Path, model: str | None = None) -> Failures:
    """What a profile's folder or a run directory shows; of one model alone where it is named.

    Raises UsageError where the folder is neither, or has no such model, and InputError where a file is damaged.
    """
    runs = runs_of(folder)
    if model is not None and model not in runs:
        unknown("model with a run here", model, runs)
    looked = {name: found for name, found in runs.items() if model in (None, name)}
    return Failures(
        rollouts={name: len(results.cells) for name, (_, results) in looked.items()},
        findings=[one for name, (run, results) in looked.items() for one in detect(run, name, results)],
        models=len(runs),
        suspects=suspects({name: results for name, (_, results) in runs.items()}),
    )


def runs_of(folder: Path) -> dict[str, tuple[Path, Results]]:
    """By model, each run directory of a profile with its results, without the gates' own models; or the one run."""
    if (folder / "run.json").exists():
        return {read_record(folder).model: (folder, read(folder))}
    if not (folder / "plan.jsonl").exists():
        raise UsageError(f"{folder} is neither a run's directory nor a profile's: it has no run.json and no plan.jsonl")
    plan = read_plan(folder)
    chosen = measured(plan.suite, contenders_of(folder, plan))
    return {one.name: (folder / "runs" / one.name, one.results) for one in chosen}

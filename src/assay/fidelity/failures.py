"""The findings in a profile or a run before anybody has read its rollouts."""

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from assay.errors import UnknownName, UsageError
from assay.fidelity.detectors import detectors, read_with_findings
from assay.fidelity.detectors.suspects import suspects
from assay.fidelity.profile import contenders_of, read_plan
from assay.fidelity.results.contender import measured_models
from assay.fidelity.results.results import Results
from assay.fidelity.schema.evidence import Finding, SuspectTask
from assay.input import is_present
from assay.store import read_record


class Failures(Struct, frozen=True, kw_only=True):
    """The detectors' findings, and the suspect tasks."""

    rollouts: dict[str, int]
    """The number of rollouts that were made, by model."""
    findings: list[Finding]
    models: int
    """The number of all models, on which the suspicion of tasks is based."""
    suspects: list[SuspectTask]
    looked_for: tuple[str, ...]
    """The names of all detectors."""


def failures(folder: Path, model: str | None = None) -> Failures:
    """Returns the findings in a profile's folder or a run directory; with `model`, those of this model.

    Raises UsageError if the folder is neither, or has no such model, and InputError if a file is damaged.
    """
    runs = runs_of(folder)
    if model is not None and model not in runs:
        raise UnknownName("model with a run here", model, runs)
    looked = {name: found for name, found in runs.items() if model in (None, name)}
    return Failures(
        rollouts={name: len(results.cells) for name, (results, _) in looked.items()},
        findings=[one for _, findings in looked.values() for one in findings],
        models=len(runs),
        suspects=suspects({name: results for name, (results, _) in runs.items()}),
        looked_for=tuple(detectors()),
    )


def runs_of(folder: Path) -> dict[str, tuple[Results, Sequence[Finding]]]:
    """Returns the results and findings of each run by model, for a run or for a profile without `gold` and the like."""
    if is_present(folder / "run.json"):
        model = read_record(folder).model
        return {model: read_with_findings(folder, model)}
    if not is_present(folder / "plan.jsonl"):
        raise UsageError(f"{folder} is neither a run's directory nor a profile's: it has no run.json and no plan.jsonl")
    plan = read_plan(folder)
    return {one.name: (one.results, one.findings) for one in measured_models(plan.suite, contenders_of(folder, plan))}

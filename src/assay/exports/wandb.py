"""Weights & Biases: a run, or each run of a profile, with scores, intervals and rollouts; report and certificate too.

Where it goes is wandb's own matter: `wandb login`, WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE=offline.
"""

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from assay.exports import Export
from assay.exports.rows import Filter, row_of, select
from assay.fidelity.results.results import read
from assay.fidelity.results.summary import summarise
from assay.fidelity.schema.profile import Profile
from assay.gyms import require
from assay.input import read_input
from assay.store import read_record

ARTIFACTS = ("report.html", "certificate.json", "profile.json")
JSON = ("metrics", "tags")


class Options(Struct, frozen=True, forbid_unknown_fields=True):
    """What `--set KEY=VALUE` changes."""

    project: str = "assay"
    rollouts: int = 10_000
    """The most rollouts of a run in its table."""


def _run(folder: Path, place: Path, options: Options) -> str:
    return _summary([_log_run(folder, place, options, group=None)], place)


def _profile(folder: Path, place: Path, options: Options) -> str:
    profile = msgspec.json.decode(read_input(folder / "profile.json"), type=Profile)
    group = folder.resolve().name
    names = [name for name, one in profile.models.items() if one.ran]
    runs = [_log_run(folder / "runs" / name, place, options, group) for name in names]
    wandb = require("wandb", "wandb")
    run = _init_run(
        place, options, name=group, group=group, job_type="profile", config={"benchmark": profile.benchmark}
    )
    gates = [[gate.name, gate.verdict, gate.reason] for gate in profile.gates]
    run.log({"gates": wandb.Table(columns=["gate", "verdict", "reason"], data=gates)})
    files = [folder / name for name in ARTIFACTS if (folder / name).is_file()]
    artifact = wandb.Artifact(f"{group}-profile", type="profile")
    for file in files:
        artifact.add_file(str(file))
    run.log_artifact(artifact)
    run.finish()
    return _summary([*runs, run], place) + f"; {', '.join(file.name for file in files)} are its artifacts"


def _log_run(folder: Path, place: Path, options: Options, group: str | None) -> Any:
    record, summary = read_record(folder), summarise(read(folder))
    config = msgspec.to_builtins(msgspec.structs.replace(record, sources={}))
    run = _init_run(
        place, options, name=f"{record.benchmark} {record.model}", group=group, job_type="run", config=config
    )
    figures = {name: value for name, value in msgspec.to_builtins(summary).items() if value is not None}
    run.summary.update(figures)
    rows = [row_of(task, rollout) for task, rollout in select(folder, Filter(limit=options.rollouts))]
    cells = [{**row, **{name: msgspec.json.encode(row[name]).decode() for name in JSON}} for row in rows]
    data = [list(row.values()) for row in cells]
    table = require("wandb", "wandb").Table(columns=list(rows[0]), data=data, allow_mixed_types=True)
    run.log({"rollouts": table})
    run.finish()
    return run


def _init_run(place: Path, options: Options, **more: Any) -> Any:
    wandb = require("wandb", "wandb")
    place.mkdir(parents=True, exist_ok=True)
    settings = wandb.Settings(console="off", silent=True, disable_git=True, save_code=False)
    return wandb.init(dir=str(place), project=options.project, reinit="finish_previous", settings=settings, **more)


def _summary(runs: list[Any], place: Path) -> str:
    where = [run.url for run in runs if run.url] or [
        f"{place}/wandb; to send them: wandb sync {place}/wandb/offline-run-*"
    ]
    return f"{len(runs)} runs of Weights & Biases are in {', '.join(where)}"


EXPORT = Export(options=Options(), run=_run, profile=_profile)

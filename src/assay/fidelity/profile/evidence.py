"""What a profile is computed from, read from its folder: the one place of the room that reads."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from assay.benchmark import Benchmark
from assay.benchmark.catalog import path_of
from assay.benchmark.code import score_code
from assay.config import Suite
from assay.digest import changed_files, digest, tasks_digest
from assay.errors import DigestMismatch, InputError, UsageError
from assay.fidelity.detectors import read_with_findings
from assay.fidelity.detectors.suspects import suspects as find_suspects
from assay.fidelity.original.parity import digests_of
from assay.fidelity.original.published import Published, published_scores, run_settings
from assay.fidelity.original.reference import OriginalResults, read_parity, read_stored
from assay.fidelity.results.contender import Contender, measured_models
from assay.fidelity.review.judging import ROLE, read_judging
from assay.fidelity.review.marks import read_remarks
from assay.fidelity.review.review import Material, material
from assay.fidelity.schema.evidence import Parity, Remark, SuspectTask
from assay.fidelity.schema.judging import Judging
from assay.fidelity.schema.profile import BenchmarkRecord, Plan, Profile
from assay.input import BROKEN, is_present, read_input
from assay.score import Mean, ScoreRule
from assay.store import RunRecord, read_lines, read_record
from assay.types import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that a profile follows from, but for the gates that run the benchmark. By model where it is a mapping."""

    plan: Plan
    contenders: Sequence[Contender]
    said: Sequence[Remark]
    """What readers marked and explained."""
    records: Mapping[str, RunRecord]
    judging: Judging | None
    """What the judge said when it was asked again."""
    parities: Mapping[str, Parity]
    references: Mapping[str, OriginalResults]
    """The original code's results."""
    digests: tuple[str, str]
    """Of the benchmark's tasks and code as they are now; empty where it can't be had."""
    tasks: Sequence[Task]
    """Its tasks, whatever was selected; empty where nothing is published."""
    score: ScoreRule
    """What the benchmark declares that its score is."""
    published: Published | None

    @property
    def judge(self) -> dict[str, Any] | None:
        """The id and the settings of the judge that scored the runs; None where none did."""
        return next((record.roles[ROLE].identity for record in self.records.values() if ROLE in record.roles), None)


def gather(folder: Path, plan: Plan, contenders: Sequence[Contender], benchmark: Benchmark | None) -> Evidence:
    """The evidence in a profile's folder, with the models as they were read. Raises InputError for a damaged file."""
    runs = {one.name: folder / "runs" / one.name for one in contenders}
    stated = published_scores(benchmark) if benchmark else None
    return Evidence(
        plan=plan,
        contenders=contenders,
        said=read_remarks(folder),
        records={name: read_record(run) for name, run in runs.items()},
        judging=read_judging(folder, runs),
        parities={
            name: read_parity(run / "parity.json") for name, run in runs.items() if is_present(run / "parity.json")
        },
        references={name: kept for name, run in runs.items() if (kept := read_stored(run))},
        digests=digests_of(benchmark) if benchmark else ("", ""),
        tasks=list(benchmark.environment.tasks()) if benchmark and stated else [],
        score=benchmark.score if benchmark else Mean(),
        published=stated,
    )


def material_of(evidence: Evidence, suspects: Sequence[SuspectTask]) -> Material:
    """Returns what there is to read of a profile."""
    return _material(evidence.plan, evidence.contenders, suspects, evidence.records)


def load_material(folder: Path) -> Material:
    """Returns what there is to read of the profile in a folder. Raises UsageError and InputError as `read_plan`."""
    plan = read_plan(folder)
    contenders = contenders_of(folder, plan)
    chosen = measured_models(plan.suite, contenders)
    records = {one.name: read_record(folder / "runs" / one.name) for one in chosen}
    return _material(plan, contenders, find_suspects({one.name: one.results for one in chosen}), records)


def _material(
    plan: Plan, contenders: Sequence[Contender], suspects: Sequence[SuspectTask], records: Mapping[str, RunRecord]
) -> Material:
    rescored = {name: datetime.fromisoformat(one.started) for name, one in records.items() if one.rescored}
    return material(measured_models(plan.suite, contenders), suspects, plan.benchmark.declared, rescored)


def read_plan(folder: Path) -> Plan:
    """What was asked for last. Raises UsageError where the folder holds no profile, and InputError for damage."""
    path = folder / "plan.jsonl"
    if not is_present(path):
        raise UsageError(
            f"{folder} is not a profile's folder: it has no plan.jsonl; expected what `assay profile` made"
        )
    plans = list(read_lines(path, Plan))
    if not plans:
        raise InputError(path, None, "no whole line", "what `assay profile` wrote")
    return structs.replace(plans[-1], started=plans[0].started)


def changes(planned: BenchmarkRecord, now: BenchmarkRecord) -> list[str]:
    """What of a benchmark is not what was profiled, a line each."""
    names = (
        ("version", planned.version, now.version),
        ("tasks", planned.digest, now.digest),
    )
    changed = [f"{name}: {there[:12]} there, {here[:12]} now" for name, there, here in names if there != here]
    if planned.code != now.code:
        files = changed_files(planned.sources, now.sources) if planned.sources else ["it was made by an older Assay"]
        changed.append(f"the verifier's code: {', '.join(files)}")
    return changed


def source_seen_from(folder: Path, benchmark: Benchmark) -> str:
    """Returns how a profile in a folder names its benchmark: a path is the way from there, whatever the directory."""
    name, origin = benchmark.source, benchmark.origin
    path = path_of(name)
    is_path = Path(path).is_file() if path != name else origin and origin.folder and not origin.package
    if not is_path:
        return name
    way = os.path.relpath(Path(path).resolve(), folder.resolve())
    return name.replace(path, way if way.startswith(".") else f"./{way}", 1)


def source_of(folder: Path, plan: Plan) -> str:
    """Returns the name by which a profile's benchmark is found from the working directory."""
    path = path_of(plan.source)
    if not path.startswith(".") or not (folder / path).exists():
        return plan.source
    return plan.source.replace(path, os.path.join(".", os.path.relpath(folder / path)), 1)


def changed_benchmark(folder: Path, benchmark: BenchmarkRecord, changed: list[str]) -> DigestMismatch:
    return DigestMismatch(
        f"{folder}: {benchmark.name} is not what was profiled there:\n  "
        + "\n  ".join(changed)
        + f"\n  Choose another directory with --out. Where the verifier alone changed, `assay rescore {folder}` "
        "takes the rollouts along."
    )


def contenders_of(folder: Path, plan: Plan, *, cached: bool = True) -> list[Contender]:
    """The models that have a run, as the gates see them.

    `cached` says whether what earlier commands derived from the rollouts is trusted, and kept for later ones.
    """
    names = [name for name in plan.suite.models if is_present(folder / "runs" / name / "run.json")]
    return [read_contender(folder, plan.suite, name, plan.repeats_of(name), cached=cached) for name in names]


def read_contender(folder: Path, suite: Suite, name: str, repeats: int, *, cached: bool = True) -> Contender:
    """One model of a profile, whose run's rollouts are decoded once. Raises InputError where the run is damaged."""
    member = suite.models[name]
    results, findings = read_with_findings(folder / "runs" / name, name, repeats, cached=cached)
    settings = run_settings(read_record(folder / "runs" / name))
    return Contender(
        name,
        member.role,
        member.kind,
        member.tier,
        results,
        findings,
        id=member.id,
        server=member.base_url or "",
        greedy=settings.get("temperature") == 0,
    )


def earlier_profile(folder: Path, benchmark: BenchmarkRecord) -> Profile | None:
    """The profile that was computed in a folder for this very benchmark; None where there is none."""
    try:
        earlier = msgspec.json.decode(read_input(folder / "profile.json"), type=Profile)
    except (OSError, *BROKEN):
        return None
    return earlier if earlier.benchmark == benchmark else None


def record_of(benchmark: Benchmark, tasks: list[Task], all_tasks: int | None) -> BenchmarkRecord:
    """Returns what a profile says of its benchmark, as it is now. The tasks are as `select_tasks` returns them."""
    sources = score_code(benchmark)
    return BenchmarkRecord(
        name=benchmark.name,
        version=benchmark.version,
        digest=tasks_digest(tasks),
        tasks=len(tasks),
        code=digest(sources),
        sources=sources,
        all_tasks=all_tasks,
        declared=sorted({task for defect in benchmark.defects for task in defect.tasks}),
    )

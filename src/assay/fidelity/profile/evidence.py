"""Reads the evidence from which a profile is computed. Only this module of the folder reads files."""

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
    """All that a profile is computed from, except the gates that run the benchmark. Mappings are by model."""

    plan: Plan
    contenders: Sequence[Contender]
    said: Sequence[Remark]
    """The readers' marks and explanations."""
    records: Mapping[str, RunRecord]
    judging: Judging | None
    """The judge's later judgements of the same answers."""
    parities: Mapping[str, Parity]
    references: Mapping[str, OriginalResults]
    """The original code's results."""
    digests: tuple[str, str]
    """Digests of the benchmark's tasks and code as they are now; empty if the benchmark is not available."""
    tasks: Sequence[Task]
    """All tasks of the benchmark; empty if it has no published scores."""
    score: ScoreRule
    """The score that the benchmark declares."""
    published: Published | None

    @property
    def judge(self) -> dict[str, Any] | None:
        """The id and the settings of the judge that scored the runs; None if there is no judge."""
        return next((record.roles[ROLE].identity for record in self.records.values() if ROLE in record.roles), None)


def gather(folder: Path, plan: Plan, contenders: Sequence[Contender], benchmark: Benchmark | None) -> Evidence:
    """Returns the evidence in a profile's folder. Raises InputError for a damaged file."""
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
    """Returns the material that readers of a profile need."""
    return _material(evidence.plan, evidence.contenders, suspects, evidence.records)


def load_material(folder: Path) -> Material:
    """Returns the material that readers of the profile in a folder need. Raises as `read_plan`."""
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
    """Returns the last plan. Raises UsageError if the folder holds no profile, and InputError for a damaged file."""
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
    """Returns the differences from the profiled benchmark, a line each."""
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
    """Returns a benchmark's name for a profile in a folder. A path is relative to that folder."""
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
    """Returns the models with a run, as the gates need them.

    `cached` says whether caches of rollouts are used and written.
    """
    names = [name for name in plan.suite.models if is_present(folder / "runs" / name / "run.json")]
    return [read_contender(folder, plan.suite, name, plan.repeats_of(name), cached=cached) for name in names]


def read_contender(folder: Path, suite: Suite, name: str, repeats: int, *, cached: bool = True) -> Contender:
    """Returns one model of a profile. Its rollouts are decoded once. Raises InputError if the run is damaged."""
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
    """Returns the stored profile of a folder if it is of this benchmark; else None."""
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

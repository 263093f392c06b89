"""The profile: evidence in, Profile out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import structs

from assay.benchmark import Benchmark
from assay.benchmark.catalog import load
from assay.collect.run import connect_roles, select_tasks
from assay.config import Suite
from assay.fidelity.detectors.suspects import suspects
from assay.fidelity.gates import OF_BENCHMARK, judge_benchmark, judge_profile
from assay.fidelity.gates.repeats import repeats_record
from assay.fidelity.gates.rule import Facts
from assay.fidelity.original.published import MARGIN, reproductions
from assay.fidelity.profile.evidence import (
    Evidence,
    changed_benchmark,
    changes,
    contenders_of,
    earlier_profile,
    gather,
    material_of,
    read_plan,
    record_of,
    source_of,
)
from assay.fidelity.results.contender import measured_models
from assay.fidelity.results.results import Results
from assay.fidelity.results.summary import summarise
from assay.fidelity.review.review import Progress, review
from assay.fidelity.schema.profile import Gate, ModelSummary, Plan, Profile, Summary
from assay.store import write_json, write_lines


def profile_of(evidence: Evidence, known: Sequence[Gate], *, wall_s: float | None = None) -> Profile:
    """Returns the profile of the evidence. Reads no file and calls no model.

    `known` are the gates that need more than the evidence: gold and verifier, which run the benchmark, and without a
    benchmark also reproduced and parity.
    """
    plan, contenders = evidence.plan, evidence.contenders
    chosen = measured_models(plan.suite, contenders)
    findings = [finding for one in chosen for finding in one.findings]
    suspected = suspects({one.name: one.results for one in chosen})
    read = review(Progress(material_of(evidence, suspected), evidence.said))
    stated = evidence.published
    members = {one.name: plan.suite.models[one.name].published for one in contenders}
    results = {one.name: one.results for one in contenders}
    facts = Facts(
        suite=plan.suite,
        chance=plan.chance,
        contenders=contenders,
        review=read,
        parities=evidence.parities,
        reproduced=reproductions(
            stated,
            evidence.tasks,
            evidence.score,
            members,
            results,
            evidence.references,
            evidence.records,
            plan.margins.get("reproduced", MARGIN),
        ),
        original=stated is not None and stated.original,
        judge=evidence.judge,
        judging=evidence.judging,
        digests=evidence.digests,
        margins=plan.margins,
        benchmark=plan.benchmark.name,
        hard=plan.hard,
    )
    summaries = {name: summarise(found) for name, found in results.items()}
    return Profile(
        benchmark=plan.benchmark,
        suite=plan.suite.name,
        models={name: _summary(plan.suite, name, summaries.get(name)) for name in plan.suite.models},
        gates=judge_profile(facts, known),
        repeats=repeats_record(contenders, plan.suite.order),
        versions=plan.versions,
        started=plan.started,
        wall_s=wall_s,
        findings=findings,
        suspects=suspected,
        review=read,
        parity=dict(evidence.parities),
        reproduced=list(facts.reproduced),
        original=facts.original,
        forecast=plan.forecast,
    )


async def compute(folder: Path, *, benchmark: Benchmark | None = None, again: bool = False) -> Profile:
    """Returns the profile of `compute_with_results`."""
    return (await compute_with_results(folder, benchmark=benchmark, again=again))[0]


async def compute_with_results(
    folder: Path, *, benchmark: Benchmark | None = None, again: bool = False
) -> tuple[Profile, dict[str, Results]]:
    """Computes a profile from its folder, without any model. Returns it and the results of its runs by model.

    Writes the derived files: `profile.json`, and `summary.json` and `per_task.jsonl` of each run.

    The gates gold and verifier are computed again only if the benchmark has changed, or with `again`; never if the
    benchmark has a model in a role (a judge), which would have to be called.

    Raises UsageError and InputError if there is no profile, and DigestMismatch if the benchmark has changed.
    """
    plan = read_plan(folder)
    benchmark = benchmark or load(source_of(folder, plan))
    known = await known_gates(folder, plan, benchmark, again=again)
    evidence = gather(folder, plan, contenders_of(folder, plan), benchmark)
    return write(folder, evidence, known), {one.name: one.results for one in evidence.contenders}


async def known_gates(
    folder: Path, plan: Plan, benchmark: Benchmark, *, again: bool = False, seed: int = 0
) -> list[Gate]:
    """Returns the gates that run the benchmark, computed or stored, as `compute` says.

    A third of the probes depends on the seed.

    Raises DigestMismatch if the benchmark is not the profiled one.
    """
    tasks, all_tasks = select_tasks(benchmark, plan.selection)
    record = record_of(benchmark, tasks, all_tasks)
    if changed := changes(plan.benchmark, record):
        raise changed_benchmark(folder, record, changed)
    earlier = earlier_profile(folder, record)
    kept = [gate for gate in earlier.gates if gate.name in OF_BENCHMARK] if earlier else []
    if not kept or (again and not benchmark.roles):
        async with connect_roles(benchmark, {}) as ready:
            kept = await judge_benchmark(ready, tasks, seed)
    return kept


def write(folder: Path, evidence: Evidence, known: Sequence[Gate], *, wall_s: float | None = None) -> Profile:
    """Computes a profile and writes its derived files into its folder. Returns the profile."""
    made = profile_of(evidence, known, wall_s=wall_s)
    for path, value in derived_files(evidence, made).items():
        (write_lines if path.endswith(".jsonl") else write_json)(folder / path, value)
    return made


def derived_files(evidence: Evidence, profile: Profile) -> dict[str, Any]:
    """Returns the content of a profile's derived files, by path in its folder; a list is lines."""
    derived: dict[str, Any] = {"profile.json": profile}
    for one in evidence.contenders:
        figures = profile.models[one.name]
        summary = Summary(**{name: getattr(figures, name) for name in Summary.__struct_fields__})
        derived[f"runs/{one.name}/summary.json"] = summary
        derived[f"runs/{one.name}/per_task.jsonl"] = one.results.table()
    return derived


def _summary(suite: Suite, name: str, made: Summary | None) -> ModelSummary:
    member = suite.models[name]
    summary: dict[str, Any] = {"role": member.role, "kind": member.kind, "tier": member.tier, "ran": made is not None}
    if made is not None:
        summary |= structs.asdict(made)
        summary["per_task"] = f"runs/{name}/per_task.jsonl"
    return ModelSummary(**summary)

"""A profile: one benchmark on one suite. Runs the models, climbs the tiers, and computes all that follows.

profiles/NAME/
  plan.jsonl     what was asked for: a line a command that asked for something else, written before it ran anything
  runs/MODEL/    a run directory each
  marks.jsonl    what persons said of rollouts and findings
  profile.json   derived from all of these, as report.html is
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from assay.benchmark import Benchmark
from assay.benchmark.catalog import home, load
from assay.collect.collect import Interruption, Tally
from assay.collect.parts import Collector
from assay.collect.processes import spread
from assay.collect.run import GATES_OWN, RunPlan, cast, count_spent, shown, tasks_of, versions
from assay.config import Suite
from assay.digest import code_digest, tasks_digest
from assay.errors import BudgetSpent, DigestMismatch, InputError, NothingScored, UsageError
from assay.fidelity.detectors import detect
from assay.fidelity.detectors.suspects import suspects
from assay.fidelity.gates import gates
from assay.fidelity.gates.gates import GATE_ORDER, Contender
from assay.fidelity.gates.verification import gold_gate, verifier_gate
from assay.fidelity.original.parity import parity_gate
from assay.fidelity.original.published import published, reproduced_gate, reproductions
from assay.fidelity.original.reference import read_parity, stored
from assay.fidelity.results.repeats import next_step
from assay.fidelity.results.results import read
from assay.fidelity.results.summary import summarise
from assay.fidelity.review.marks import read_said
from assay.fidelity.review.review import failures_gate, review, to_read
from assay.fidelity.schema.evidence import Finding, Parity, Reproduced, Reviewed
from assay.fidelity.schema.profile import BenchmarkRecord, Gate, ModelSummary, Plan, Profile, Repeats, Summary
from assay.model import secret
from assay.model.wrappers.budget import Budget
from assay.store import append_line, read_lines, read_record, write_json, write_lines
from assay.types import Task


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProfilePlan:
    """What one command asks of a profile."""

    benchmark: Benchmark
    source: str = ""
    """How the command named the benchmark: by which it is found again."""
    suite: Suite
    folder: Path
    repeats: int
    limit: int | None = None
    concurrency: int = 64
    collector: Collector = spread
    """By whom runs are collected: how many processes, and where."""
    seed: int = 0
    early_stop: bool = True
    budget: Budget | None = None
    """What all runs together may use, those of earlier commands included."""
    until_stable: bool = False
    """Add repeats to the strongest open model until its score stands still, as the repeats gate asks."""


async def profile(
    asked: ProfilePlan,
    *,
    interruption: Interruption,
    watch: Callable[[str, Tally], None] = lambda name, tally: None,
    tell: Callable[[str], None] = lambda line: None,
) -> Profile | None:
    """Run what is owed, compute everything, write `profile.json`, and give it back; `None` where it was interrupted.

    Raises BudgetSpent: runs keep what they have, and no gate is computed from a part of them.
    A model whose every rollout fails is told, and the others go on: the gates name it.
    """
    clock = time.monotonic()
    benchmark, suite = asked.benchmark, asked.suite
    if others := suite.roles.keys() - benchmark.roles.keys():
        tell(f"{benchmark.name} asks no model in the role {', '.join(sorted(others))}: left out")
        suite = structs.replace(suite, roles={r: config for r, config in suite.roles.items() if r not in others})
        asked = dataclasses.replace(asked, suite=suite)
    tasks = tasks_of(benchmark, asked.limit)
    _check(asked)
    plan = _begin(asked, tasks)
    # They need no policy, and a broken verifier is better known before any is paid for.
    without_models = await _without_models(asked, tasks)
    for gate in without_models:
        tell(f"{gate.name}: {gate.verdict}")
    if interruption.stopping:
        return None
    contenders: list[Contender] = []
    tiers = sorted({member.tier for member in suite.models.values()})
    for tier in tiers:
        for name in (name for name, member in suite.models.items() if member.tier == tier):
            contender = await _run(asked, name, interruption, watch, tell)
            if interruption.stopping:
                return None
            contenders.append(contender)
        if suite.tiers == "climb" and tier != tiers[-1] and gates.clears_floor(contenders, benchmark.chance):
            tell(f"an open model clears the floor: the tiers above {tier} are not needed")
            break
    if asked.until_stable:
        contenders = await _until_stable(asked, contenders, interruption, watch, tell)
        if interruption.stopping:
            return None
    wall_s = round(time.monotonic() - clock, 3)
    made = assemble(asked.folder, plan, without_models, contenders, benchmark, wall_s=wall_s)
    write_json(asked.folder / "profile.json", made)
    return made


async def compute(folder: Path, *, benchmark: Benchmark | None = None, again: bool = False) -> Profile:
    """The profile, computed from what is on the disk, without any model; `profile.json` is written.

    The gates gold and verifier stay as they are where the benchmark is the one that they were computed for, unless
    `again`. A model in a role (a judge) makes that they always stay: it would have to be asked.

    Raises UsageError and InputError where there is no profile, and DigestMismatch where the benchmark has changed.
    """
    plan = read_plan(folder)
    benchmark = benchmark or load(plan.source)
    tasks = tasks_of(benchmark, plan.limit)
    record = _record(benchmark, tasks)
    if changed := changes(plan.benchmark, record):
        raise _changed(folder, record, changed)
    kept = _kept(folder, record)
    if not kept or (again and not benchmark.roles):
        async with cast(benchmark, {}) as ready:
            kept = [await gold_gate(ready, tasks), await verifier_gate(ready, tasks)]
    made = assemble(folder, plan, kept, contenders_of(folder, plan), benchmark)
    write_json(folder / "profile.json", made)
    return made


def assemble(
    folder: Path,
    plan: Plan,
    known: Sequence[Gate],
    contenders: Sequence[Contender],
    benchmark: Benchmark | None,
    *,
    wall_s: float | None = None,
) -> Profile:
    """Everything that is computed from the rollouts and what else lies in the profile's folder.

    `known` are the gates that don't follow from these: gold and verifier, and without a benchmark reproduced and parity
    too, for published scores lie beside it. Writes what is derived of each run: `summary.json` and `per_task.jsonl`.
    """
    summaries = {contender.name: summarise(contender.results) for contender in contenders}
    for contender in contenders:
        run = folder / "runs" / contender.name
        write_json(run / "summary.json", summaries[contender.name])
        write_lines(run / "per_task.jsonl", contender.results.table())
    computed, repeats = _gates(plan, contenders)
    to_see, said = to_read(plan.suite, contenders), read_said(folder)
    findings: list[Finding] = []
    reviews: dict[str, Reviewed] = {}
    for name, results in to_see.items():
        findings += detect(folder / "runs" / name, name, results)
        reviews[name] = review(folder / "runs" / name, name, results, said)
    parities, reproduced, original = _originals(folder, plan, contenders, benchmark)
    if benchmark:
        computed.append(reproduced_gate(reproduced, original=original))
        computed.append(parity_gate(parities, benchmark, original=original))
    computed.append(gates.held_back(failures_gate(reviews, findings), contenders, _missing(plan.suite, contenders)))
    return Profile(
        benchmark=plan.benchmark,
        suite=plan.suite.name,
        models={name: _summary(plan.suite, name, summaries.get(name)) for name in plan.suite.models},
        gates=sorted([*known, *computed], key=lambda gate: GATE_ORDER.index(gate.name)),
        repeats=repeats,
        versions=plan.versions,
        started=plan.started,
        wall_s=wall_s,
        findings=findings,
        suspects=suspects(to_see),
        review=reviews,
        parity=parities,
        reproduced=reproduced,
        original=original,
    )


def _originals(
    folder: Path, plan: Plan, contenders: Sequence[Contender], benchmark: Benchmark | None
) -> tuple[dict[str, Parity], list[Reproduced], bool]:
    """What is known of the original code: parities by model, published scores; and whether this is the original."""
    runs = {one.name: folder / "runs" / one.name for one in contenders}
    parities = {name: read_parity(run / "parity.json") for name, run in runs.items() if (run / "parity.json").exists()}
    if benchmark is None:
        return parities, [], False
    stated = published(benchmark)
    found = reproductions(
        benchmark,
        {name: plan.suite.models[name].published for name in runs},
        {one.name: one.results for one in contenders},
        {name: kept for name, run in runs.items() if (kept := stored(run))},
        {name: read_record(run) for name, run in runs.items()},
    )
    return parities, found, stated is not None and stated.original


def read_plan(folder: Path) -> Plan:
    """What was asked for last. Raises UsageError where the folder holds no profile, and InputError for damage."""
    path = folder / "plan.jsonl"
    if not path.exists():
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
        ("the verifier's code", planned.code, now.code),
    )
    return [f"{name}: {there[:12]} there, {here[:12]} now" for name, there, here in names if there != here]


def _changed(folder: Path, benchmark: BenchmarkRecord, changed: list[str]) -> DigestMismatch:
    return DigestMismatch(
        f"{folder}: {benchmark.name} is not what was profiled there:\n  "
        + "\n  ".join(changed)
        + f"\n  Choose another directory with --out. Where the verifier alone changed, `assay rescore {folder}` "
        "takes the rollouts along."
    )


def contenders_of(folder: Path, plan: Plan) -> list[Contender]:
    """The models that have a run, as the gates see them."""
    found: list[Contender] = []
    for name, member in plan.suite.models.items():
        run = folder / "runs" / name
        if (run / "run.json").exists():
            found.append(Contender(name, member.role, member.kind, member.tier, read(run, plan.repeats)))
    return found


def _check(asked: ProfilePlan) -> None:
    """Raises UsageError for what would end a model's run, now and not when its turn has come."""
    suite = asked.suite
    for name, member in suite.models.items():
        if asked.budget:
            asked.budget.check(member)
            count_spent(asked.budget, asked.folder / "runs" / name, member, suite.roles)
    for member in (*suite.models.values(), *suite.roles.values()):
        for variable in member.secrets():
            secret(member, variable)


def _begin(asked: ProfilePlan, tasks: list[Task]) -> Plan:
    """Write down what is asked for, before anything runs."""
    benchmark = asked.benchmark
    hidden = {name: shown(member) for name, member in asked.suite.models.items()}
    roles = {name: shown(config) for name, config in asked.suite.roles.items()}
    plan = Plan(
        source=asked.source or benchmark.name,
        benchmark=_record(benchmark, tasks),
        chance=benchmark.chance,
        suite=structs.replace(asked.suite, models=hidden, roles=roles),
        limit=asked.limit,
        repeats=asked.repeats,
        until_stable=asked.until_stable,
        seed=asked.seed,
        versions=versions(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    path = asked.folder / "plan.jsonl"
    if path.exists() and (changed := changes(read_plan(asked.folder).benchmark, plan.benchmark)):
        raise _changed(asked.folder, plan.benchmark, changed)
    earlier = list(read_lines(path, Plan)) if path.exists() else []
    if not earlier or structs.replace(plan, started=earlier[-1].started) != earlier[-1]:
        append_line(path, plan)
    return structs.replace(plan, started=earlier[0].started) if earlier else plan


def _record(benchmark: Benchmark, tasks: list[Task]) -> BenchmarkRecord:
    code = code_digest(home(benchmark))
    return BenchmarkRecord(benchmark.name, benchmark.version, tasks_digest(tasks), len(tasks), code)


async def _without_models(asked: ProfilePlan, tasks: list[Task]) -> list[Gate]:
    async with cast(asked.benchmark, asked.suite.roles, concurrency=asked.concurrency, budget=asked.budget) as ready:
        return [await gold_gate(ready, tasks), await verifier_gate(ready, tasks)]


def _kept(folder: Path, benchmark: BenchmarkRecord) -> list[Gate]:
    """The gates that need no model, as they were computed for this very benchmark; empty where they were not."""
    try:
        earlier = msgspec.json.decode((folder / "profile.json").read_bytes(), type=Profile)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return []
    return (
        [gate for gate in earlier.gates if gate.name in ("gold", "verifier")] if earlier.benchmark == benchmark else []
    )


async def _run(
    asked: ProfilePlan,
    name: str,
    interruption: Interruption,
    watch: Callable[[str, Tally], None],
    tell: Callable[[str], None],
) -> Contender:
    member = asked.suite.models[name]
    folder = asked.folder / "runs" / name
    run = RunPlan(
        benchmark=asked.benchmark,
        source=asked.source or asked.benchmark.name,
        name=name,
        server=member.server(),
        folder=folder,
        repeats=asked.repeats,
        limit=asked.limit,
        concurrency=asked.concurrency,
        seed=asked.seed,
        early_stop=asked.early_stop,
        budget=asked.budget,
        roles=asked.suite.roles,
        registry=asked.folder.resolve().parent / "started.jsonl",
    )
    try:
        await asked.collector(run, interruption=interruption, watch=lambda tally: watch(name, tally), tell=tell)
    except NothingScored as stopped:
        tell(f"{name}: {stopped}")
    return Contender(name, member.role, member.kind, member.tier, read(folder, asked.repeats))


async def _until_stable(
    asked: ProfilePlan,
    contenders: list[Contender],
    interruption: Interruption,
    watch: Callable[[str, Tally], None],
    tell: Callable[[str], None],
) -> list[Contender]:
    """The models, of which the strongest open one has as many repeats as it takes, or as the budget allows."""
    while (best := gates.strongest(contenders, "open")) and not interruption.stopping:
        step = next_step(best.results)
        tell(f"{best.name}: {step.reason}")
        if step.k is None or step.k <= best.results.repeats:
            break
        spent = False
        try:
            raised = await _run(dataclasses.replace(asked, repeats=step.k), best.name, interruption, watch, tell)
        except BudgetSpent as reached:
            spent = True
            tell(str(reached))
            raised = dataclasses.replace(best, results=read(asked.folder / "runs" / best.name, asked.repeats))
        contenders = [raised if contender.name == best.name else contender for contender in contenders]
        if spent:
            break
    return contenders


def _gates(plan: Plan, contenders: Sequence[Contender]) -> tuple[list[Gate], Repeats | None]:
    suite = plan.suite
    floor = gates.floor_test(contenders, plan.chance)
    differences = gates.order_differences(gates.order_pairs(contenders, suite.order))
    order = gates.order_test(differences, gates.order_choices(contenders, suite.order))
    p = gates.corrected({name: test for name, test in (("floor", floor), ("order", order)) if test})
    last_tier = {c.tier for c in contenders} >= {m.tier for m in suite.models.values()}
    repeats_gate, repeats = gates.repeats_gate(contenders)
    # How the gates' own models fail says nothing of the kinds: null gives no answer on purpose.
    own = {name for name, member in suite.models.items() if member.role == "policy" and member.dialect in GATES_OWN}
    measured = [contender for contender in contenders if contender.name not in own]
    computed = [
        gates.floor_gate(contenders, plan.chance, p.get("floor"), last_tier=last_tier),
        gates.order_gate(differences, p.get("order"), last_tier=last_tier or suite.tiers == "all"),
        gates.kinds_gate(measured, {member.kind for member in suite.models.values()}),
        repeats_gate,
    ]
    missing = _missing(suite, contenders)
    return [gates.held_back(gate, contenders, missing) for gate in computed], repeats


def _missing(suite: Suite, contenders: Sequence[Contender]) -> list[str]:
    """The models without a run that belong to the tiers that have run; where none is climbed, to any."""
    ran = {contender.name for contender in contenders}
    top = max((contender.tier for contender in contenders), default=0)
    members = suite.models.items()
    return [n for n, member in members if n not in ran and (suite.tiers == "all" or member.tier <= top)]


def _summary(suite: Suite, name: str, made: Summary | None) -> ModelSummary:
    member = suite.models[name]
    summary: dict[str, Any] = {"role": member.role, "kind": member.kind, "tier": member.tier, "ran": made is not None}
    if made is not None:
        summary |= structs.asdict(made)
        summary["per_task"] = f"runs/{name}/per_task.jsonl"
    return ModelSummary(**summary)

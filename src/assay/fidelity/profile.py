"""A profile: one benchmark on one suite. Runs the models, climbs the tiers, computes the gates."""

import dataclasses
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from assay.collect import Interruption, Tally
from assay.config import Suite
from assay.digest import tasks_digest
from assay.environment import Benchmark
from assay.errors import StoppedEarly
from assay.fidelity import gates
from assay.fidelity.gates import Contender
from assay.fidelity.record import BenchmarkRecord, Gate, ModelSummary, Profile, Repeats
from assay.fidelity.results import read
from assay.fidelity.summary import summarise
from assay.run import RunPlan, checked, collect_run, versions
from assay.store import write_json, write_lines

GATE_ORDER = ("gold", "verifier", "floor", "order", "kinds", "failures", "reproduced", "parity", "repeats")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProfilePlan:
    """What one command asks of a profile."""

    benchmark: Benchmark
    suite: Suite
    folder: Path
    repeats: int
    limit: int | None = None
    concurrency: int = 64
    seed: int = 0


async def profile(
    asked: ProfilePlan,
    *,
    interruption: Interruption,
    watch: Callable[[str, Tally], None] = lambda name, tally: None,
    tell: Callable[[str], None] = lambda line: None,
) -> Profile | None:
    """Run what is owed, compute everything, write `profile.json`, and give it back; `None` where it was interrupted.

    A model whose every rollout fails is told, and the others go on: the gates name it.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    benchmark, suite = asked.benchmark, asked.suite
    contenders: list[Contender] = []
    tiers = sorted({member.tier for member in suite.models.values()})
    for tier in tiers:
        for name in (name for name, member in suite.models.items() if member.tier == tier):
            contender = await _run(asked, name, interruption, watch, tell)
            if interruption.stopping:
                return None
            contenders.append(contender)
        cleared = [c for c in contenders if c.role == "open" and gates.clears_floor(c, benchmark.chance)]
        if suite.tiers == "climb" and cleared and tier != tiers[-1]:
            tell(f"{cleared[0].name} clears the floor: the tiers above {tier} are not needed")
            break
    tasks = checked(benchmark.environment.tasks(), benchmark.name)[: asked.limit]
    found, repeats = await _gates(asked, contenders)
    made = Profile(
        benchmark=BenchmarkRecord(benchmark.name, benchmark.version, tasks_digest(tasks), len(tasks)),
        suite=suite.name,
        models={name: _summary(suite, name, contenders) for name in suite.models},
        gates=found,
        repeats=repeats,
        versions=versions(),
        started=started.isoformat(timespec="seconds"),
        wall_s=round(time.monotonic() - clock, 3),
    )
    write_json(asked.folder / "profile.json", made)
    return made


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
        name=name,
        server=member.server(),
        folder=folder,
        repeats=asked.repeats,
        limit=asked.limit,
        concurrency=asked.concurrency,
        seed=asked.seed,
    )
    try:
        await collect_run(run, interruption=interruption, watch=lambda tally: watch(name, tally))
    except StoppedEarly as stopped:
        tell(f"{name}: {stopped}")
    results = read(folder)
    write_json(folder / "summary.json", summarise(results))
    write_lines(folder / "per_task.jsonl", results.table())
    return Contender(name, member.role, member.kind, member.tier, results)


async def _gates(asked: ProfilePlan, contenders: list[Contender]) -> tuple[list[Gate], Repeats | None]:
    benchmark, suite = asked.benchmark, asked.suite
    tasks = contenders[0].results.tasks
    floor = gates.floor_test(contenders)
    differences = gates.order_differences(gates.order_pairs(contenders, suite.order))
    tests = gates.order_tests(differences) | ({"floor": floor} if floor else {})
    p = gates.corrected(tests)
    last_tier = {c.tier for c in contenders} >= {m.tier for m in suite.models.values()}
    repeats_gate, repeats = gates.repeats_gate(contenders)
    computed = [
        await gates.gold_gate(benchmark, tasks),
        await gates.verifier_gate(benchmark, tasks),
        gates.floor_gate(contenders, benchmark.chance, p.get("floor"), last_tier=last_tier),
        gates.order_gate(differences, p),
        gates.kinds_gate(contenders, {member.kind for member in suite.models.values()}),
        repeats_gate,
        *gates.not_run(),
    ]
    return sorted(computed, key=lambda gate: GATE_ORDER.index(gate.name)), repeats


def _summary(suite: Suite, name: str, contenders: list[Contender]) -> ModelSummary:
    member = suite.models[name]
    ran = next((c for c in contenders if c.name == name), None)
    summary: dict[str, Any] = {"role": member.role, "kind": member.kind, "tier": member.tier, "ran": ran is not None}
    if ran is not None:
        summary |= msgspec.structs.asdict(summarise(ran.results))
        summary["per_task"] = f"runs/{name}/per_task.jsonl"
    return ModelSummary(**summary)

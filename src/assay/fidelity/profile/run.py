"""Runs the models of a profile's suite, tier by tier."""

import dataclasses
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from msgspec import structs

from assay.collect.collect import Interruption, Tally
from assay.collect.head import Collector, distribute
from assay.collect.request import RunRequest
from assay.collect.run import RunPlan, connect_roles, count_spending, hide_headers, model_of, select_tasks, versions
from assay.config import Suite
from assay.errors import BudgetSpent, NothingScored
from assay.fidelity.gates import judge_benchmark
from assay.fidelity.gates.range import clears_floor
from assay.fidelity.original.published import check_published, planned_margins, published_scores
from assay.fidelity.profile.build import write
from assay.fidelity.profile.evidence import (
    changed_benchmark,
    changes,
    gather,
    read_contender,
    read_plan,
    record_of,
    source_seen_from,
)
from assay.fidelity.results.contender import Contender, of_role, strongest
from assay.fidelity.results.repeats import next_step
from assay.fidelity.results.results import Results
from assay.fidelity.schema.forecast import Forecast
from assay.fidelity.schema.profile import BenchmarkRecord, Gate, Plan, Profile
from assay.input import is_present
from assay.model import secret
from assay.model.wrappers.batch import DIALECTS
from assay.stats.published import WIDEST_MARGIN
from assay.store import REGISTRY, Look, Margins, append_line, is_about, read_lines, read_registry, write_profile_line
from assay.types import Task


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProfilePlan:
    """The plan of one command that makes a profile."""

    run: RunPlan
    """The plan of each model's run. Its folder is the profile's, and its budget is that of all runs together, those of
    earlier commands included."""
    suite: Suite
    collector: Collector = distribute
    """Makes the rollouts: in this process, in several processes, or on a cluster."""
    until_stable: bool = False
    """Whether to add repeats to the strongest open model until its score is stable, as the repeats gate requires."""
    forecast: Forecast | None = None
    """The forecast of the profile, which is stored with the plan."""
    follows: bool = False
    """Whether to make exactly the forecast's rollouts, instead of the request's repeats of each model."""


async def profile(
    asked: ProfilePlan,
    *,
    interruption: Interruption,
    watch: Callable[[str, Tally], None] = lambda name, tally: None,
    tell: Callable[[str], None] = lambda line: None,
) -> tuple[Profile, dict[str, Results]] | None:
    """Makes the owed rollouts, computes the profile and writes it. Returns the profile and its runs' results.

    None if it was interrupted.

    Raises BudgetSpent: the runs keep their rollouts, and no gate is computed from a part of them. If all rollouts of a
    model fail, that is reported, and the other models go on.
    """
    clock = time.monotonic()
    asked, plan, tasks = begin(asked, tell)
    benchmark, suite = asked.run.benchmark, asked.suite
    # They need no policy, and a broken verifier should show before rollouts are paid for.
    without_models = await _without_models(asked, tasks)
    for gate in without_models:
        tell(f"{gate.name}: {gate.verdict}")
    if (margin := plan.margins.get("reproduced", 0.0)) > WIDEST_MARGIN:
        tell(
            f"reproduced: not refutable at this size: {plan.repeats} repeats of {len(tasks):,} tasks take a margin of "
            f"{100 * margin:g} points"
        )
    if interruption.stopping:
        return None
    contenders: list[Contender] = []
    tiers = sorted({member.tier for member in suite.models.values()})
    for tier in tiers:
        for name in (name for name, member in suite.models.items() if member.tier == tier and plan.repeats_of(name)):
            contender = await _run(asked, name, interruption, watch, tell, plan.repeats_of(name))
            if interruption.stopping:
                return None
            contenders.append(contender)
        climbs = suite.tiers == "climb" and not plan.follows and tier != tiers[-1]
        if climbs and clears_floor(contenders, benchmark.chance, suite.order):
            tell(f"an open model clears the floor: the tiers above {tier} are not needed")
            break
    if asked.until_stable:
        contenders = await _until_stable(asked, contenders, interruption, watch, tell)
        if interruption.stopping:
            return None
    wall_s = round(time.monotonic() - clock, 3)
    folder = asked.run.folder
    made = write(folder, gather(folder, plan, contenders, benchmark), without_models, wall_s=wall_s)
    _write_look(folder, benchmark.name, sum(len(one.results.cells) for one in contenders))
    return made, {one.name: one.results for one in contenders}


def begin(asked: ProfilePlan, tell: Callable[[str], None]) -> tuple[ProfilePlan, Plan, list[Task]]:
    """Writes the plan before anything runs. Returns it without roles that the benchmark does not have.

    Also returns the stored Plan and the tasks. Raises UsageError for what can't be run, and DigestMismatch if the
    folder holds another profile.
    """
    benchmark, suite = asked.run.benchmark, asked.suite
    if others := suite.roles.keys() - benchmark.roles.keys():
        tell(f"{benchmark.name} asks no model in the role {', '.join(sorted(others))}: left out")
        suite = structs.replace(suite, roles={r: config for r, config in suite.roles.items() if r not in others})
        asked = dataclasses.replace(asked, suite=suite)
    tasks, all_tasks = select_tasks(benchmark, asked.run.request.selection)
    _check(asked)
    return asked, _write_plan(asked, record_of(benchmark, tasks, all_tasks)), tasks


def _check(asked: ProfilePlan) -> None:
    """Raises UsageError now for what would end a model's run later."""
    suite, benchmark, budget = asked.suite, asked.run.benchmark, asked.run.budget
    if stated := published_scores(benchmark):
        check_published(stated, list(benchmark.environment.tasks()), benchmark.score)
    for name, member in suite.models.items():
        if member.answers_tasks:
            model_of(member, benchmark)
        if budget:
            budget.check(member)
            count_spending(budget, asked.run.folder / "runs" / name, _request(asked, name).server, suite.roles)
    for member in (*suite.models.values(), *suite.roles.values()):
        for variable in member.secrets():
            secret(member, variable)


def _write_plan(asked: ProfilePlan, record: BenchmarkRecord) -> Plan:
    benchmark, request, folder = asked.run.benchmark, asked.run.request, asked.run.folder
    hidden = {name: hide_headers(member) for name, member in asked.suite.models.items()}
    roles = {name: hide_headers(config) for name, config in asked.suite.roles.items()}
    plan = Plan(
        source=source_seen_from(folder, benchmark),
        benchmark=record,
        chance=benchmark.chance,
        hard=benchmark.hard,
        suite=structs.replace(asked.suite, models=hidden, roles=roles),
        selection=request.selection,
        repeats=request.repeats,
        forecast=asked.forecast,
        follows=asked.follows,
        until_stable=asked.until_stable,
        seed=request.seed,
        agent=request.agent,
        versions=versions(benchmark),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    path = folder / "plan.jsonl"
    earlier = list(read_lines(path, Plan)) if is_present(path) else []
    plan = structs.replace(plan, margins=earlier[0].margins if earlier else _margins(asked, plan))
    if is_present(path) and (changed := changes(read_plan(folder).benchmark, plan.benchmark)):
        raise changed_benchmark(folder, plan.benchmark, changed)
    if not earlier or structs.replace(plan, started=earlier[-1].started) != earlier[-1]:
        append_line(path, plan)
    return structs.replace(plan, started=earlier[0].started) if earlier else plan


def _margins(asked: ProfilePlan, plan: Plan) -> dict[str, float]:
    """Returns the margins of the comparisons with the original, which go into the registry before the first run."""
    benchmark, folder = asked.run.benchmark, asked.run.folder
    stated = published_scores(benchmark)
    if stated is None or stated.original:
        return {}
    models = asked.suite.models.items()
    members = [(one.published, repeats) for name, one in models if (repeats := plan.repeats_of(name))]
    tasks = plan.benchmark.tasks
    margins = planned_margins(stated, plan.benchmark.all_tasks or tasks, tasks, members)
    folder.mkdir(parents=True, exist_ok=True)
    registry = folder.resolve().parent / REGISTRY
    write_profile_line(registry, folder, Margins, benchmark=benchmark.name, margins=margins)
    return margins


def _write_look(folder: Path, benchmark: str, rollouts: int) -> None:
    """Writes a look into the registry: the verdict for this number of rollouts is known now."""
    registry = folder.resolve().parent / REGISTRY
    known = read_registry(registry) if is_present(registry) else []
    looks = [one.rollouts for one in known if isinstance(one, Look) and is_about(one, folder, registry)]
    if rollouts > max(looks, default=0):
        write_profile_line(registry, folder, Look, benchmark=benchmark, rollouts=rollouts)


async def _without_models(asked: ProfilePlan, tasks: list[Task]) -> list[Gate]:
    run, roles = asked.run, asked.suite.roles
    async with connect_roles(run.benchmark, roles, concurrency=run.request.concurrency, budget=run.budget) as ready:
        return await judge_benchmark(ready, tasks)


def _request(asked: ProfilePlan, name: str) -> RunRequest:
    """Returns the request of one model's run."""
    request, server = asked.run.request, asked.suite.models[name].server()
    batch = request.batch and server.dialect in DIALECTS
    return structs.replace(request, name=name, server=server, roles=asked.suite.roles, batch=batch).for_batch()


async def _run(
    asked: ProfilePlan,
    name: str,
    interruption: Interruption,
    watch: Callable[[str, Tally], None],
    tell: Callable[[str], None],
    repeats: int,
) -> Contender:
    folder, suite = asked.run.folder, asked.suite
    run = dataclasses.replace(
        asked.run,
        request=structs.replace(_request(asked, name), repeats=repeats),
        folder=folder / "runs" / name,
        registry=folder.resolve().parent / REGISTRY,
    )
    try:
        await asked.collector(run, interruption=interruption, watch=lambda tally: watch(name, tally), tell=tell)
    except NothingScored as stopped:
        tell(f"{name}: {stopped}")
    return read_contender(folder, suite, name, repeats)


async def _until_stable(
    asked: ProfilePlan,
    contenders: list[Contender],
    interruption: Interruption,
    watch: Callable[[str, Tally], None],
    tell: Callable[[str], None],
) -> list[Contender]:
    """Returns the models, with more repeats of the strongest open one until it is stable or the budget is spent."""
    while (opened := strongest(of_role(contenders, "open"), asked.suite.order)) and not interruption.stopping:
        best = opened[0]
        step = next_step(best.results)
        tell(f"{best.name}: {step.reason}")
        if step.k is None or step.k <= best.results.repeats:
            break
        spent = False
        try:
            raised = await _run(asked, best.name, interruption, watch, tell, step.k)
        except BudgetSpent as reached:
            spent = True
            tell(str(reached))
            raised = read_contender(asked.run.folder, asked.suite, best.name, asked.run.request.repeats)
        contenders = [raised if contender.name == best.name else contender for contender in contenders]
        if spent:
            break
    return contenders

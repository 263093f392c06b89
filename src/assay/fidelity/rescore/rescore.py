"""Rescoring: a new run with the turns of an old one and scores by today's verifier. The old run stays as it is.

RUN-rescored-1a2b3c4d/   named by the digest of the verifier
run.json, tasks.jsonl, rollouts.jsonl, summary.json   as in every run; run.json says which run was rescored
changes.jsonl          each rollout with another outcome now, or with none

The same command continues it. `assay run --out` makes the rollouts that are owed in the end.
"""

import asyncio
import dataclasses
import hashlib
import secrets
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct, structs

from assay.benchmark import Benchmark
from assay.benchmark.catalog import BenchmarkRequest
from assay.benchmark.code import score_code
from assay.collect.collect import Interruption, Tally
from assay.collect.run import connect_roles, hide_headers, tasks_of, versions
from assay.config import ModelConfig
from assay.digest import digest, tasks_digest
from assay.errors import DigestMismatch, UsageError
from assay.fidelity.rescore.retrace import Nobody, keep_outcome, with_run_limits
from assay.fidelity.rescore.retracers import Retraced, Retracer, Work, elsewhere, here
from assay.fidelity.results.results import read
from assay.fidelity.results.summary import write
from assay.input import is_present, open_input
from assay.model import identity_of
from assay.store import (
    REGISTRY,
    RescoreSource,
    RoleRecord,
    RunRecord,
    Store,
    read_record,
    read_rollouts,
    read_rows,
    read_tasks,
    rollout_files,
    write_lines,
)
from assay.types import Outcome, Rollout, Row, Score, Task

CHANGES = "changes.jsonl"
ChangeKind = Literal["score", "answer", "mended", "broken", "owed"]
"""Another reward; another answer at the same reward; a score in place of a failure; a failure in place of a score; no
outcome."""
Key = tuple[str, int, int]
"""(task, repeat, attempt): one rollout."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RescorePlan:
    """The plan of one command that rescores a run."""

    run: Path
    benchmark: Benchmark
    folder: Path | None = None
    """The new run's folder; by default beside the old run."""
    concurrency: int = 64
    processes: int = 1
    roles: Mapping[str, ModelConfig] = dataclasses.field(default_factory=dict[str, ModelConfig])
    """The models in roles, for questions that the run's models did not get."""
    registry: Path | None = None
    """The registry for the new run; by default that of the old one, if it is known."""


class Change(Struct, frozen=True, kw_only=True):
    """A rollout with another outcome now: a line of `changes.jsonl`."""

    task: str
    repeat: int
    kind: ChangeKind
    before: Outcome
    after: Outcome | None
    reason: str = ""
    """Why it has no outcome."""


class Rescoring(Struct, frozen=True, kw_only=True):
    """The result of rescoring a run. Scores are shares."""

    run: Path
    folder: Path
    rollouts: int
    """The number of rollouts with an outcome now."""
    before: float | None
    after: float | None
    changes: list[Change]
    gone: list[str]
    """Tasks of the run that today's benchmark does not have."""
    asked_otherwise: list[str]
    """Tasks with another question today, so their rollouts have no score."""
    relabelled: list[str]
    """Tasks with another gold answer or other data."""
    new: int
    """The number of tasks of today's benchmark that the run does not have."""


async def rescore(
    plan: RescorePlan,
    *,
    interruption: Interruption,
    watch: Callable[[str, Tally], None] = lambda name, tally: None,
) -> Rescoring | None:
    """Rescores the rollouts that are not rescored yet. Returns None if it was interrupted.

    Raises UsageError for another benchmark, DigestMismatch if the folder holds something else or the old run has grown
    since rescoring began, and StoppedEarly.
    """
    old = read_record(plan.run)
    tasks = _tasks(plan, old)
    async with connect_roles(
        with_run_limits(plan.benchmark, old), plan.roles, concurrency=plan.concurrency
    ) as benchmark:
        record = _record(plan, old, tasks, _roles(plan, old, benchmark))
        folder = plan.folder or _beside(plan.run, record)
        _check(folder, plan.run)
        counted, there = _count_rollouts(plan.run, tasks.same)
        with Store(folder, record, tasks.now, registry=plan.registry or _registry(plan.run)) as store:
            done = {_key(row) for row in read_rows(folder)}
            tally = Tally(planned=there - len(done), before=len(done))
            watch(f"rescoring {old.model}", tally)
            source = (made for made in read_rollouts(plan.run) if made.task in tasks.same and _key(made) not in done)
            request = BenchmarkRequest.of(plan.benchmark)
            work = Work(request, old, list(tasks.same.values()), _remembered_roles(old, record))
            async with _retracer(plan, benchmark, work) as retracer:
                owed = await _rescore(plan, retracer, source, counted, tasks.same, store, tally, interruption)
    if interruption.stopping:
        return None
    _check(folder, plan.run)  # it may have grown meanwhile
    changes = list(_changes(plan.run, folder, counted, tasks, owed))
    write_lines(folder / CHANGES, changes)
    return Rescoring(
        run=plan.run,
        folder=folder,
        rollouts=len(counted) - sum(change.kind == "owed" for change in changes),
        before=_score(plan.run),
        after=write(folder).score,
        changes=changes,
        gone=tasks.gone,
        asked_otherwise=tasks.asked_otherwise,
        relabelled=tasks.relabelled,
        new=tasks.new,
    )


class _Tasks(Struct, frozen=True):
    """The run's tasks in today's benchmark."""

    now: list[Task]
    """In today's order."""
    same: dict[str, Task]
    """Those of them with the same question, by id."""
    gone: list[str]
    asked_otherwise: list[str]
    relabelled: list[str]
    new: int

    def missing(self, task: str) -> str:
        """Returns why the task's rollouts can't be rescored; empty if they can."""
        if task in self.same:
            return ""
        return "today's benchmark has not this task" if task in self.gone else "the task asks something else today"


def _tasks(plan: RescorePlan, old: RunRecord) -> _Tasks:
    """Returns the tasks. Raises UsageError for another benchmark, or if no task has the same question."""
    benchmark = plan.benchmark
    if benchmark.name != old.benchmark:
        raise UsageError(f"{plan.run} is a run of {old.benchmark}, and the benchmark here is {benchmark.name}")
    before = {task.id: task for task in read_tasks(plan.run)}
    today = tasks_of(benchmark)
    now = [task for task in today if task.id in before]
    same = {task.id: task for task in now if _question(task) == _question(before[task.id])}
    if not same:
        raise UsageError(f"{plan.run}: no task of today's {benchmark.name} asks what it asked when the run was made")
    ids = {task.id for task in now}
    return _Tasks(
        now=now,
        same=same,
        gone=[id for id in before if id not in ids],
        asked_otherwise=[task.id for task in now if task.id not in same],
        relabelled=[id for id, task in same.items() if _label(task) != _label(before[id])],
        new=len(today) - len(now),
    )


def _question(task: Task) -> object:
    return task.input, task.tools, task.format


def _label(task: Task) -> object:
    return task.gold, task.data


def _roles(plan: RescorePlan, old: RunRecord, benchmark: Benchmark) -> dict[str, RoleRecord]:
    """Returns the model in each role: the given one, else that of the run, else the benchmark's own."""
    found: dict[str, RoleRecord] = {}
    for role, model in benchmark.roles.items():
        assert model is not None
        if config := plan.roles.get(role):
            found[role] = RoleRecord(msgspec.to_builtins(hide_headers(config)), config.identity() | identity_of(model))
        elif role in old.roles:
            found[role] = old.roles[role]
        elif not isinstance(model, Nobody):
            found[role] = RoleRecord({}, {**identity_of(model)})
    return found


def _record(plan: RescorePlan, old: RunRecord, tasks: _Tasks, roles: dict[str, RoleRecord]) -> RunRecord:
    """Returns the new run.json: the old run with today's tasks and verifier."""
    benchmark, sources = plan.benchmark, score_code(plan.benchmark)
    return structs.replace(
        old,
        version=benchmark.version,
        tasks=len(tasks.now),
        tasks_digest=tasks_digest(tasks.now),
        code=digest(sources),
        sources=sources,
        roles=roles,
        versions=versions(benchmark),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        id=secrets.token_hex(8),
        rescored=RescoreSource(
            run=plan.run.resolve().name,
            id=old.id,
            version=old.version,
            tasks_digest=old.tasks_digest,
            code=old.code,
            rollouts=_rollouts_digest(plan.run),
        ),
    )


def _remembered_roles(old: RunRecord, now: RunRecord) -> list[str]:
    """Returns the roles with the same model as in the run, whose recorded answers are used."""
    return [role for role in old.roles if role in now.roles and now.roles[role].identity == old.roles[role].identity]


def _beside(run: Path, record: RunRecord) -> Path:
    """Returns the folder for a run's scores by one verifier."""
    judges = {role: used.identity for role, used in record.roles.items()}
    verifier = digest([record.version, record.tasks_digest, record.code, judges, record.versions["assay"]])[:8]
    name = run.name or run.resolve().name
    return run.parent / f"{name}-rescored-{verifier}"


def _registry(run: Path) -> Path | None:
    """Returns the nearest registry above a run."""
    return next((path for above in run.resolve().parents[:2] if is_present(path := above / REGISTRY)), None)


def _check(folder: Path, run: Path) -> None:
    """Raises UsageError or DigestMismatch if the folder holds anything but these rollouts rescored."""
    if not is_present(folder / "run.json"):
        return
    there = read_record(folder).rescored
    if there is None:
        raise UsageError(f"{folder} holds a run that a model made; give another --out")
    if there.rollouts != _rollouts_digest(run):
        raise DigestMismatch(
            f"{folder} holds the scores of other rollouts than {run} has now (it went on, or is another run).\n"
            "  Choose another directory with --out, or remove this one."
        )


def _rollouts_digest(run: Path) -> str:
    found = hashlib.sha256()
    for path in rollout_files(run):
        with open_input(path) as file:
            while chunk := file.read(2**20):
                found.update(chunk)
    return found.hexdigest()


def _key(rollout: Rollout | Row) -> Key:
    return rollout.task, rollout.repeat, rollout.attempt


def _count_rollouts(run: Path, tasks: Mapping[str, Task]) -> tuple[set[Key], int]:
    """Returns the rollouts to score, one for each task and repeat, and the number of all rollouts of these tasks.

    It is the one whose score counts; without a score the first whose failure was not the model's, so that its answers
    are whole. A failure with a later score stays a failure, so that the same rollout counts.
    """
    counted: dict[tuple[str, int], Rollout] = {}
    there = 0
    for made in read_rollouts(run):
        there += made.task in tasks
        earlier = counted.get(made.key)
        if isinstance(made.outcome, Score):
            if earlier is None or not isinstance(earlier.outcome, Score):
                counted[made.key] = structs.replace(made, turns=[], roles={})
        elif earlier is None and made.turns and made.outcome.where in ("verifier", "environment"):
            counted[made.key] = structs.replace(made, turns=[], roles={})
    return {_key(made) for made in counted.values()}, there


@asynccontextmanager
async def _retracer(plan: RescorePlan, benchmark: Benchmark, work: Work) -> AsyncGenerator[Retracer]:
    if plan.processes == 1:
        yield here(benchmark, work)
    elif plan.roles:
        raise UsageError("--processes is for verifiers that compute; a model in a role is waited for, in one process")
    else:
        async with elsewhere(plan.processes, work) as retracer:
            yield retracer


async def _rescore(
    plan: RescorePlan,
    retracer: Retracer,
    source: Iterator[Rollout],
    counted: set[Key],
    tasks: Mapping[str, Task],
    store: Store,
    tally: Tally,
    interruption: Interruption,
) -> dict[Key, str]:
    """Appends every rollout of the source to the store, those that count with today's outcome.

    Returns why some have no outcome. These are not written, so that they are tried again.
    """
    owed: dict[Key, str] = {}
    alone = plan.processes == 1
    size = 1 if alone else max(1, plan.concurrency // plan.processes)

    async def work() -> None:
        while not interruption.stopping and (batch := list(islice(source, size))):
            scored = [made for made in batch if _key(made) in counted]
            found: dict[Key, Retraced] = dict(zip(map(_key, scored), await retracer(scored), strict=True))
            for made in batch:
                now = found.get(_key(made)) or keep_outcome(made, tasks[made.task])
                if isinstance(now, str):
                    owed[_key(made)] = now
                else:
                    store.append(now)
                _count(tally, now)
            store.flush()
            await asyncio.sleep(0)  # a verifier that never waits still lets Ctrl-C in

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(plan.concurrency if alone else 2 * plan.processes):
                interruption.on_abandon(group.create_task(work()).cancel)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return owed


def _count(tally: Tally, found: Retraced) -> None:
    """Counts a rollout without its tokens, which the old run used."""
    if not isinstance(found, str) and isinstance(found.outcome, Score):
        tally.scored += 1
        tally.reward += found.outcome.reward
    else:
        tally.failed += 1


def _changes(run: Path, folder: Path, counted: set[Key], tasks: _Tasks, owed: Mapping[Key, str]) -> Iterator[Change]:
    """Yields the changes in the order of the old run's tasks and repeats."""
    after = {_key(row): row.outcome for row in read_rows(folder)}
    order = {task.id: index for index, task in enumerate(read_tasks(run))}
    rows = [row for row in read_rows(run) if _key(row) in counted]
    for row in sorted(rows, key=lambda row: (order[row.task], row.repeat)):
        key = _key(row)
        now = None if key in owed else after.get(key)
        if kind := _kind(row.outcome, now):
            reason = tasks.missing(row.task) or owed.get(key, "")
            yield Change(task=row.task, repeat=row.repeat, kind=kind, before=row.outcome, after=now, reason=reason)


def _score(run: Path) -> float | None:
    results = read(run, cached=False)  # the folder of a certificate may be somebody else's
    return results.sample.score if results.sample else None


def _kind(before: Outcome, after: Outcome | None) -> ChangeKind | None:
    match before, after:
        case _, None:
            return "owed"
        case Score(), Score():
            return "score" if before.reward != after.reward else "answer" if before.answer != after.answer else None
        case Score(), _:
            return "broken"
        case _, Score():
            return "mended"
        case _:
            return None

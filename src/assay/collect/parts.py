"""One run made by several processes: what each of them is asked, and what it tells.

Concurrency, the models' limits and the budget are shared out, so that together they keep within what was asked. A part
is text, to be sent through a pipe or over a network, for keys may be in it.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from msgspec import Struct, structs

from assay.benchmark.catalog import load
from assay.collect.collect import Interruption, Tally
from assay.collect.run import RunPlan
from assay.config import ModelConfig
from assay.errors import AssayError, BudgetSpent, DigestMismatch, StoppedEarly, UsageError
from assay.model.wrappers.budget import Budget
from assay.sandbox import PLACE, Place
from assay.store import Shard
from assay.types import Failure, RolloutLimits, Sampling

WORDS = 2000
"""Characters that a report tells of a failure; the rollout has them all."""
ERRORS = {kind.__name__: kind for kind in (AssayError, UsageError, DigestMismatch, StoppedEarly, BudgetSpent)}


class Collector(Protocol):
    """Collects what a run still owes, in one process or in many."""

    async def __call__(
        self,
        asked: RunPlan,
        /,
        *,
        interruption: Interruption | None = None,
        watch: Callable[[Tally], None] = ...,
        tell: Callable[[str], None] = ...,
    ) -> Tally: ...


class Part(Struct, frozen=True, kw_only=True):
    """What one process is asked: a run's plan as text."""

    source: str
    sampling: Sampling
    limits: RolloutLimits
    name: str
    server: ModelConfig
    roles: dict[str, ModelConfig]
    folder: str
    registry: str | None
    repeats: int
    limit: int | None
    concurrency: int
    shard: Shard
    sharing: int
    seed: int
    tokens: int | None
    """Of the budget, as the next one."""
    usd: float | None
    place: Place | None
    locks: tuple[int, ...] = ()
    """The open files by which the run is kept, which the process inherits."""

    def budget(self) -> Budget | None:
        return None if self.tokens is None and self.usd is None else Budget(tokens=self.tokens, usd=self.usd)


class Report(Struct, frozen=True, tag=True):
    """A process' tally so far."""

    planned: int = 0
    before: int = 0
    scored: int = 0
    failed: int = 0
    reward: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0
    last_failure: Failure | None = None
    struggling: int = 0
    level: int | None = None
    spent_tokens: int = 0
    """Of its budget, as the next one."""
    spent_usd: float = 0.0


class Ended(Struct, frozen=True, tag=True):
    """A process' last words."""

    error: str = ""
    """One of ERRORS; empty where there is none."""
    message: str = ""
    stopped: bool = False

    @classmethod
    def by(cls, error: AssayError, *, stopped: bool = False) -> "Ended":
        kind = next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in ERRORS)
        return cls(kind, _plain(str(error)), stopped)


NOTHING = Report()


def count_of(asked: RunPlan, processes: int) -> int:
    """So many processes at most that each may have a request in flight. Raises UsageError."""
    if processes < 1:
        raise UsageError(f"nothing to do: --processes {processes}; expected at least 1")
    servers = (asked.server, *asked.roles.values())
    return min(processes, asked.concurrency, *(server.limits.concurrency or processes for server in servers))


def part_of(asked: RunPlan, index: int, count: int, shard: Shard, locks: tuple[int, ...] = ()) -> Part:
    """The share of process `index` of `count`, from 1, of all that may be used, and the rollouts of a shard."""
    tokens, usd = asked.budget.left if asked.budget else (None, None)
    return Part(
        source=asked.benchmark.source,
        sampling=asked.benchmark.sampling,
        limits=asked.benchmark.limits,
        name=asked.name,
        server=asked.server,
        roles=dict(asked.roles),
        folder=str(asked.folder),
        registry=None if asked.registry is None else str(asked.registry),
        repeats=asked.repeats,
        limit=asked.limit,
        concurrency=(asked.concurrency + count - index) // count,
        shard=shard,
        sharing=count,
        seed=asked.seed,
        tokens=None if tokens is None else tokens // count,
        usd=None if usd is None else usd / count,
        place=PLACE.get(),
        locks=locks,
    )


def plan_of(part: Part, budget: Budget | None) -> RunPlan:
    """The part as a run's plan again, in the process that makes it. Raises UsageError."""
    return RunPlan(
        benchmark=replace(load(part.source), sampling=part.sampling, limits=part.limits),
        name=part.name,
        server=part.server,
        folder=Path(part.folder),
        repeats=part.repeats,
        limit=part.limit,
        concurrency=part.concurrency,
        shard=part.shard,
        sharing=part.sharing,
        seed=part.seed,
        early_stop=False,  # that is for the whole to tell
        budget=budget,
        roles=part.roles,
        registry=None if part.registry is None else Path(part.registry),
    )


def report_of(tally: Tally, budget: Budget | None) -> Report:
    """What a process tells of its tally."""
    failure = tally.last_failure
    return Report(
        planned=tally.planned,
        before=tally.before,
        scored=tally.scored,
        failed=tally.failed,
        reward=tally.reward,
        input_tokens=tally.input_tokens,
        output_tokens=tally.output_tokens,
        usd=tally.usd,
        last_failure=failure and structs.replace(failure, message=_plain(failure.message)),
        struggling=tally.struggling(),
        level=tally.level(),
        spent_tokens=budget.tokens if budget else 0,
        spent_usd=budget.usd if budget else 0.0,
    )


def add_up(tally: Tally, told: Iterable[Report]) -> None:
    """Make the tally of the whole what all processes have told."""
    reports = list(told)
    tally.scored = sum(report.scored for report in reports)
    tally.failed = sum(report.failed for report in reports)
    tally.reward = sum(report.reward for report in reports)
    tally.input_tokens = sum(report.input_tokens for report in reports)
    tally.output_tokens = sum(report.output_tokens for report in reports)
    tally.usd = sum(report.usd for report in reports)
    tally.last_failure = next((report.last_failure for report in reports if report.last_failure), None)


def _plain(text: str) -> str:
    """The text as it can be sent: not endless, and without lone surrogates, which have no UTF-8."""
    return text[:WORDS].encode("utf-8", "replace").decode()

"""One run made by several workers: what each of them is asked, and what it says of its progress.

Concurrency, the models' limits and the budget are shared out, so that together they keep within what was asked. A
request is pure data, to be sent through a pipe or over a network; keys may be in it.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from msgspec import Struct, structs

from assay.benchmark.catalog import load
from assay.collect.collect import Interruption, Tally
from assay.collect.run import RunPlan
from assay.collect.workers import plain
from assay.config import AgentConfig, ModelConfig
from assay.errors import UsageError
from assay.model.wrappers.budget import Budget
from assay.sandbox import PLACE, Place
from assay.types import MOST_REPEATS, Failure, RolloutLimits, Sampling


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


class RunRequest(Struct, frozen=True, kw_only=True):
    """What a worker is asked: a run, without what of it is to be made."""

    source: str
    sampling: Sampling
    limits: RolloutLimits
    name: str
    server: ModelConfig
    agent: AgentConfig
    roles: dict[str, ModelConfig]
    repeats: int
    limit: int | None
    concurrency: int
    sharing: int
    seed: int
    tokens: int | None
    """The most tokens that the worker may spend."""
    usd: float | None
    """The most US dollars that the worker may spend."""
    place: Place | None
    secrets: dict[str, str]
    """Environment variables, with the models' keys."""

    def budget(self) -> Budget | None:
        return None if self.tokens is None and self.usd is None else Budget(tokens=self.tokens, usd=self.usd)


class Report(Struct, frozen=True):
    """A worker's tally so far."""

    scored: int = 0
    failed: int = 0
    reward: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0
    empty: int = 0
    marked: int = 0
    mark: str | None = None
    last_failure: Failure | None = None
    retrying: int = 0
    level: int | None = None
    spent_tokens: int = 0
    """What it has spent of its budget."""
    spent_usd: float = 0.0


NOTHING = Report()


def count_of(asked: RunPlan, processes: int) -> int:
    """Returns how many workers there can be, so that each may have a request in flight. Raises UsageError."""
    if processes < 1:
        raise UsageError(f"nothing to do: --processes {processes}; expected at least 1")
    if not 1 <= asked.repeats <= MOST_REPEATS or asked.concurrency < 1:
        raise UsageError(f"--repeats and --concurrency have to be at least 1, and --repeats at most {MOST_REPEATS}")
    servers = (asked.server, *asked.roles.values())
    return min(processes, asked.concurrency, *(server.limits.concurrency or processes for server in servers))


def request_to(asked: RunPlan, index: int, count: int, env: Sequence[str] = ()) -> RunRequest:
    """Returns what worker `index` of `count`, from 1, is asked, with its share of all that may be used."""
    tokens, usd = asked.budget.left if asked.budget else (None, None)
    names = [*env, *(name for server in (asked.server, *asked.roles.values()) for name in server.secrets())]
    return RunRequest(
        source=asked.benchmark.source,
        sampling=asked.benchmark.sampling,
        limits=asked.benchmark.limits,
        name=asked.name,
        server=asked.server,
        agent=asked.agent,
        roles=dict(asked.roles),
        repeats=asked.repeats,
        limit=asked.limit,
        concurrency=(asked.concurrency + count - index) // count,
        sharing=count,
        seed=asked.seed,
        tokens=None if tokens is None else tokens // count,
        usd=None if usd is None else usd / count,
        place=PLACE.get(),
        secrets={name: os.environ[name] for name in names if name in os.environ},
    )


def plan_of(request: RunRequest, budget: Budget | None) -> RunPlan:
    """Returns the request as a run's plan, in the worker. Raises UsageError."""
    return RunPlan(
        benchmark=replace(load(request.source), sampling=request.sampling, limits=request.limits),
        name=request.name,
        server=request.server,
        agent=request.agent,
        folder=Path(),
        repeats=request.repeats,
        limit=request.limit,
        concurrency=request.concurrency,
        sharing=request.sharing,
        seed=request.seed,
        budget=budget,
        roles=request.roles,
    )


def report_of(tally: Tally, budget: Budget | None) -> Report:
    """Returns what a worker says of its tally."""
    failure = tally.last_failure
    return Report(
        scored=tally.scored,
        failed=tally.failed,
        reward=tally.reward,
        input_tokens=tally.input_tokens,
        output_tokens=tally.output_tokens,
        usd=tally.usd,
        empty=tally.empty,
        marked=tally.marked,
        mark=tally.mark,
        last_failure=failure and structs.replace(failure, message=plain(failure.message)),
        retrying=tally.retrying(),
        level=tally.level(),
        spent_tokens=budget.tokens if budget else 0,
        spent_usd=budget.usd if budget else 0.0,
    )


def add_up(tally: Tally, reports: Sequence[Report]) -> None:
    """Make the tally of the whole run what all workers have reported."""
    for name in ("scored", "failed", "reward", "input_tokens", "output_tokens", "usd", "empty", "marked"):
        setattr(tally, name, sum(getattr(report, name) for report in reports))
    for name in ("last_failure", "mark"):
        setattr(tally, name, next((value for report in reports if (value := getattr(report, name))), None))

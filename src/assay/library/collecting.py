"""`assay.run` and `assay.rollouts`: they make rollouts, in a folder or in memory."""

import warnings
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from assay.agent import Agent
from assay.benchmark import Benchmark
from assay.collect.collect import Tally, collect
from assay.collect.head import Collector, distribute
from assay.collect.plan import plan
from assay.collect.run import RunPlan, open_run
from assay.collect.workers.ray import join_cluster
from assay.config import ModelConfig, RayConfig
from assay.errors import StoppedEarly
from assay.input import is_present
from assay.library.names import (
    AnyModel,
    TemporaryFolder,
    budget_of,
    find_tasks,
    load,
    roles_of,
    toml_of,
)
from assay.library.plans import plan_run
from assay.library.run import Run
from assay.store import Shard
from assay.types import Rollout, RolloutLimits, Sampling

Roles = Mapping[str, str | ModelConfig]


def nothing(*_: object) -> None:
    return None


def warn(tallies: Mapping[str, Tally]) -> None:
    for model, tally in tallies.items():
        for line in tally.warnings(model):
            warnings.warn(f"{model}: {line}", stacklevel=3)


def choice_of(
    repeats: int | None,
    only: Mapping[str, str] | None,
    limit: int | None,
    concurrency: int,
    seed: int,
    early_stop: bool,
    batch: bool,
) -> dict[str, Any]:
    """Returns the fields of a RunRequest that say which rollouts are made and how."""
    chosen = {"repeats": repeats, "only": dict(only or {}), "limit": limit}
    return chosen | {"concurrency": concurrency, "seed": seed, "early_stop": early_stop, "batch": batch}


@contextmanager
def collector_of(processes: int | None, ray: bool | str, config: RayConfig) -> Generator[Collector]:
    """Yields the collector of runs: this process, several processes, or a Ray cluster. Raises UsageError."""
    if ray is False:
        yield partial(distribute, processes=1 if processes is None else processes)
        return
    with join_cluster(ray if isinstance(ray, str) else None, config) as cluster:
        yield partial(distribute, cluster=cluster, processes=processes)


async def run(
    benchmark: str | Path | Benchmark,
    *,
    model: AnyModel | None = None,
    agent: str | Agent | None = None,
    base_url: str | None = None,
    repeats: int | None = None,
    only: Mapping[str, str] | None = None,
    limit: int | None = None,
    concurrency: int = 64,
    processes: int | None = None,
    ray: bool | str = False,
    shard: str = "1/1",
    seed: int = 0,
    sampling: Sampling | None = None,
    limits: RolloutLimits | None = None,
    roles: Roles | None = None,
    budget_tokens: int | None = None,
    budget_usd: float | None = None,
    early_stop: bool = True,
    batch: bool = False,
    config: str | Path | None = None,
    out: str | Path | None = None,
    watch: Callable[[Tally], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Run:
    """Runs one benchmark on one model, or continues the run in `out`. Returns the Run.

    `model` is a name (`chat:ID` with a `base_url`), a ModelConfig, or an object with `async def respond(request) ->
    Response`; with `out` the object also needs `identity()`, because a run continues with the same model only. `agent`
    is a name or an object with `async def run(task, model, session)`; one with `needs_model = False` takes no model.
    `only` selects tasks by tag, and `limit` selects that many, at random by `seed` and balanced over groups. `roles`
    gives the models of the benchmark's roles. `config` is a file such as `assay.toml`. Without `out` the run is in a
    temporary folder, which is removed with the Run. `watch` is called once, with the Tally, which counts on, and `tell`
    with a line of text for each event. `processes`, `ray` (True starts a cluster here), `shard` and `batch` are the
    options of `assay run`.

    Raises UsageError, DigestMismatch if `out` holds another run, and StoppedEarly if the run can't go on (its `run` is
    the Run so far). Warns if nearly all answers are empty, or if answers hold marks of thinking.
    """
    own, temporary = toml_of(config), TemporaryFolder() if out is None else None
    asked = plan_run(
        load(benchmark),
        model,
        agent,
        own=own,
        home=temporary.path if temporary else Path(),
        out=out,
        base_url=base_url,
        sampling=sampling,
        limits=limits,
        budget=budget_of(budget_tokens, budget_usd),
        roles=roles_of(roles, own),
        shard=Shard.parse(shard),
        **choice_of(repeats, only, limit, concurrency, seed, early_stop, batch),
    )
    with collector_of(processes, ray, own.ray) as collector:
        tally = await _with_run(asked, collector(asked, watch=watch or nothing, tell=tell or nothing), temporary)
    warn({asked.request.name: tally})
    return Run(asked.folder, _keep=temporary)


async def _with_run(asked: RunPlan, collecting: Awaitable[Tally], keep: object) -> Tally:
    """Returns the tally. Where the run can't go on, the error gets the Run of what there is by then."""
    try:
        return await collecting
    except StoppedEarly as error:
        if is_present(asked.folder / "run.json"):
            error.run = Run(asked.folder, _keep=keep)
        raise


class _Memory:
    """Keeps rollouts in memory."""

    def __init__(self) -> None:
        self.rollouts: list[Rollout] = []

    def append(self, rollout: Rollout) -> None:
        self.rollouts.append(rollout)

    def flush(self) -> None:
        return None


async def rollouts(
    benchmark: str | Path | Benchmark,
    *,
    model: AnyModel | None = None,
    agent: str | Agent | None = None,
    base_url: str | None = None,
    tasks: Sequence[str] | None = None,
    repeats: int = 1,
    concurrency: int = 64,
    seed: int = 0,
    sampling: Sampling | None = None,
    limits: RolloutLimits | None = None,
    roles: Roles | None = None,
    config: str | Path | None = None,
) -> list[Rollout]:
    """Returns rollouts, `repeats` of each task, in the order of the tasks; failed ones are among them.

    The arguments are those of `run`; `tasks` are ids, None for all tasks. Randomness depends on `seed`, the task's id
    and the repeat alone, so give each training step another seed. Nothing is written.

    Raises UsageError.
    """
    own, memory = toml_of(config), _Memory()
    asked = plan_run(
        load(benchmark),
        model,
        agent,
        own=own,
        home=Path(),
        base_url=base_url,
        sampling=sampling,
        limits=limits,
        roles=roles_of(roles, own),
        repeats=repeats,
        concurrency=concurrency,
        seed=seed,
    )
    async with open_run(asked) as ready:
        wanted = find_tasks(ready.tasks, tasks)
        tally = Tally(planned=len(wanted) * repeats)
        planned = plan(wanted, repeats, seed=seed, scored=set(), attempts={}, shard=Shard())
        await collect(
            ready.benchmark,
            ready.agent,
            ready.model,
            planned,
            memory,
            tally,
            concurrency=concurrency,
            deadline_s=asked.request.server.deadline_s,
            early_stop=False,
        )
    warn({asked.request.name: tally})
    order = {task.id: at for at, task in enumerate(wanted)}
    return sorted(memory.rollouts, key=lambda rollout: (order[rollout.task], rollout.repeat))

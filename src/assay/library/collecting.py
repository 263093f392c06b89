"""`assay.run`, `assay.rollouts` and `assay.profile`: they make rollouts, in a folder or in memory."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from assay.agent import Agent
from assay.benchmark import Benchmark
from assay.collect.collect import Interruption, Tally, collect
from assay.collect.head import check_workers, distribute
from assay.collect.plan import plan
from assay.collect.run import open_run
from assay.config import ModelConfig, Suite
from assay.errors import StoppedEarly
from assay.fidelity.profile import profile as make_profile
from assay.input import is_present
from assay.library.names import (
    AnyModel,
    TemporaryFolder,
    budget_of,
    load,
    roles_of,
    suite_named,
    tasks_named,
    toml_of,
)
from assay.library.plans import plan_profile, plan_run
from assay.library.profile import Profile
from assay.library.run import Run
from assay.store import Shard
from assay.types import Rollout, RolloutLimits, Sampling

Roles = Mapping[str, str | ModelConfig]


def _nothing(*_: object) -> None:
    return None


def _warn(tallies: Mapping[str, Tally]) -> None:
    for model, tally in tallies.items():
        for line in tally.warnings(model):
            warnings.warn(f"{model}: {line}", stacklevel=3)


def _begin(tallies: dict[str, Tally], watch: Callable[[str, Tally], None], name: str, tally: Tally) -> None:
    tallies[name] = tally
    watch(name, tally)


def _rollouts(
    repeats: int | None, only: Mapping[str, str] | None, limit: int | None, concurrency: int, seed: int
) -> dict[str, Any]:
    """Which rollouts are made, as a request has it."""
    chosen = {"repeats": repeats, "only": dict(only or {}), "limit": limit}
    return chosen | {"concurrency": concurrency, "seed": seed}


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
    processes: int = 1,
    seed: int = 0,
    sampling: Sampling | None = None,
    limits: RolloutLimits | None = None,
    roles: Roles | None = None,
    budget_tokens: int | None = None,
    budget_usd: float | None = None,
    early_stop: bool = True,
    config: str | Path | None = None,
    out: str | Path | None = None,
    watch: Callable[[Tally], None] | None = None,
) -> Run:
    """Runs one benchmark on one model, or goes on with the run in `out`. Returns the Run.

    `model` is a name (`chat:ID` with a `base_url`), a ModelConfig, or an object with `async def respond(request) ->
    Response`, with `out` also with `identity()`: a run goes on with the same model alone. `agent` is a name or an
    object with `async def run(task, model, session)`; one that says `needs_model = False` goes without a model.
    `only` takes the tasks with these tags, `limit` so many, drawn by the seed and balanced over groups. `roles` names
    the models that the benchmark asks beside this one. `config` is a file such as `assay.toml`. Without `out` the run
    lives in a temporary folder that ends with the Run. `watch` is called once, with the run's running tally.

    Raises UsageError, DigestMismatch where `out` holds another run, and StoppedEarly where the run can't go on (its
    `run` is what there is by then). Warns where nearly all answers are empty or hold marks of thinking.
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
        early_stop=early_stop,
        **_rollouts(repeats, only, limit, concurrency, seed),
    )
    try:
        _warn({asked.request.name: await distribute(asked, processes, watch=watch or _nothing)})
    except StoppedEarly as error:
        if is_present(asked.folder / "run.json"):
            error.run = Run(asked.folder, _keep=temporary)
        raise
    return Run(asked.folder, _keep=temporary)


class _Memory:
    """Where rollouts go that no file keeps."""

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
    """Returns rollouts in memory, `repeats` of each task, in the order of the tasks; failed ones are among them.

    The arguments are those of `run`; `tasks` are ids, all tasks where None. Randomness comes from `seed`, the task's id
    and the repeat alone: give each step of a training another seed. Nothing is written.

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
        wanted = tasks_named(ready.tasks, tasks)
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
    _warn({asked.request.name: tally})
    order = {task.id: at for at, task in enumerate(wanted)}
    return sorted(memory.rollouts, key=lambda rollout: (order[rollout.task], rollout.repeat))


async def profile(
    benchmark: str | Path | Benchmark,
    *,
    suite: str | Path | Suite | None = None,
    models: Sequence[str] | None = None,
    agent: str | Agent | None = None,
    repeats: int | None = None,
    only: Mapping[str, str] | None = None,
    limit: int | None = None,
    concurrency: int = 64,
    processes: int = 1,
    seed: int = 0,
    roles: Roles | None = None,
    budget_tokens: int | None = None,
    budget_usd: float | None = None,
    until_stable: bool = False,
    follow_plan: bool | str | Path = False,
    early_stop: bool = True,
    config: str | Path | None = None,
    out: str | Path | None = None,
    watch: Callable[[str, Tally], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Profile:
    """Runs a suite of models on a benchmark and computes the gates. Returns the Profile.

    `suite` is a name (`embedded` where not given), a TOML file's path or a Suite; `models` some models by name in its
    place. `out` goes on with the profile that is there; without it the profile lives in a temporary folder that ends
    with the object. With `follow_plan` each model gets the repeats that `assay plan` gives it, or those of a file that
    its --json wrote. The other arguments are those of `run`. `watch` is called with a model's name and its running
    tally when its run begins, and `tell` with a line of text when something happens.

    Raises UsageError, DigestMismatch where `out` holds another profile, and BudgetSpent.
    """
    own, temporary = toml_of(config), TemporaryFolder() if out is None else None
    asked = plan_profile(
        load(benchmark),
        suite_named(suite, models, own),
        agent,
        own=own,
        home=temporary.path if temporary else Path(),
        out=out,
        roles=roles_of(roles, own),
        budget=budget_of(budget_tokens, budget_usd),
        collector=partial(distribute, processes=processes),
        until_stable=until_stable,
        follow_plan=follow_plan,
        early_stop=early_stop,
        **_rollouts(repeats, only, limit, concurrency, seed),
    )
    check_workers(asked.run, processes)
    tallies: dict[str, Tally] = {}
    begin = partial(_begin, tallies, watch or _nothing)
    found = await make_profile(asked, interruption=Interruption(), watch=begin, tell=tell or _nothing)
    assert found is not None, "only an interruption ends a profile without a result"
    _warn(tallies)
    made, results = found
    return Profile(asked.run.folder, made, _keep=temporary, _results=results)

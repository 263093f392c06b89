"""`assay.run`, `assay.rollouts` and `assay.profile`: they make rollouts, in a folder or in memory."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from msgspec import structs

from assay.agent import Agent
from assay.agent.catalog import make_agent
from assay.benchmark import Benchmark
from assay.collect.collect import Interruption, Tally, collect
from assay.collect.head import distribute
from assay.collect.plan import plan
from assay.collect.run import RunPlan, collect_run, count_spent, open_run
from assay.config import ModelConfig, Suite
from assay.errors import StoppedEarly, UsageError
from assay.fidelity.profile import ProfilePlan
from assay.fidelity.profile import profile as make_profile
from assay.library.names import (
    AnyModel,
    TemporaryFolder,
    agent_of,
    budget_of,
    changed,
    load,
    model_of,
    roles_of,
    suite_named,
    tasks_named,
)
from assay.library.profile import Profile
from assay.library.run import Run
from assay.store import Shard
from assay.types import Rollout, RolloutLimits, Sampling

Roles = Mapping[str, str | ModelConfig]


def _nothing(*_: object) -> None:
    return None


def _check_processes(benchmark: Benchmark, processes: int) -> None:
    """Raises UsageError where other processes could not load the benchmark."""
    if processes > 1 and benchmark.origin is None:
        raise UsageError("other processes can't load a benchmark made in Python; expected processes=1, or its folder")


async def run(
    benchmark: str | Path | Benchmark,
    *,
    model: AnyModel,
    agent: str | Agent | None = None,
    base_url: str | None = None,
    repeats: int | None = None,
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

    `model` is a name (see `assay list models`; or `chat:ID` with a `base_url`), a ModelConfig, or an object with
    `async def respond(request) -> Response`; with `out`, give an object an `identity()` that tells its settings apart,
    since a run goes on only with the same model. `agent` is a name (see `assay list agents`) or an object with
    `async def run(task, model, session)`, by default the loop of model and tools. `repeats`, `sampling` and `limits`
    are the benchmark's own where not given.
    `limit` takes the first tasks alone. At most `concurrency` rollouts are in flight. `roles` names the models that the
    benchmark asks beside this one. The run ends before it uses more than `budget_tokens` or `budget_usd`. `config` is a
    file such as `assay.toml`, where models have names. Without `out` the run lives in a temporary folder that ends with
    the Run. `watch` is called once, with the tally that the run keeps up to date.

    Raises UsageError, DigestMismatch where `out` holds another run, and StoppedEarly where the run can't go on (its
    `run` is what there is by then).
    """
    chosen = changed(load(benchmark), sampling, limits)
    name, server, live = model_of(model, base_url, config)
    driver, driving = agent_of(agent, config)
    if processes > 1 and (live is not None or driving is not None):
        raise UsageError("a model or agent object lives in this process alone; expected processes=1, or a name")
    _check_processes(chosen, processes)
    temporary = TemporaryFolder() if out is None else None
    folder = temporary.path / name if temporary else Path(str(out))
    others = roles_of(roles or {}, config)
    budget = budget_of(budget_tokens, budget_usd)
    if budget:
        count_spent(budget, folder, server, others)
    asked = RunPlan(
        benchmark=chosen,
        name=name,
        server=server,
        agent=driver,
        folder=folder,
        repeats=chosen.repeats if repeats is None else repeats,
        limit=limit,
        concurrency=concurrency,
        seed=seed,
        early_stop=early_stop,
        budget=budget,
        roles=others,
        registry=folder.parent / "started.jsonl",
    )
    try:
        if processes > 1:
            await distribute(asked, processes, watch=watch or _nothing)
        else:
            await collect_run(asked, model=live, agent=driving, watch=watch or _nothing)
    except StoppedEarly as error:
        if (folder / "run.json").exists():
            error.run = Run(folder, _keep=temporary)
        raise
    return Run(folder, _keep=temporary)


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
    model: AnyModel,
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
    chosen = changed(load(benchmark), sampling, limits)
    name, server, live = model_of(model, base_url, config)
    driver, driving = agent_of(agent, config)
    asked = RunPlan(
        benchmark=chosen,
        name=name,
        server=server,
        agent=driver,
        folder=Path(),
        repeats=repeats,
        concurrency=concurrency,
        seed=seed,
        roles=roles_of(roles or {}, config),
    )
    memory = _Memory()
    async with open_run(asked, live) as ready:
        wanted = tasks_named(ready.tasks, tasks)
        tally = Tally(planned=len(wanted) * repeats)
        planned = plan(wanted, repeats, seed=seed, scored=set(), attempts={}, shard=Shard())
        await collect(
            ready.benchmark,
            driving or make_agent(driver),
            ready.model,
            planned,
            memory,
            tally,
            concurrency=concurrency,
            deadline_s=server.deadline_s,
            early_stop=False,
        )
    order = {task.id: at for at, task in enumerate(wanted)}
    return sorted(memory.rollouts, key=lambda rollout: (order[rollout.task], rollout.repeat))


async def profile(
    benchmark: str | Path | Benchmark,
    *,
    suite: str | Path | Suite | None = None,
    models: Sequence[str] | None = None,
    repeats: int | None = None,
    limit: int | None = None,
    concurrency: int = 64,
    processes: int = 1,
    seed: int = 0,
    roles: Roles | None = None,
    budget_tokens: int | None = None,
    budget_usd: float | None = None,
    until_stable: bool = False,
    early_stop: bool = True,
    config: str | Path | None = None,
    out: str | Path | None = None,
    watch: Callable[[str, Tally], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Profile:
    """Runs a suite of models on a benchmark and computes the gates. Returns the Profile.

    `suite` is a name (`embedded` where not given), a TOML file's path or a Suite; `models` some models by name in its
    place. `out` goes on with the profile that is there; without it the profile lives in a temporary folder that ends
    with the object. The other arguments are those of `run`. `watch` is called with a model's name and its running tally
    when its run begins, and `tell` with a line of text when something happens.

    Raises UsageError, DigestMismatch where `out` holds another profile, and BudgetSpent.
    """
    chosen = load(benchmark)
    _check_processes(chosen, processes)
    members = suite_named(suite, models, config)
    temporary = TemporaryFolder() if out is None else None
    folder = temporary.path / f"{chosen.name}-{members.name}".replace("/", "-") if temporary else Path(str(out))
    asked = ProfilePlan(
        benchmark=chosen,
        suite=structs.replace(members, roles=members.roles | roles_of(roles or {}, config)),
        folder=folder,
        repeats=chosen.repeats if repeats is None else repeats,
        limit=limit,
        concurrency=concurrency,
        collector=partial(distribute, processes=processes),
        seed=seed,
        early_stop=early_stop,
        budget=budget_of(budget_tokens, budget_usd),
        until_stable=until_stable,
    )
    made = await make_profile(
        asked,
        interruption=Interruption(),
        watch=watch or _nothing,
        tell=tell or _nothing,
    )
    assert made is not None, "only an interruption ends a profile without a result"
    return Profile(folder, made, _keep=temporary)

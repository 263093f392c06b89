"""`assay profile`."""

import asyncio
import shlex
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from msgspec import structs
from rich.table import Table
from rich.text import Text

from assay.benchmark.catalog import load
from assay.cli.collect.live import Live, console, drive
from assay.cli.collect.run import collecting, roles_of
from assay.collect.collect import Interruption
from assay.config import Suite, assay_toml, load_agent, load_suite, suite_of
from assay.errors import UsageError
from assay.fidelity.gates import applicable
from assay.fidelity.profile import ProfilePlan, compute_with_results
from assay.fidelity.profile import profile as make_profile
from assay.fidelity.schema.profile import Profile
from assay.library.names import budget_of
from assay.report import findings
from assay.report.evidence import standing
from assay.report.page import publish
from assay.report.words import dollars
from assay.sandbox import place

STYLES = {"pass": "green", "fail": "red bold", "inconclusive": "yellow", "not run": "dim"}


def profile(
    benchmark: str,
    *,
    suite: str | None = None,
    models: str | None = None,
    agent: str = "loop",
    repeats: int | None = None,
    limit: int | None = None,
    concurrency: int = 64,
    processes: int | None = None,
    ray: bool | str = False,
    ray_cpus: float | None = None,
    out: Path | None = None,
    assign: Annotated[tuple[str, ...], Parameter(name="--set", negative="")] = (),
    seed: int = 0,
    until_stable: bool = False,
    early_stop: bool = True,
    strict: bool = False,
    budget_tokens: int | None = None,
    budget_usd: float | None = None,
    role: Annotated[tuple[str, ...], Parameter(name="--with", negative="")] = (),
    sandbox: str | None = None,
    unsafe: bool = False,
) -> int:
    """Run a benchmark on a suite of models, compute the gates, and write the report.

    Given again, it goes on where it stopped. Exits 0 once it ran to its end, whatever the verdict, and 4 where a model
    gave nothing but failures.

    Parameters
    ----------
    benchmark
        A benchmark's name (see `assay list benchmarks`) or the path of its folder.
    suite
        A suite's name (see `assay list suites`) or the path of a TOML file; `embedded` where not given.
    models
        Some models in place of a suite, by name (see `assay list models`) with commas between, such as gold,null.
    agent
        An agent's name (see `assay list agents`, and [agents.NAME] in assay.toml); `loop` where not given.
    repeats
        Rollouts a task. The benchmark's own number where not given.
    limit
        Only so many tasks, from the first: to try things out, for they are no fair sample.
    concurrency
        Rollouts in flight at most, in all processes together.
    processes
        So many processes, each with its share of the plan, of concurrency, of the models' limits and of the budget.
    ray
        Make the rollouts on a Ray cluster: at ADDRESS, with `auto` on the one that this machine belongs to, alone on
        one that is started on this machine. --processes then is the number of actors; as many as there are CPUs for
        where not given. [ray] in assay.toml says what they need and take along.
    ray_cpus
        CPUs of each actor; 1 where not given.
    out
        The profile's directory. profiles/BENCHMARK-SUITE (with -limitN) where not given.
    assign
        Change one setting of the suite, as often as wanted, such as --set models.policy.base_url=http://gpu-1:8000/v1.
    seed
        All randomness comes from this, the task's id and the repeat.
    until_stable
        Then add repeats to the strongest open model until the SD of its score is within one point to be sure, or a
        budget ends it. Looking several times costs little: docs/statistics.md says what.
    early_stop
        Leave a model from which nothing but failures comes.
    strict
        Exit 3 where a gate failed.
    budget_tokens
        Stop before all models together have used so many tokens, input and output, earlier commands' included.
    budget_usd
        Stop before they have cost so many US dollars, by the prices in the suite.
    role
        ROLE=NAME: the model that the benchmark asks in a role beside the suite's, such as --with judge=NAME. Without
        it, what [with.ROLE] in the suite says.
    sandbox
        Where code is run: bubblewrap, docker, docker:IMAGE or subprocess; bubblewrap where not given.
    unsafe
        Allow --sandbox subprocess, which shuts nothing off.
    """
    place(sandbox, unsafe=unsafe)
    driver = load_agent(agent, own=assay_toml())
    chosen, chosen_suite = load(benchmark), _suite(suite, models, assign)
    chosen_suite = structs.replace(chosen_suite, roles=chosen_suite.roles | roles_of(role))
    folder = out or Path("profiles", f"{chosen.name}-{chosen_suite.name}{'' if limit is None else f'-limit{limit}'}")
    interruption = Interruption()
    with collecting(processes, ray, ray_cpus) as collector, Live() as live:
        asked = ProfilePlan(
            benchmark=chosen,
            suite=chosen_suite,
            agent=driver,
            folder=folder,
            repeats=chosen.repeats if repeats is None else repeats,
            limit=limit,
            concurrency=concurrency,
            collector=collector,
            seed=seed,
            until_stable=until_stable,
            early_stop=early_stop,
            budget=budget_of(budget_tokens, budget_usd),
        )
        made = drive(make_profile(asked, interruption=interruption, watch=live.begin, tell=console.print), interruption)
    if made is None:
        return 130
    page = publish(folder, made, command=shlex.join(["assay", *sys.argv[1:]]))
    show(made)
    if step := advice(folder, made):
        console.print(Text(step), "")
    print(f"{folder / 'profile.json'}\n{page}")
    if any(summary.ran and summary.score is None for summary in made.models.values()):
        return 4
    return 3 if strict and any(gate.verdict == "fail" for gate in made.gates) else 0


def _suite(name: str | None, models: str | None, assign: tuple[str, ...]) -> Suite:
    if models is None:
        return load_suite(name or "embedded", assign)
    if name is not None:
        raise UsageError("--suite and --models are two ways to say it; give one")
    return suite_of([model.strip() for model in models.split(",") if model.strip()], assign, own=assay_toml())


def report(folder: Annotated[Path, Parameter(name="profile")], *, strict: bool = False) -> int:
    """Compute a profile again from what lies in its folder, without any model, and write its report.

    For after marks, parity or rescoring were added, or to read a profile that somebody else made.

    Parameters
    ----------
    folder
        A profile's directory.
    strict
        Exit 3 where a gate failed.
    """
    made, results = asyncio.run(compute_with_results(folder))
    page = publish(folder, made, results=results)
    show(made)
    if step := advice(folder, made):
        console.print(Text(step), "")
    print(f"{folder / 'profile.json'}\n{page}")
    return 3 if strict and any(gate.verdict == "fail" for gate in made.gates) else 0


def advice(folder: Path, made: Profile) -> str | None:
    """The command that the procedure goes on with; None where a gate fails, whose reason says what to do."""
    verdicts = {gate.name: gate.verdict for gate in applicable(made.gates, original=made.original)}
    if "fail" in verdicts.values():
        return None
    if verdicts["failures"] != "pass":
        return f"Next: assay review {shlex.quote(str(folder))}"
    if verdicts.get("parity") == "not run":
        return f"Next: assay parity {shlex.quote(made.benchmark.name)} --reference FILE"
    return f"Next: assay certify {shlex.quote(str(folder))}"


def show(made: Profile) -> None:
    """Print the scores, the gates, what machines and persons saw in failures, and what the gates come to."""
    scores = Table(box=None, pad_edge=False)
    priced = any(summary.cost_usd is not None for summary in made.models.values())
    for column in ("model", "score", "± run", "± task", "failed", *(["cost"] if priced else [])):
        scores.add_column(column, justify="left" if column == "model" else "right")
    for name, summary in made.models.items():
        if not summary.ran:
            scores.add_row(Text(name), "not run")
        else:
            figures = (summary.score, summary.se_run, summary.se_task)
            cost = [dollars(summary.cost_usd)] if priced else []
            scores.add_row(
                Text(name), *("–" if x is None else f"{x:.1%}" for x in figures), str(summary.failures), *cost
            )
    gates = Table(box=None, pad_edge=False)
    for column in ("gate", "verdict", "why"):
        gates.add_column(column)
    needed = {gate.name for gate in applicable(made.gates, original=made.original)}
    for gate in made.gates:
        word = gate.verdict if gate.name in needed else "does not apply"
        gates.add_row(gate.name, Text(word, style=STYLES[gate.verdict]), Text(gate.reason))
    seen = [findings.machines(made, standing(made)), findings.suspects(made), findings.persons(made.review)]
    console.print(scores, "", gates, "")
    for line in filter(None, seen):
        console.print(Text(line), "")
    console.print(findings.verdict(made.gates, original=made.original).line, "")

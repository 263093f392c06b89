"""`assay profile`."""

import asyncio
import shlex
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from assay.cli.collect.live import Live, console, drive
from assay.cli.collect.sbatch import Sbatch, write_job
from assay.cli.fidelity.plan import sums
from assay.cli.options import (
    AgentName,
    Assignments,
    BenchmarkName,
    Code,
    Columns,
    Plan,
    Roles,
    Spending,
    Workers,
    names_of,
)
from assay.collect.collect import Interruption
from assay.config import assay_toml
from assay.fidelity.certificate import announcement
from assay.fidelity.gates import applicable
from assay.fidelity.profile import ProfilePlan, compute_with_results, read_plan, source_of
from assay.fidelity.profile import profile as make_profile
from assay.fidelity.schema.profile import Profile
from assay.library.names import find_suite
from assay.library.profile import plan_profile
from assay.report import findings
from assay.report.evidence import standing
from assay.report.page import publish
from assay.report.words import dollars, sample

Announce = Annotated[
    bool,
    Parameter(
        negative="",
        help="Run nothing yet: print a digest of the plan, the margins and the benchmark. Post it where others see its "
        "date, then give the same command without --announce.",
    ),
]
STYLES = {"pass": "green", "fail": "red bold", "inconclusive": "yellow", "not run": "dim"}


def profile(
    benchmark: BenchmarkName,
    *,
    columns: Columns = Columns(),
    suite: str | None = None,
    models: str | None = None,
    agent: AgentName = "loop",
    plan: Plan = Plan(),
    workers: Workers = Workers(),
    out: Path | None = None,
    assign: Assignments = (),
    until_stable: bool = False,
    follow_plan: Annotated[bool | str, Parameter(negative="")] = False,
    strict: bool = False,
    announce: Announce = False,
    spending: Spending = Spending(),
    roles: Roles = Roles(),
    code: Code = Code(),
    sbatch: Sbatch = None,
) -> int:
    """Run a benchmark on a suite of models, or go on with it, compute the gates, and write the report.

    Exits 0 once it ran to its end, whatever the gates say, 3 if a gate failed and --strict is given, 4 if a model gave
    nothing but failures, and 130 after Ctrl-C.

    Parameters
    ----------
    suite
        A suite's name (see `assay list suites`) or the path of a TOML file. Default: embedded.
    models
        Models in place of a suite: names (see `assay list models`) separated by commas, such as gold,null.
    out
        The profile's directory. Default: profiles/BENCHMARK-SUITE, with -AGENT and -limitN where they are given.
    assign
        Change one setting of the suite; may be given several times. Example: --set models.policy.base_url=http://gpu-1:8000/v1.
    until_stable
        At the end, add repeats to the strongest open model until its score's SD is at most one point (upper bound).
    follow_plan
        Make exactly the rollouts of `assay plan`; with =FILE those of a plan that its --json wrote.
    strict
        Exit 3 if a gate failed.
    """
    with workers.collector() as collector:
        asked = plan_profile(
            code.load(columns.of(benchmark)),
            find_suite(suite, names_of(models), assay_toml(), assign),
            agent,
            own=assay_toml(),
            home=Path("profiles"),
            out=out,
            roles=roles.configs(),
            budget=spending.budget(),
            collector=collector,
            until_stable=until_stable,
            follow_plan=follow_plan,
            forecasts=True,
            concurrency=workers.concurrency,
            **plan.request(),
        )
        return write_job(sbatch) if sbatch else _announce(asked) if announce else _drive(asked, strict=strict)


def _announce(asked: ProfilePlan) -> int:
    made, file = announcement.announce(asked, console.print), asked.run.folder / announcement.FILE
    print(
        f"{made.digest}\n{file}\n"
        "Post this digest where others see its date, then give the same command without --announce.\n"
        "Whoever has the digest checks the certificate: assay verify CERTIFICATE --announcement DIGEST"
    )
    return 0


def _drive(asked: ProfilePlan, *, strict: bool) -> int:
    interruption = Interruption()
    if asked.forecast:
        console.print(sums(asked.forecast), "`assay plan` says it gate by gate.", markup=False, highlight=False)
    with Live() as live:
        work = make_profile(asked, interruption=interruption, watch=live.begin, tell=console.print)
        found = drive(work, interruption)
    if found is None:
        return 130
    made, results = found
    folder = asked.run.folder
    page = publish(folder, made, results=results, command=shlex.join(["assay", *sys.argv[1:]]))
    _show_all(folder, made, page)
    if any(summary.ran and summary.score is None for summary in made.models.values()):
        return 4
    return 3 if strict and any(gate.verdict == "fail" for gate in made.gates) else 0


def _show_all(folder: Path, made: Profile, page: Path) -> None:
    show(made, sample(made.benchmark.tasks, made.benchmark.all_tasks))
    if step := advice(folder, made):
        console.print(Text(step), "")
    print(f"{folder / 'profile.json'}\n{page}")


def report(folder: Annotated[Path, Parameter(name="profile")], *, strict: bool = False) -> int:
    """Compute a profile again from its folder, without any model, and write its report.

    Use it after marks or parity were added, or to read a profile that somebody else made.

    Parameters
    ----------
    folder
        A profile's directory.
    strict
        Exit 3 if a gate failed.
    """
    made, results = asyncio.run(compute_with_results(folder))
    page = publish(folder, made, results=results)
    _show_all(folder, made, page)
    return 3 if strict and any(gate.verdict == "fail" for gate in made.gates) else 0


def advice(folder: Path, made: Profile) -> str | None:
    """The command that the procedure goes on with; None where a gate fails, whose reason says what to do."""
    verdicts = {gate.name: gate.verdict for gate in applicable(made.gates, original=made.original)}
    if "fail" in verdicts.values():
        return None
    source = shlex.quote(source_of(folder, read_plan(folder)))
    if not made.review.models:
        return f"Next: assay profile {source} --suite SUITE, with models to measure"
    if verdicts["read"] != "pass":
        return f"Next: assay review {shlex.quote(str(folder))}"
    if verdicts.get("parity") == "not run":
        return f"Next: assay parity {source} --reference FILE"
    return f"Next: assay certify {shlex.quote(str(folder))}"


def show(made: Profile, note: str = "") -> None:
    """Print the scores, a note on their tasks, the gates, what was seen in failures, and what the gates come to."""
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
        word = gate.word if gate.name in needed else "does not apply"
        why = Text.assemble(gate.reason, *([("\n" + gate.unseen, "dim")] if gate.unseen else []))
        gates.add_row(gate.name, Text(word, style=STYLES[gate.verdict]), why)
    seen = [findings.machines(made, standing(made)), findings.suspects(made), findings.readers(made.review)]
    console.print(scores, *filter(None, [note]), "", gates, "")
    for line in filter(None, seen):
        console.print(Text(line), "")
    console.print(findings.verdict(made.gates, original=made.original).line, "")

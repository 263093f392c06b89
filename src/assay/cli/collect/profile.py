"""`assay profile`."""

import asyncio
import shlex
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
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
from assay.cli.output import plain_table, share
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
        work = plan_profile(
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
        return write_job(sbatch) if sbatch else _announce(work) if announce else _drive(work, strict=strict)


def _announce(plan: ProfilePlan) -> int:
    announcement_line, file = announcement.announce(plan, console.print), plan.run.folder / announcement.FILE
    print(
        f"{announcement_line.digest}\n{file}\n"
        "Post this digest where others see its date, then give the same command without --announce.\n"
        "Whoever has the digest checks the certificate: assay verify CERTIFICATE --announcement DIGEST"
    )
    return 0


def _drive(plan: ProfilePlan, *, strict: bool) -> int:
    interruption = Interruption()
    if plan.forecast:
        console.print(sums(plan.forecast), "`assay plan` says it gate by gate.", markup=False, highlight=False)
    with Live() as live:
        work = make_profile(plan, interruption=interruption, watch=live.begin, tell=console.print)
        outcome = drive(work, interruption)
    if outcome is None:
        return 130
    profile, results = outcome
    folder = plan.run.folder
    page = publish(folder, profile, results=results, command=shlex.join(["assay", *sys.argv[1:]]))
    _show_all(folder, profile, page)
    if any(summary.ran and summary.score is None for summary in profile.models.values()):
        return 4
    return 3 if strict and any(gate.verdict == "fail" for gate in profile.gates) else 0


def _show_all(folder: Path, profile: Profile, page: Path) -> None:
    show(profile, sample(profile.benchmark.tasks, profile.benchmark.all_tasks))
    if step := advice(folder, profile):
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
    profile, results = asyncio.run(compute_with_results(folder))
    page = publish(folder, profile, results=results)
    _show_all(folder, profile, page)
    return 3 if strict and any(gate.verdict == "fail" for gate in profile.gates) else 0


def advice(folder: Path, profile: Profile) -> str | None:
    """Returns the next command of the procedure; None if a gate fails, whose reason says what to do."""
    verdicts = {gate.name: gate.verdict for gate in applicable(profile.gates, original=profile.original)}
    if "fail" in verdicts.values():
        return None
    source = shlex.quote(source_of(folder, read_plan(folder)))
    if not profile.review.models:
        return f"Next: assay profile {source} --suite SUITE, with models to measure"
    if verdicts["read"] != "pass":
        return f"Next: assay review {shlex.quote(str(folder))}"
    if verdicts.get("parity") == "not run":
        return f"Next: assay parity {source} --reference FILE"
    return f"Next: assay certify {shlex.quote(str(folder))}"


def show(profile: Profile, note: str = "") -> None:
    """Print the scores, a note on their tasks, the gates, what was seen in failures, and what the gates come to."""
    has_cost = any(summary.cost_usd is not None for summary in profile.models.values())
    columns = ("score", "± run", "± task", "failed", *(["cost"] if has_cost else []))
    scores = plain_table("model", *columns, right=columns)
    for name, summary in profile.models.items():
        if not summary.ran:
            scores.add_row(Text(name), "not run")
        else:
            figures = (summary.score, summary.se_run, summary.se_task)
            cost = [dollars(summary.cost_usd)] if has_cost else []
            scores.add_row(Text(name), *map(share, figures), str(summary.failures), *cost)
    gates = plain_table("gate", "verdict", "why")
    names = {gate.name for gate in applicable(profile.gates, original=profile.original)}
    for gate in profile.gates:
        word = gate.word if gate.name in names else "does not apply"
        why = Text.assemble(gate.reason, *([("\n" + gate.unseen, "dim")] if gate.unseen else []))
        gates.add_row(gate.name, Text(word, style=STYLES[gate.verdict]), why)
    sentences = [
        findings.machines(profile, standing(profile)),
        findings.suspects(profile),
        findings.readers(profile.review),
    ]
    console.print(scores, *filter(None, [note]), "", gates, "")
    for line in filter(None, sentences):
        console.print(Text(line), "")
    console.print(findings.verdict(profile.gates, original=profile.original).line, "")

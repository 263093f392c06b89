"""`assay review`."""

import asyncio
import getpass
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from assay.cli.collect.profile import STYLES
from assay.cli.fidelity.keys import keys
from assay.cli.fidelity.walk import Screen, Walk, screens
from assay.config import assay_toml, load_model
from assay.errors import UnknownName, UsageError
from assay.fidelity.gates.failures import failures_gate
from assay.fidelity.profile import compute_with_results, contenders_of, read_plan
from assay.fidelity.results.contender import measured_models
from assay.fidelity.results.results import Results
from assay.fidelity.review.judge import (
    FAULTS,
    TRUSTED,
    TRUSTED_LOWER,
    JudgeAgreement,
    Proposals,
    judge_agreements,
    propose,
    unproposed,
)
from assay.fidelity.review.marks import bring, contents_of, keep, read_remarks
from assay.fidelity.review.review import SAMPLE, OpenRollout, draw, failing, is_settled, open_rollouts
from assay.fidelity.review.review import review as review_of
from assay.fidelity.schema.evidence import Explanation, Finding, Mark, Remark, ReviewState
from assay.fidelity.schema.profile import Gate
from assay.model import connect
from assay.model.wrappers.guard import Guarded
from assay.report.page import publish
from assay.report.words import legible, plural

CONCURRENCY = 8
"""Requests in flight to a judge."""


def review(
    folder: Annotated[Path, Parameter(name="profile")],
    *,
    sample: int = SAMPLE,
    model: str | None = None,
    by: str | None = None,
    marks: Path | None = None,
    judge: str | None = None,
    summary: bool = False,
) -> int:
    """Read failing rollouts one by one, and say with a key whose fault each is.

    First come the rollouts with findings of detectors, then a sample of each model's failures, the same each time. Each
    mark is saved at once in marks.jsonl, and the same command goes on with what is not marked yet. The key z takes your
    last mark back, also one of an earlier command. If the input is not a terminal, each line is a key with a note:
    "v the comma is missed". At the end the gates are computed again.

    Parameters
    ----------
    folder
        A profile's directory.
    sample
        Number of failing rollouts to read of each model. The gate needs 10.
    model
        Read this model's rollouts only.
    by
        Who marks. Default: git's user.name, else the login.
    marks
        Add the marks and explanations of this file (JSON lines as in marks.jsonl), and show nothing to read. A mark's
        `content` may be left out: then the mark is about the rollout that is here.
    judge
        A model that proposes a mark for each sampled failure. Its marks never count; its agreement with yours is shown.
    summary
        Only show how much is reviewed.
    """
    if sample < 1:
        raise UsageError(f"--sample {sample}: expected at least 1")
    table = _lay_out(folder, sample)
    if model is not None and model not in table.results:
        raise UnknownName("model with failures to read in this profile", model, table.results)
    console = Console(highlight=False)
    if summary:
        _show(console, table, read_remarks(folder))
        return 0
    before = read_remarks(folder)
    if marks is not None:
        _tell_added(bring(folder, marks, read_plan(folder).suite.models, table.shares), table)
    else:
        chosen = [name for name in table.results if model in (None, name)]
        if judge is not None:
            _ask(folder, judge, [one for name in chosen for one in table.sampled(name)])
        seen = [screen for name in chosen for screen in table.screens(name)]
        Walk(folder, seen, read_remarks(folder), by or _who(), keys(), console).go()
    said = read_remarks(folder)
    _show(console, table, said)
    if said != before:
        made, results = asyncio.run(compute_with_results(folder))
        publish(folder, made, results=results)
    return 0


@dataclass(frozen=True, slots=True)
class _Table:
    """What there is to read of a profile."""

    folder: Path
    results: Mapping[str, Results]
    findings: Mapping[str, Sequence[Finding]]
    sample: int

    @property
    def shares(self) -> dict[tuple[str, str], float]:
        """By model and detector, of the rollouts that were looked at, those that show what was found."""
        return {(one.model, one.detector): one.share for found in self.findings.values() for one in found}

    def run(self, name: str) -> Path:
        return self.folder / "runs" / name

    def sampled(self, name: str) -> list[OpenRollout]:
        keys = draw(failing(self.results[name]), self.sample)
        found = open_rollouts(self.run(name), name, self.results[name], keys)
        return [found[key] for key in keys]

    def screens(self, name: str) -> list[Screen]:
        return screens(self.run(name), name, self.results[name], self.findings[name], self.sample)

    def reviews(self, said: Sequence[Remark], sample: int) -> dict[str, ReviewState]:
        return {
            name: review_of(name, found, said, contents_of(self.run(name), name, said), sample)
            for name, found in self.results.items()
        }


def _lay_out(folder: Path, sample: int) -> _Table:
    plan = read_plan(folder)
    chosen = measured_models(plan.suite, contenders_of(folder, plan))
    results = {one.name: one.results for one in chosen}
    findings = {one.name: list(one.findings) for one in chosen}
    return _Table(folder, results, findings, sample)


def _who() -> str:
    try:
        asked = subprocess.run(
            ["git", "config", "user.name"], capture_output=True, text=True, errors="replace", timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return getpass.getuser()
    return asked.stdout.strip() or getpass.getuser()


def _tell_added(added: Sequence[Remark], table: _Table) -> None:
    marks = sum(isinstance(one, Mark) for one in added)
    print(f"added: {plural(marks, 'mark')}, {plural(len(added) - marks, 'explanation')}")
    for one in added:
        found = [finding.detector for finding in table.findings.get(one.model, ())]
        if isinstance(one, Explanation) and one.detector not in found:
            known = ", ".join(found) or "nothing"
            print(f"  no finding is named {legible(one.detector)}; of {legible(one.model)} there are: {legible(known)}")


def _ask(folder: Path, name: str, rollouts: Sequence[OpenRollout]) -> None:
    """Have a judge propose marks for what it has not seen yet, and tell what came of it."""
    by, server = load_model(name, own=assay_toml())
    if server.answers_tasks:
        raise UsageError(f"--judge {name}: it answers tasks alone; expected a model that reads")
    waiting = unproposed(rollouts, read_remarks(folder), by)
    if not waiting:
        return
    print(f"{by} reads {plural(len(waiting), 'rollout')} …", flush=True)

    async def ask() -> Proposals:
        model = Guarded(connect(server), server, concurrency=CONCURRENCY)
        try:
            return await propose(model, by, waiting, lambda mark: keep(folder, mark), concurrency=CONCURRENCY)
        finally:
            await model.aclose()

    try:
        found = asyncio.run(ask())
    except KeyboardInterrupt:
        print("stopped; what it said so far is kept")
        return
    print(f"{by}: {plural(found.made, 'mark')} proposed of {len(waiting)} asked for, {found.unreadable} can't be read")
    if found.failed:
        print(f"{plural(found.failed, 'call')} failed, the last: {legible(found.error)}")


def _show(console: Console, table: _Table, said: Sequence[Remark]) -> None:
    """How far it has come: each model, each judge, and what the gate says."""
    reviews = table.reviews(said, table.sample)
    models = Table(box=None, pad_edge=False)
    models.add_column("model", overflow="fold")
    for column in ("failing", "read", *FAULTS, "settled"):
        models.add_column(column.replace("infrastructure", "infra"), justify="right", no_wrap=True)
    for name, found in reviews.items():
        models.add_row(
            Text(name),
            f"{found.failing}/{found.made}",
            f"{found.marked}/{found.sample}",
            *(str(found.faults.get(fault, 0)) for fault in FAULTS),
            _settled(table.findings[name], found),
        )
    console.print(models)
    console.print(Text("settled: findings explained, or read and found to be the model's", style="dim"))
    for standing in judge_agreements(said):
        _show_standing(console, standing)
    gate = failures_gate(
        table.reviews(said, SAMPLE), [finding for found in table.findings.values() for finding in found]
    )
    _show_gate(console, gate)


def _settled(findings: Sequence[Finding], found: ReviewState) -> str:
    marks = {(mark.task, mark.repeat): mark for mark in found.marks}
    return f"{sum(is_settled(finding, marks, found.explained) for finding in findings)}/{len(findings)}"


def _show_gate(console: Console, gate: Gate) -> None:
    console.print(Text.assemble("\nfailures: ", (gate.verdict, STYLES[gate.verdict]), f". {legible(gate.reason)}"))


def _show_standing(console: Console, standing: JudgeAgreement) -> None:
    """A judge's agreement with persons: the table, kappa, and whether its marks are worth counting."""
    kappa, interval = standing.agreement.kappa, standing.agreement.interval
    table = Table(box=None, pad_edge=False, title=Text(f"\n{standing.by} against persons"), title_justify="left")
    table.add_column("a person's \\ its own")
    for fault in FAULTS:
        table.add_column(fault, justify="right")
    for fault, row in zip(FAULTS, standing.table_CC.tolist(), strict=True):
        table.add_row(fault, *map(str, row))
    console.print(table)
    if kappa is None or interval is None:
        console.print(
            "Both always say the same one thing, so that no kappa can be told: its marks are not to be counted."
        )
        return
    told = f"Cohen's kappa {kappa:.2f} (95 %: {interval[0]:.2f} to {interval[1]:.2f}) over {standing.agreement.count}: "
    if standing.trusted:
        verdict = f"at least {TRUSTED}. Its marks are worth a look; the gate counts a person's alone."
    elif kappa < TRUSTED:
        verdict = f"below {TRUSTED}. Its marks are not to be counted."
    else:
        verdict = f"too few to tell, for it may be below {TRUSTED_LOWER}. Its marks are not to be counted."
    console.print(told + verdict)

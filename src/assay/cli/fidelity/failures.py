"""`assay failures`."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from assay.cli.output import print_json
from assay.fidelity.failures import Failures
from assay.fidelity.failures import failures as look
from assay.fidelity.schema.evidence import Finding, Sighting, SuspectTask
from assay.input import is_present
from assay.report.words import NONE, count, legible, plural

SUSPECTS = 10
"""Suspect tasks that are shown."""
EVIDENCE = 160
"""Characters of evidence that are shown."""


def failures(folder: Path, /, *, model: str | None = None, json: bool = False) -> None:
    """Show what detectors find in rollouts, failing and passing, and which tasks are suspect.

    A detector looks for what is wrong other than a wrong answer. A finding is a reason to read, not a verdict. No model
    is asked, and nothing is written.

    Parameters
    ----------
    folder
        A profile's directory, or a run's.
    model
        Show this model's rollouts only. Suspect tasks are found from all models.
    json
        Print everything as JSON, with up to 200 rollouts per finding.
    """
    result = look(folder, model)
    if json:
        print_json(result)
        return
    console = Console(highlight=False)
    for name, rollouts in result.rollouts.items():
        _show_model(console, name, rollouts, [one for one in result.findings if one.model == name])
    _show_suspects(console, result)
    failure_findings = [one for one in result.findings if one.scope == "failure"]
    if failure_findings:
        console.print(_heading("Failures: they have no score"), _failure_table(failure_findings), "")
    _show_meanings(console, result.findings)
    _show_next(console, folder, result)


def _show_model(console: Console, name: str, rollouts: int, findings: Sequence[Finding]) -> None:
    own = [one for one in findings if one.scope != "failure"]
    count_in_words = f": {plural(rollouts, 'rollout')}" + ("" if own else ", nothing found")
    console.print(_heading(name).append(count_in_words, style="not bold"))
    if own:
        table = _table("finding", "suspect", "of all", "example")
        for one in own:
            table.add_row(one.detector, one.suspect, f"{count(one.count)}/{count(one.of)}", _example(one.spotted))
        console.print(table)
    console.print()


def _example(sightings: Sequence[Sighting]) -> Text:
    if not sightings:
        return Text(NONE)
    first = sightings[0]
    evidence = _plain(first.evidence)
    short = evidence if len(evidence) <= EVIDENCE else f"{evidence[:EVIDENCE]}…"
    return Text.assemble((f"{_plain(first.rollout.task)}, repeat {first.rollout.repeat}", "bold"), f": {short}")


def _show_suspects(console: Console, result: Failures) -> None:
    tasks = result.suspects
    if not tasks:
        note = "none" if result.models > 1 else "two models are needed to tell"
        console.print(_heading("Suspect tasks").append(f": {note}", style="not bold"), "")
        return
    more = f", the first {SUSPECTS} of {len(tasks):,}" if len(tasks) > SUSPECTS else ""
    console.print(_heading(f"Suspect tasks{more}"))
    table = _table("task", "suspicion", "why")
    for one in tasks[:SUSPECTS]:
        table.add_row(_plain(one.task), f"{one.suspicion:.2f}", _why(one))
    console.print(table, "")


def _why(one: SuspectTask) -> Text:
    return Text.assemble((", ".join(one.signs), "bold"), f": {_plain(one.reason)}" if one.reason else "")


def _failure_table(findings: Sequence[Finding]) -> Table:
    table = _table("where/kind", "model", "of all", "example")
    for one in findings:
        kind = one.detector.removeprefix("failed: ")
        table.add_row(_plain(kind), _plain(one.model), f"{count(one.count)}/{count(one.of)}", _example(one.spotted))
    return table


def _show_meanings(console: Console, findings: Iterable[Finding]) -> None:
    """What each finding may mean and what to do, once."""
    meanings = {one.detector: one.meaning for one in findings}
    if not meanings:
        return
    console.print(_heading("What it may mean"))
    for name, meaning in meanings.items():
        console.print(Padding(Text.assemble((_plain(name), "bold"), f": {meaning}"), (0, 0, 0, 2)))
    console.print()


def _show_next(console: Console, folder: Path, result: Failures) -> None:
    if not result.findings:
        console.print(Text(f"Nothing was found in rollouts. Looked for: {', '.join(result.looked_for)}."), "")
    if is_present(folder / "run.json"):
        console.print(Text("All rollouts that a finding names, up to 200: --json."))
    else:
        console.print(Text(f"Read them: assay review {folder}    All rollouts of a finding, up to 200: --json."))


def _heading(text: str) -> Text:
    return Text(_plain(text), style="bold")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in columns:
        right = name in ("of all", "suspicion")
        table.add_column(name, justify="right" if right else "left", overflow="fold", no_wrap=right)
    return table


def _plain(text: str) -> str:
    """Returns the text in one line, without what a terminal would obey."""
    return " ".join(legible(text).split())

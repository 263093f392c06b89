"""`assay compare`."""

import shlex
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from assay.cli.collect.profile import STYLES as VERDICTS
from assay.errors import UsageError
from assay.fidelity.compare.compare import compare as make_comparison
from assay.fidelity.compare.compare import side_by_side
from assay.fidelity.compare.comparison import BEYOND, Pair
from assay.fidelity.compare.policy import DEFAULT, load
from assay.report import comparison as report
from assay.report.words import clip, legible
from assay.store import write_json

TASKS = 10
"""Tasks that moved in the terminal's table."""
EXIT = {"fail": 3, "inconclusive": 5}
STYLES = VERDICTS | {"warn": "yellow"}
LEFT = ("metric", "task", "policy", "verdict", "why")
console = Console(highlight=False)


def compare(
    baseline: Path,
    *candidates: Path,
    policy: str | None = None,
    across: bool = False,
    json: Path | None = None,
    markdown: Path | None = None,
    html: Path | None = None,
) -> int:
    """Compare runs with a baseline, paired by task, and judge them by a release's policy.

    Shows score, categories, cost, tokens and failures, each with 95 % intervals, and the tasks whose score changed.

    Exits 0 without a policy and if it says pass or warn, 3 if it says fail, 5 if it is inconclusive, and 2 if the runs
    have other tasks, another verifier, other sampling or other limits.

    Parameters
    ----------
    baseline
        A run directory, or a profile's: then models of the same name are compared.
    candidates
        One or more run directories, or profiles'. With several, p values are corrected over all of them (Holm).
    policy
        A TOML file that says what passes, warns and fails. `default` is the policy that is printed if none is given.
    across
        Compare the tasks that both runs have, even if their other tasks differ, and say what is left out.
    json
        Write everything as JSON to this file.
    markdown
        Write tables for a pull request to this file.
    html
        Write a page to this file: charts, the tasks whose score changed, and the outputs of both runs.
    """
    files = [path for path in (json, markdown, html) if path]
    for path in files:
        if not path.parent.is_dir():
            raise UsageError(f"{path}: there is no folder {path.parent} to write it to")
    asked = None if policy is None else load(policy)
    made = make_comparison(baseline, candidates, asked, across=across)
    for pair in made.pairs:
        _show(pair)
    for note in made.notes:
        console.print(Text(legible(note)))
    if json:
        write_json(json, made)
    if markdown:
        markdown.write_text(report.markdown(made), encoding="utf-8")
    if html:
        report.write(html, made, side_by_side(made), command=shlex.join(["assay", *sys.argv[1:]]))
    style = STYLES[made.verdict] if made.verdict else "bold"
    told = f"{made.verdict}: " if made.verdict else ""
    console.print(Text(legible(told + report.headline(made)), style=style))
    if asked is None:
        console.print("\nNo policy was given, so nothing is judged. --policy default judges by this one:\n")
        console.print(Text(DEFAULT, style="dim"), end="")
    for path in files:
        console.print(Text(str(path)))
    return EXIT.get(made.verdict or "", 0)


def _show(pair: Pair) -> None:
    title = f"{pair.candidate.name} against {pair.baseline.name}: {pair.tasks:,} tasks"
    console.print(Text(legible(title), style="bold"))
    for line in pair.settings + report.notes(pair):
        console.print(Text(legible(line)))
    console.print(_metrics(pair), "")
    if pair.moved:
        console.print(_moved(pair))
    console.print(Text(legible(report.moves(pair))), "")
    if pair.judgements:
        console.print(_judgements(pair), "")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column in LEFT else "right", overflow="fold")
    return table


def _metrics(pair: Pair) -> Table:
    table = _table("metric", "baseline", "candidate", "shift", "other tasks", "re-run", "p")
    for change in [*pair.changes, *pair.categories]:
        if change.shift is not None:
            runs = change.over_reruns
            half = report.shift(change.metric, (runs.upper - runs.lower) / 2).lstrip("+") if runs else "–"
            table.add_row(
                Text(legible(report.metric_name(change.metric))),
                report.figure(change.metric, change.baseline),
                report.figure(change.metric, change.candidate),
                report.shift(change.metric, change.shift),
                report.interval(change.metric, change.over_tasks),
                f"± {half}",
                report.p_value(change.over_tasks.p if change.over_tasks else None),
            )
    return table


def _moved(pair: Pair) -> Table:
    table = _table("task", "baseline", "candidate", "p")
    for task in pair.moved[:TASKS]:
        means = f"{task.baseline:.3g}", f"{task.candidate:.3g}"
        name, style = Text(legible(clip(task.task, 60))), "" if task.p <= BEYOND else "dim"
        table.add_row(name, *means, report.p_value(task.p), style=style)
    return table


def _judgements(pair: Pair) -> Table:
    table = _table("policy", "verdict", "why")
    for one in pair.judgements:
        name = Text(legible(report.metric_name(one.metric)))
        table.add_row(name, Text(one.verdict, style=STYLES[one.verdict]), Text(one.reason))
    return table

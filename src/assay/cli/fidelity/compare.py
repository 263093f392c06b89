"""`assay compare`."""

import shlex
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from assay.cli.collect.profile import STYLES as VERDICTS
from assay.cli.output import plain_table
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
FIGURES = ("baseline", "candidate", "shift", "other tasks", "re-run", "p")
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
    release_policy = None if policy is None else load(policy)
    comparison = make_comparison(baseline, candidates, release_policy, across=across)
    for pair in comparison.pairs:
        _show(pair)
    for note in comparison.notes:
        console.print(Text(legible(note)))
    if json:
        write_json(json, comparison)
    if markdown:
        markdown.write_text(report.markdown(comparison), encoding="utf-8")
    if html:
        report.write(html, comparison, side_by_side(comparison), command=shlex.join(["assay", *sys.argv[1:]]))
    style = STYLES[comparison.verdict] if comparison.verdict else "bold"
    verdict = f"{comparison.verdict}: " if comparison.verdict else ""
    console.print(Text(legible(verdict + report.headline(comparison)), style=style))
    if release_policy is None:
        console.print("\nNo policy was given, so nothing is judged. --policy default judges by this one:\n")
        console.print(Text(DEFAULT, style="dim"), end="")
    for path in files:
        console.print(Text(str(path)))
    return EXIT.get(comparison.verdict or "", 0)


def _show(pair: Pair) -> None:
    title = f"{pair.candidate.name} against {pair.baseline.name}: {pair.tasks:,} tasks"
    console.print(Text(legible(title), style="bold"))
    for line in pair.settings + report.notes(pair):
        console.print(Text(legible(line)))
    console.print(_metrics(pair), "")
    if pair.moved:
        console.print(_tasks(pair))
    console.print(Text(legible(report.moves(pair))), "")
    if pair.judgements:
        console.print(_judgements(pair), "")


def _metrics(pair: Pair) -> Table:
    metrics = plain_table("metric", "baseline", "candidate", "shift", "other tasks", "re-run", "p", right=FIGURES)
    for change in [*pair.changes, *pair.categories]:
        if change.shift is not None:
            runs = change.over_reruns
            half = report.shift(change.metric, (runs.upper - runs.lower) / 2).lstrip("+") if runs else "–"
            metrics.add_row(
                Text(legible(report.metric_name(change.metric))),
                report.figure(change.metric, change.baseline),
                report.figure(change.metric, change.candidate),
                report.shift(change.metric, change.shift),
                report.interval(change.metric, change.over_tasks),
                f"± {half}",
                report.p_value(change.over_tasks.p if change.over_tasks else None),
            )
    return metrics


def _tasks(pair: Pair) -> Table:
    tasks = plain_table("task", "baseline", "candidate", "p", right=FIGURES)
    for task in pair.moved[:TASKS]:
        means = f"{task.baseline:.3g}", f"{task.candidate:.3g}"
        name, style = Text(legible(clip(task.task, 60))), "" if task.p <= BEYOND else "dim"
        tasks.add_row(name, *means, report.p_value(task.p), style=style)
    return tasks


def _judgements(pair: Pair) -> Table:
    judgements = plain_table("policy", "verdict", "why")
    for one in pair.judgements:
        name = Text(legible(report.metric_name(one.metric)))
        judgements.add_row(name, Text(one.verdict, style=STYLES[one.verdict]), Text(one.reason))
    return judgements

"""`summary.json`: the results of one run, derived from its other three files alone."""

from pathlib import Path

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from assay.fidelity.results.results import Results, read
from assay.fidelity.results.score import answers_of
from assay.fidelity.schema.profile import GroupScore, Summary
from assay.score import Mean
from assay.stats.atk import maj_at_k, pass_at_k
from assay.stats.estimates import estimate, with_drift
from assay.store import write_json

FEWEST = 10
"""Tasks from which intervals are given. Simulated with rates drawn from Beta(1, 1) and one repeat, 95 % intervals over
tasks held the true score in 88 % of samples at 4 tasks, in 93 % at 8, and in 94 % or more from 10 on."""


def write(folder: Path) -> Summary:
    """Writes `summary.json` into a run directory. Returns the summary."""
    summary = summarise(read(folder))
    write_json(folder / "summary.json", summary)
    return summary


def summarise(results: Results) -> Summary:
    """Returns the figures of one run. A figure that can't be computed is null."""
    counts = Summary(
        repeats=results.repeats,
        rollouts=len(results.scored),
        owed=results.owed,
        failures=len(results.failed),
        tokens=results.tokens,
        cost_usd=results.cost_usd,
        wall_s=round(results.wall_s, 3),
    )
    if not results.scored:
        return counts
    counts = structs.replace(
        counts,
        score_is=str(results.score),
        lacking=_lacking(results),
        pass_at_k=_pass_at(results.rewards_TK),
        maj_at_k=_maj_at(results) if results.reports_answers else {},
        no_answer=sum(cell.answer is None for cell in results.scored) / len(results.scored)
        if results.reports_answers
        else None,
        undecided=sum(cell.undecided for cell in results.scored) / len(results.scored),
        token_cap=sum(cell.stop == "token_cap" for cell in results.scored) / len(results.scored),
    )
    if results.sample is None:
        return counts
    found = estimate(results.sample)
    se_run, interval_run = found.se_run, found.interval_run
    repeats = results.independence
    if repeats.effect and repeats.drifts and repeats.effect.se > se_run:
        se_run = repeats.effect.se
        interval_run = with_drift(results.sample, se_run)
    zeros = results.with_zeros.sample
    return structs.replace(
        counts,
        score=found.score,
        se_run=se_run,
        se_task=found.se_task,
        interval_run=interval_run if found.tasks >= FEWEST else None,
        interval_task=found.interval_task if found.tasks >= FEWEST else None,
        dependence=repeats.reason if repeats.verdict == "dependent" else None,
        score_failures_zero=zeros.score if zeros else None,
        grouped_by=list(results.grouped_by),
        groups=groups_of(results),
    )


def groups_of(results: Results) -> dict[str, GroupScore]:
    """Returns the score of each group of tasks, outer groups before the ones within, in the order of the tasks."""
    if results.sample is None:
        return {}
    names = [[task.tags.get(tag, "") for tag in results.grouped_by] for task in results.tasks]
    inner: dict[str, set[tuple[str, ...]]] = {}
    rows: dict[tuple[str, ...], list[int]] = {}
    for row, path in enumerate(names):
        for depth in range(1, len(path) + 1):
            if path[depth - 1]:
                rows.setdefault(tuple(path[:depth]), []).append(row)
        if path:
            inner.setdefault(path[0], set()).add(tuple(path))
    # A group that is all of its outer group says the same twice.
    shown = [path for path in rows if len(path) == 1 or len(inner[path[0]]) > 1]
    found: dict[str, GroupScore] = {}
    for path in sorted(shown, key=len):
        inside = np.zeros(len(results.tasks), bool)
        inside[rows[path]] = True
        kept = inside[results.sample.scored_N]
        if kept.any():
            got = estimate(results.sample.at(kept))
            found[" / ".join(path)] = GroupScore(got.score, got.tasks, got.interval_task)
    return found


def _lacking(results: Results) -> int:
    counts_T = (~np.isnan(results.rewards_TK)).sum(axis=1)
    return int(((counts_T > 0) & (counts_T < results.score.attempts)).sum())


def text(summary: Summary) -> str:
    """Returns the summary as one line for a terminal, with a second line where the repeats are not independent."""
    if summary.score is None and summary.lacking:
        return f"no score: no task has as many scored repeats as the {summary.score_is} takes"
    if summary.score is None:
        return f"no rollout was scored; {summary.failures} failed"
    parts = [f"score {summary.score:.1%}" + ("" if summary.score_is == str(Mean()) else f" ({summary.score_is})")]
    if summary.interval_run is not None:
        parts.append("95 %: {:.1%} to {:.1%} on these tasks again".format(*summary.interval_run))
    if summary.interval_task is not None:
        parts.append("{:.1%} to {:.1%} on others like them".format(*summary.interval_task))
    tasks = (summary.rollouts + summary.failures + summary.owed) // max(1, summary.repeats)
    if tasks < FEWEST:
        parts.append(f"too few tasks for an interval ({tasks})")
    parts.append(f"avg@{summary.repeats} of {summary.rollouts} rollouts")
    if summary.cost_usd is not None:
        parts.append(f"${summary.cost_usd:,.2f}")
    if summary.undecided:
        parts.append(f"{summary.undecided:.1%} undecided by the verifier")
    if summary.lacking:
        parts.append(f"{summary.lacking} tasks have too few repeats for it")
    if summary.owed:
        parts.append(f"{summary.owed} still owed")
    if summary.failures:
        parts.append(f"{summary.failures} failed (score {summary.score_failures_zero:.1%} if those were zeros)")
    return " · ".join(parts) + (f"\nwarning: {summary.dependence}" if summary.dependence else "")


def _pass_at(rewards_TK: NDArray[np.float64]) -> dict[str, float]:
    """pass@k over the tasks that have k scores, an attempt being right at full marks."""
    right_T = (rewards_TK >= 1).sum(axis=1)
    n_T = (~np.isnan(rewards_TK)).sum(axis=1)
    return {str(k): float(pass_at_k(right_T[n_T >= k], n_T[n_T >= k], k).mean()) for k in _shown_ks(n_T)}


def _maj_at(results: Results) -> dict[str, float]:
    answers, rewards = answers_of(len(results.tasks), results.scored)
    n_T = np.array([len(row) for row in answers])
    return {str(k): value for k, value in maj_at_k(answers, rewards, _shown_ks(n_T)).items()}


def _shown_ks(n_T: NDArray[np.int64]) -> list[int]:
    """k = 1, 2, 4 ... and the most that more than half of the tasks have."""
    most = int(np.sort(n_T)[(len(n_T) - 1) // 2])
    return [k for k in sorted({2**i for i in range(most.bit_length())} | {most} - {0}) if k <= most]

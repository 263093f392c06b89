"""`summary.json`: the results of one run, derived from its other three files alone."""

from pathlib import Path

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from assay.fidelity.results.results import Results, read
from assay.fidelity.schema.profile import Summary
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
    found = estimate(results.rewards_TK)
    scored = results.scored
    se_run, interval_run = found.se_run, found.interval_run
    repeats = results.independence
    if repeats.effect and repeats.drifts and se_run is not None and repeats.effect.se > se_run:
        se_run = repeats.effect.se
        interval_run = with_drift(found, se_run, results.rewards_TK)
    return structs.replace(
        counts,
        score=found.score,
        se_run=se_run,
        se_task=found.se_task,
        interval_run=interval_run if found.tasks >= FEWEST else None,
        interval_task=found.interval_task if found.tasks >= FEWEST else None,
        dependence=repeats.reason if repeats.verdict == "dependent" else None,
        pass_at_k=_pass_at(results.rewards_TK),
        maj_at_k=_maj_at(results) if results.reports_answers else {},
        score_failures_zero=float(np.nanmean(_means(results.with_zeros_TK))),
        no_answer=sum(cell.answer is None for cell in scored) / len(scored) if results.reports_answers else None,
        undecided=sum(cell.undecided for cell in scored) / len(scored),
        token_cap=sum(cell.stop == "token_cap" for cell in scored) / len(scored),
        by_category=by_category(results),
    )


def by_category(results: Results) -> dict[str, float]:
    """Returns the mean over each category's tasks of their mean reward, categories in the order of the tasks."""
    means_T = _means(results.rewards_TK)
    categories = results.categories()
    found: dict[str, float] = {}
    for category in dict.fromkeys(categories):
        inside = means_T[[name == category for name in categories]]
        if category and not np.isnan(inside).all():
            found[category] = float(np.nanmean(inside))
    return found


def text(summary: Summary) -> str:
    """Returns the summary as one line for a terminal, with a second line where the repeats are not independent."""
    if summary.score is None:
        return f"no rollout was scored; {summary.failures} failed"
    parts = [f"score {summary.score:.1%}"]
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
    if summary.owed:
        parts.append(f"{summary.owed} still owed")
    if summary.failures:
        parts.append(f"{summary.failures} failed (score {summary.score_failures_zero:.1%} if those were zeros)")
    return " · ".join(parts) + (f"\nwarning: {summary.dependence}" if summary.dependence else "")


def _means(rewards_TK: NDArray[np.float64]) -> NDArray[np.float64]:
    seen_T = (~np.isnan(rewards_TK)).sum(axis=1)
    return np.where(seen_T > 0, np.nansum(rewards_TK, axis=1) / np.maximum(seen_T, 1), np.nan)


def _pass_at(rewards_TK: NDArray[np.float64]) -> dict[str, float]:
    """pass@k over the tasks that have k scores, an attempt being right at full marks."""
    right_T = (rewards_TK >= 1).sum(axis=1)
    n_T = (~np.isnan(rewards_TK)).sum(axis=1)
    return {str(k): float(pass_at_k(right_T[n_T >= k], n_T[n_T >= k], k).mean()) for k in _shown_ks(n_T)}


def _maj_at(results: Results) -> dict[str, float]:
    answers: list[list[str | None]] = [[] for _ in results.tasks]
    rewards: list[list[float]] = [[] for _ in results.tasks]
    for cell in results.scored:
        answers[cell.task].append(cell.answer)
        rewards[cell.task].append(cell.reward or 0.0)
    n_T = np.array([len(row) for row in answers])
    return {str(k): value for k, value in maj_at_k(answers, rewards, _shown_ks(n_T)).items()}


def _shown_ks(n_T: NDArray[np.int64]) -> list[int]:
    """k = 1, 2, 4 ... and the most that more than half of the tasks have."""
    most = int(np.sort(n_T)[(len(n_T) - 1) // 2])
    return [k for k in sorted({2**i for i in range(most.bit_length())} | {most} - {0}) if k <= most]

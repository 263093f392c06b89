"""The declared score of a run: tasks and their tags made into the arrays that statistics start from."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from assay.fidelity.results.columns import Cell
from assay.score import Maj, PassAt, PassHat, ScoreRule, check_score, weight_of
from assay.stats.sample import Layout, Sample, sample, sample_of_attempts, sample_of_majorities
from assay.types import Task


def layout_of(score: ScoreRule, tasks: Sequence[Task]) -> Layout:
    """Returns how the tasks make up the score. Raises UsageError where a task lacks a tag, or a weight is no number."""
    check_score(score, tasks)
    return Layout.of(
        len(tasks),
        by=[[task.tags[tag] for task in tasks] for tag in score.by],
        sizes=None if score.weight is None else [weight_of(task, score.weight) for task in tasks],
        clusters=None if score.clusters is None else [task.tags[score.clusters] for task in tasks],
        fixed=score.groups == "fixed",
    )


def sample_of(
    score: ScoreRule, layout: Layout, rewards_TK: NDArray[np.float64], cells: Sequence[Cell] = ()
) -> Sample | None:
    """Returns the sample of a run; None where no task has enough scored repeats. `cells` have the answers of maj@k."""
    if not rewards_TK.size or ((~np.isnan(rewards_TK)).sum(axis=1) < score.attempts).all():
        return None
    if isinstance(score, Maj) and not cells:
        return None  # answers are not known
    low, high = score.range
    if isinstance(score, PassAt | PassHat):
        return sample_of_attempts(rewards_TK, score.k, all_of=isinstance(score, PassHat), layout=layout)
    if isinstance(score, Maj):
        answers, rewards = answers_of(len(rewards_TK), cells)
        return sample_of_majorities(answers, rewards, score.k, layout=layout, low=low, high=high)
    return sample(rewards_TK, layout, low=low, high=high)


def answers_of(tasks: int, cells: Sequence[Cell]) -> tuple[list[list[str | None]], list[list[float]]]:
    """Returns the answers of each task's scored rollouts, and their rewards."""
    answers: list[list[str | None]] = [[] for _ in range(tasks)]
    rewards: list[list[float]] = [[] for _ in range(tasks)]
    for cell in cells:
        if cell.reward is not None:
            answers[cell.task].append(cell.answer)
            rewards[cell.task].append(cell.reward)
    return answers, rewards

"""A run's rollouts as arrays: what every statistic and gate is computed from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assay.fidelity.record import TaskRow
from assay.store import read_rollouts, read_tasks
from assay.types import Failure, Rollout, Score, Task


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is kept of one rollout once its text has been read: where it stands in the arrays, and its figures."""

    task: int
    repeat: int
    reward: float | None
    """None where the rollout failed."""
    answer: str | None
    stop: str
    output_tokens: int
    failure: str | None


@dataclass(frozen=True, slots=True)
class Results:
    """One run: T tasks in their order, K repeats."""

    tasks: list[Task]
    rewards_TK: NDArray[np.float64]
    """NaN where a rollout failed or was not made."""
    outcomes: list[Outcome]
    """One for each (task, repeat) that was tried: its score, or where it has none its last failure."""
    tokens: dict[str, int]
    wall_s: float

    @property
    def repeats(self) -> int:
        return self.rewards_TK.shape[1]

    @property
    def scored(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.reward is not None]

    @property
    def failed(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.reward is None]

    def categories(self) -> list[str]:
        """The `category` of each task, empty where it has none."""
        return [task.tags.get("category", "") for task in self.tasks]

    def table(self) -> list[TaskRow]:
        """A row a task, with its rewards and output tokens by repeat."""
        rewards: list[list[float | None]] = [[None] * self.repeats for _ in self.tasks]
        tokens: list[list[int | None]] = [[None] * self.repeats for _ in self.tasks]
        for outcome in self.scored:
            rewards[outcome.task][outcome.repeat] = outcome.reward
            tokens[outcome.task][outcome.repeat] = outcome.output_tokens
        return [
            TaskRow(task=task.id, category=category, rewards=rewards[i], output_tokens=tokens[i])
            for i, (task, category) in enumerate(zip(self.tasks, self.categories(), strict=True))
        ]


def read(folder: Path) -> Results:
    """The results of a run directory. Raises InputError where a file is damaged."""
    tasks = read_tasks(folder)
    index = {task.id: number for number, task in enumerate(tasks)}
    found: dict[tuple[str, int], Outcome] = {}
    tokens = {"input": 0, "output": 0, "reasoning": 0}
    wall_s = 0.0
    for rollout in read_rollouts(folder):
        wall_s += rollout.wall_s
        for turn in rollout.turns:
            tokens["input"] += turn.response.usage.input_tokens
            tokens["output"] += turn.response.usage.output_tokens
            tokens["reasoning"] += turn.response.usage.reasoning_tokens
        earlier = found.get(rollout.key)
        if earlier is None or earlier.reward is None:
            found[rollout.key] = _outcome(rollout, index[rollout.task])
    repeats = 1 + max((repeat for _, repeat in found), default=-1)
    rewards_TK = np.full((len(tasks), repeats), np.nan)
    for outcome in found.values():
        if outcome.reward is not None:
            rewards_TK[outcome.task, outcome.repeat] = outcome.reward
    return Results(tasks, rewards_TK, list(found.values()), tokens, wall_s)


def _outcome(rollout: Rollout, task: int) -> Outcome:
    score = rollout.outcome if isinstance(rollout.outcome, Score) else None
    failure = rollout.outcome if isinstance(rollout.outcome, Failure) else None
    return Outcome(
        task=task,
        repeat=rollout.repeat,
        reward=score.reward if score else None,
        answer=score.answer if score else None,
        stop=rollout.stop,
        output_tokens=sum(turn.response.usage.output_tokens for turn in rollout.turns),
        failure=f"{failure.where}: {failure.kind}: {failure.message}" if failure else None,
    )

"""The score that a benchmark declares: how a run's rewards become one number.

The default is `Mean()`: every task weighs the same.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from msgspec import Struct, structs

from assay.errors import UsageError
from assay.types import Task


class Mean(Struct, frozen=True, kw_only=True, tag_field="of", tag="mean"):
    """A mean over tasks of a task's mean reward, by groups where `by` names tags.

    Raises ValueError where `by` names a tag twice or the range is empty.
    """

    by: tuple[str, ...] = ()
    """Tags that group the tasks, from the outermost group to the innermost: the score is the mean over groups of the
    mean over their groups, down to the mean over tasks. One tag may be given as a text."""
    weight: str | None = None
    """The tag that holds a task's weight within its group, a number above 0; None if all weigh the same."""
    groups: Literal["fixed", "sample"] = "fixed"
    """`fixed` if another set of tasks would have the same groups, `sample` if the outermost groups are a sample too."""
    clusters: str | None = None
    """The tag whose value dependent tasks share, such as the passage that several questions are about."""
    range: tuple[float, float] = (0.0, 1.0)
    """The lowest and the highest reward that the verifier can give."""

    def __post_init__(self) -> None:
        by: Any = self.by
        if isinstance(by, str):
            structs.force_setattr(self, "by", (by,))
        if len(set(self.by)) < len(self.by):
            raise ValueError(f"by = {self.by}: a tag occurs twice; expected each once")
        if not self.range[0] < self.range[1]:
            raise ValueError(f"range = {self.range}: expected the lowest reward, then the highest")

    @property
    def attempts(self) -> int:
        """The number of scored repeats that a task needs to have a value."""
        return 1

    @property
    def tags(self) -> list[str]:
        """The tags that each task has to have."""
        return [*self.by, *(tag for tag in (self.weight, self.clusters) if tag is not None)]

    @property
    def kind(self) -> str:
        return "mean reward"

    def __str__(self) -> str:
        """Returns the score in words, such as "mean over task of the mean over subset of the mean reward"."""
        over = "".join(f"mean over {tag} of the " for tag in self.by)
        weight = f", weighted by {self.weight}" if self.weight else ""
        return f"{over}{self.kind}{weight}"


class _Attempts(Mean, frozen=True):
    """A score of k attempts at a task. Raises ValueError where k is below 1."""

    k: int
    sign: ClassVar[str]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k < 1:
            raise ValueError(f"{self.sign}{self.k}: expected at least one attempt")

    @property
    def attempts(self) -> int:
        return self.k

    @property
    def kind(self) -> str:
        return f"{self.sign}{self.k}"


class PassAt(_Attempts, frozen=True, tag="pass@k"):
    """pass@k: the chance that at least one of k attempts at a task has full marks."""

    sign = "pass@"


class PassHat(_Attempts, frozen=True, tag="pass^k"):
    """pass^k: the chance that all of k attempts at a task have full marks, as in tau-bench (Yao et al. 2024)."""

    sign = "pass^"


class Maj(_Attempts, frozen=True, tag="maj@k"):
    """maj@k: the reward of the most frequent answer in k attempts at a task."""

    sign = "maj@"


ScoreRule = Mean | PassAt | PassHat | Maj


def check_score(score: ScoreRule, tasks: Sequence[Task]) -> None:
    """Raises UsageError if a task lacks a tag that the score needs, or has a weight that is no number above 0."""
    for task in tasks:
        for tag in score.tags:
            if tag not in task.tags:
                raise UsageError(
                    f"the score is the {score}, and task {task.id} has no tag '{tag}'; its tags: "
                    f"{', '.join(task.tags) or 'none'}.\n  Give each task this tag, or declare another score."
                )
        if score.weight is not None and not weight_of(task, score.weight) > 0:
            given = task.tags[score.weight]
            raise UsageError(f"task {task.id} weighs '{given}' by its tag '{score.weight}'; expected a number above 0")


def weight_of(task: Task, tag: str) -> float:
    """Returns a task's weight; NaN if its tag is no finite number."""
    try:
        weight = float(task.tags[tag])
    except ValueError:
        return math.nan
    return weight if math.isfinite(weight) else math.nan


class Selection(Struct, frozen=True, kw_only=True):
    """The tasks of a run: all, or some."""

    only: dict[str, str] = {}
    """Tags and the value that a task must have for each."""
    limit: int | None = None
    """The number of tasks: a prefix of a random order that depends on the seed. The first 120 contain the first 60."""
    seed: int = 0
    ids: tuple[str, ...] = ()
    """The ids of the tasks; if empty, all tasks."""

    @property
    def partial(self) -> bool:
        """Whether it may leave tasks out."""
        return bool(self.only or self.ids) or self.limit is not None

    def __str__(self) -> str:
        limited = "" if self.limit is None else f"{self.limit:,} drawn by seed {self.seed}"
        named = f"{len(self.ids):,} by their ids" if self.ids else ""
        return ", ".join(text for text in (_pairs(self.only), named, limited) if text) or "all"

    def of(self, tasks: Sequence[Task], score: ScoreRule) -> list[Task]:
        """Returns the selected tasks, in the order of the benchmark. Raises UsageError if there are none.

        Any prefix has the groups in nearly the shares that they have in the score: for a plain mean in proportion to
        their tasks, for a mean over groups in equal numbers.
        """
        kept = [task for task in tasks if all(task.tags.get(tag) == value for tag, value in self.only.items())]
        if not kept:
            raise UsageError(f"no task has {_pairs(self.only)}; {_values(tasks, self.only)}")
        if self.ids:
            ids = set(self.ids)
            kept = [task for task in kept if task.id in ids]
        if self.limit is None:
            return kept
        if self.limit < 1:
            raise UsageError(f"nothing to do: --limit {self.limit}; expected at least 1")
        drawn = {task.id for task in _in_turn(kept, score, self.seed)[: self.limit]}
        return [task for task in kept if task.id in drawn]


EVERY = Selection()


def _in_turn(tasks: Sequence[Task], score: ScoreRule, seed: int) -> list[Task]:
    """Returns the tasks in a random order in which groups take turns, in proportion to their shares."""
    by = score.by or ("category",)
    paths = [tuple(task.tags.get(tag, "") for tag in by) for task in tasks]
    shares = _shares(paths) if score.by else {path: count / len(tasks) for path, count in Counter(paths).items()}
    keys = [hashlib.blake2b(f"{seed}/{task.id}".encode(), digest_size=8).digest() for task in tasks]
    turns = dict.fromkeys(shares, 0)
    placed: list[tuple[float, bytes, Task]] = []
    for key, path, task in sorted(zip(keys, paths, tasks, strict=True), key=lambda one: one[0]):
        turns[path] += 1
        placed.append(((turns[path] - 0.5) / shares[path], key, task))
    return [task for _, _, task in sorted(placed, key=lambda one: one[:2])]


def _shares(paths: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], float]:
    """Returns the share of each innermost group in a mean over groups."""
    groups = {path[:depth] for path in paths for depth in range(len(path) + 1)}
    inner = Counter(path[:-1] for path in groups if path)
    return {path: 1 / math.prod(inner[path[:depth]] for depth in range(len(path))) for path in set(paths)}


def _pairs(only: dict[str, str]) -> str:
    return " and ".join(f"{tag}={value}" for tag, value in only.items())


def _values(tasks: Sequence[Task], only: dict[str, str]) -> str:
    found = {tag: sorted({task.tags[tag] for task in tasks if tag in task.tags}) for tag in only}
    lines = [
        f"{tag} is {', '.join(values[:12])}" if values else f"no task has a tag '{tag}'"
        for tag, values in found.items()
    ]
    return "; ".join(lines)

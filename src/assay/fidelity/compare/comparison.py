"""The structs of `assay compare --json`."""

from msgspec import Struct

from assay.fidelity.compare.policy import MetricRuling, Policy, Ruling
from assay.fidelity.schema.profile import Reading, Summary

METRICS = ("score", "cost", "output_tokens", "failures", "no_answer", "token_cap")
RELATIVE = ("cost", "output_tokens")
"""Metrics whose shift is candidate / baseline - 1; of the others it is candidate - baseline."""
CATEGORY = "categories."
"""Begins the metric of a category's score."""
BEYOND = 0.05
"""The p-value at which a task has moved by more than its repeats explain."""


class Interval(Struct, frozen=True):
    """The interval and the p-value of a shift."""

    se: float
    lower: float
    """Of 95 %."""
    upper: float
    p: float
    """Two-sided, of "there is no shift"."""


class Change(Struct, frozen=True, kw_only=True):
    """One metric on both sides, over the tasks with figures on both. Figures are shares, tokens or US dollars."""

    metric: str
    """`score`, `categories.NAME`, `cost` and `output_tokens` (of a scored rollout), `failures`, `no_answer` or
    `token_cap` (shares of rollouts)."""
    baseline: float | None = None
    """Mean over tasks of a task's mean."""
    candidate: float | None = None
    shift: float | None = None
    """candidate - baseline; of `cost` and `output_tokens` candidate / baseline - 1."""
    over_tasks: Interval | None = None
    """For other tasks of the same kind: t with T - 1 degrees of freedom."""
    over_reruns: Interval | None = None
    """For running the same tasks again: normal. Null where a side has one repeat."""
    p_holm: float | None = None
    """The p-value over tasks with Holm's correction over the candidates."""
    if_failures_zero: float | None = None
    """The shift if every failure were a zero; null where nothing failed."""
    tasks: int = 0
    tasks_left_out: int = 0
    """Tasks without a figure on one side or both."""
    absent: str = ""
    """The reason if there is no shift."""


class MovedTask(Struct, frozen=True, kw_only=True):
    """A task with different mean rewards."""

    task: str
    category: str
    baseline: float
    candidate: float
    repeats: tuple[int, int]
    """Scores on each side."""
    p: float
    """Of a permutation test of the task's scores alone: at most .05 where it moved beyond what repeats explain."""


class Side(Struct, frozen=True, kw_only=True):
    """One run."""

    name: str
    folder: str
    model: str
    benchmark: str
    version: str
    tasks: int
    started: str
    summary: Summary
    """Of the whole run, the tasks that were left out included."""


class Pair(Struct, frozen=True, kw_only=True):
    """A candidate against its baseline."""

    name: str
    baseline: Side
    candidate: Side
    tasks: int
    """Tasks that both runs have."""
    left_out: dict[str, int] = {}
    """With --across: the number of tasks that are not compared, by reason."""
    differs: list[str] = []
    """With --across: other differences, a line each."""
    settings: list[str] = []
    """Changes in the model and its server, a line each."""
    changes: list[Change]
    """Score first, then the other metrics."""
    categories: list[Change]
    moved: list[MovedTask]
    """Tasks that moved by more than repeats explain first, then by the size of the move."""
    beyond: int
    """How many moved by more than their repeats explain, at 5 % each."""
    beyond_by_chance: float
    """How many would if nothing had changed."""
    notes: list[str] = []
    """Notes on owed and failed rollouts."""
    judgements: list[MetricRuling] = []
    verdict: Ruling | None = None
    """Null without a policy."""

    def change(self, metric: str) -> Change:
        return next(change for change in self.changes + self.categories if change.metric == metric)

    @property
    def worse(self) -> int:
        return sum(task.candidate < task.baseline for task in self.moved)

    @property
    def better(self) -> int:
        return len(self.moved) - self.worse


class Comparison(Struct, frozen=True, kw_only=True):
    """The result of `assay compare`."""

    pairs: list[Pair]
    policy: Policy | None
    verdict: Ruling | None
    """The worst of all pairs; null without a policy."""
    across: bool
    notes: list[str] = []


class SideBySide(Struct, frozen=True):
    """A task that moved, with one rollout of each side that shows it."""

    pair: str
    moved: MovedTask
    baseline: Reading
    candidate: Reading

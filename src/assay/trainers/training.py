"""What a training did, as data: its settings, its course, and the model before against the model after."""

import math
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from assay.fidelity.detectors import detect
from assay.fidelity.results.results import read
from assay.stats.estimates import estimate
from assay.stats.paired import difference
from assay.stats.sample import Sample, sample_of_attempts

DROP = 0.05
"""A held-out score that fell by this much below its start, beyond four standard errors, ends a training."""
RISE = 0.05
"""Share of rollouts by which a finding has to rise to be told."""


class Settings(Struct, frozen=True, kw_only=True):
    """How a model is trained: GRPO without scaling of rewards (dr_grpo), no KL term, one update a step."""

    steps: int = 80
    prompts: int = 64
    """Tasks a step."""
    group: int = 8
    """Rollouts of each task."""
    learning_rate: float = 2e-4
    """At the first step; it falls linearly to 0."""
    seed: int = 0
    every: int = 10
    """Steps between two looks at the held-out tasks, each of which leaves a checkpoint."""
    held_out: int = 480
    """Training tasks that are kept from training."""
    attempts: int = 64
    """Rollouts of each test task before and after: k of the largest pass@k."""


class Look(Struct, frozen=True):
    """A look at the held-out tasks, two answers each."""

    step: int
    score: float
    se: float
    """Over re-runs: the tasks are the same at each look."""


class Step(Struct, frozen=True):
    """One update of the weights."""

    step: int
    reward: float
    """The mean over its rollouts."""
    without_variance: float
    """The share of its groups whose rewards are all the same: they teach nothing."""
    entropy: float
    """Nats a token."""
    tokens: float
    """The mean of a completion."""


class Change(Struct, frozen=True):
    """A figure of the model on the benchmark's test tasks, before and after, with the 95 % interval over tasks."""

    name: str
    before: float
    after: float
    lower: float
    upper: float

    @property
    def shift(self) -> float:
        return self.after - self.before


class Risen(Struct, frozen=True):
    """Something that a detector of faults of the verifier sees more often than before."""

    detector: str
    before: float
    """Share of the scored rollouts."""
    after: float
    meaning: str
    example: str = ""


class Training(Struct, kw_only=True):
    """A training, as `training.json` holds it."""

    benchmark: str
    version: str
    model: str
    settings: Settings
    versions: dict[str, str]
    tasks: int
    """Training tasks."""
    tasks_digest: str
    steps: list[Step] = []
    looks: list[Look] = []
    changes: list[Change] = []
    """None where the training was stopped."""
    risen: list[Risen] = []
    """What makes the reward doubtful: the policy may have found a hole in the verifier."""
    stopped: str | None = None
    """Why the training ended before its last step; None if it did not."""
    cpu_s: float = 0.0
    """CPU time of all steps, without the looks."""


def collapse(looks: Sequence[Look]) -> str | None:
    """Returns why a training should stop: the held-out score fell far below its start; None if it did not."""
    first, last = looks[0], looks[-1]
    drop = first.score - last.score
    if drop <= max(DROP, 4 * math.hypot(first.se, last.se)):
        return None
    return (
        f"the held-out score fell from {first.score:.1%} to {last.score:.1%} by step {last.step}: the policy is "
        "getting worse. Try a lower --learning-rate"
    )


def changes(before: Path, after: Path, greedy_before: Path, greedy_after: Path) -> list[Change]:
    """Returns the figures of two runs at temperature 1 and of two greedy ones.

    A score that rises while pass@k does not says that the model is surer of what it could do before; one that rises
    with pass@k says that it can do more.
    """
    sampled, greedy = (before, after), (greedy_before, greedy_after)
    found = [_change("score at temperature 1", *(read(run).sample for run in sampled))]
    found.append(_change("score, greedy", *(read(run).sample for run in greedy)))
    rewards = [read(run) for run in sampled]
    k = 8
    while k <= rewards[0].repeats:
        attempts = [sample_of_attempts(one.rewards_TK, k, all_of=False, layout=one.layout) for one in rewards]
        found.append(_change(f"pass@{k}", *attempts))
        k *= 8
    return found


def risen(before: Path, after: Path) -> list[Risen]:
    """Returns what detectors of a verifier's faults see in far more rollouts of the second run than of the first.

    Reward that grows by such rollouts is not what the environment was meant to teach.
    """
    first = {one.detector: one.share for one in detect(before, "before") if one.suspect == "verifier"}
    found = [one for one in detect(after, "after") if one.suspect == "verifier" and one.scope == "rollout"]
    return [
        Risen(one.detector, first.get(one.detector, 0.0), one.share, one.meaning, next(iter(one.spotted)).evidence)
        for one in found
        if one.share - first.get(one.detector, 0.0) >= RISE
    ]


def _change(name: str, before: Sample | None, after: Sample | None) -> Change:
    if before is None or after is None:
        raise ValueError(f"{name}: a run without a score")
    moved = difference(before, after)
    return Change(name, moved.baseline, moved.candidate, moved.over_tasks.lower, moved.over_tasks.upper)


def look(step: int, sampled: Sample) -> Look:
    """Returns a look at the held-out tasks."""
    found = estimate(sampled)
    return Look(step, found.score, found.se_run)

"""What a training did, as data: its settings, its course, and the model before against the model after."""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from msgspec import Struct, structs

from assay.fidelity.compare.compare import compare
from assay.fidelity.compare.comparison import CATEGORY, Comparison
from assay.fidelity.detectors import detect
from assay.fidelity.results.results import read
from assay.stats.estimates import estimate
from assay.stats.paired import difference
from assay.stats.sample import Sample, sample_of_attempts

ERRORS = 3.5
"""Standard errors beyond which a change is no chance: a training has many looks, and many findings may rise."""
DROP = 0.05
"""A held-out score that fell by this much below its start, beyond chance, ends a training."""
RISE = 0.05
"""Share of rollouts by which a finding has to rise, beyond chance, to be reported."""
PART = 4
"""A training has this many parts of equal length. The mean reward of the first is compared with that of the last."""
FEWEST = 5
"""Steps of such a part, for its error to be known."""


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


class FindingChange(Struct, frozen=True, kw_only=True):
    """What a detector sees in rollouts on the test tasks, before and after, as shares of those that it examined."""

    detector: str
    before: float
    after: float
    meaning: str
    example: str = ""
    """Of after."""
    is_hole: bool = False
    """Whether it speaks against the verifier and has risen: reward that grows by it is not what was meant."""


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
    behaviour: list[Change] = []
    """Scores by category; tokens of an answer; shares of rollouts that were cut or without an answer."""
    findings: list[FindingChange] = []
    """What detectors see in rollouts: refusals, loops, passing rollouts without the answer, and more."""
    overfitting: str | None = None
    """Why the reward that rose is no sign of learning; None where it is one, or did not rise."""
    stop_reason: str | None = None
    """Why the training ended before its last step; None if it did not."""
    cpu_s: float = 0.0
    """CPU time of all steps, without the looks."""

    @property
    def holes(self) -> list[FindingChange]:
        """What makes the reward doubtful: the policy may have found a hole in the verifier."""
        return [one for one in self.findings if one.is_hole]


def collapse(looks: Sequence[Look]) -> str | None:
    """Returns why a training should stop: the held-out score fell far below its start; None if it did not."""
    first, last = looks[0], looks[-1]
    drop = first.score - last.score
    if drop <= max(DROP, ERRORS * math.hypot(first.se, last.se)):
        return None
    return (
        f"the held-out score fell from {first.score:.1%} to {last.score:.1%} by step {last.step}: the policy is "
        "getting worse. Try a lower --learning-rate"
    )


def overfitting(steps: Sequence[Step], looks: Sequence[Look]) -> str | None:
    """Returns why the reward shows no learning: it rose, and the held-out score did not rise with it.

    None where it did, or where the training is too short to say so.
    """
    if (size := len(steps) // PART) < FEWEST:
        return None
    begin, end = ([one.reward for one in part] for part in (steps[:size], steps[-size:]))
    reward, held_out = mean(end) - mean(begin), looks[-1].score - looks[0].score
    se = math.hypot(looks[0].se, looks[-1].se, *(stdev(part) / math.sqrt(size) for part in (begin, end)))
    if reward - held_out <= max(RISE, ERRORS * se):
        return None
    return (
        f"The reward of the training tasks rose by {100 * reward:.1f} points and the held-out score by "
        f"{100 * held_out:.1f}: the policy learns these tasks alone."
    )


def rises(before: int, before_of: int, after: int, after_of: int) -> bool:
    """Returns whether a finding has risen from `before` of `before_of` rollouts, by more than RISE and than chance.

    The error is that of independent rollouts, which is larger than that of rollouts of the same tasks.
    """
    rise, both = after / after_of - before / before_of, (before + after) / (before_of + after_of)
    return rise >= RISE and rise > ERRORS * math.sqrt(both * (1 - both) * (1 / before_of + 1 / after_of))


def changes(before: Path, after: Path, greedy_before: Path, greedy_after: Path) -> list[Change]:
    """Returns the figures of two runs at temperature 1 and of two greedy ones.

    A score that rises while pass@k does not says that the model is surer of what it could do before; one that rises
    with pass@k says that it can do more.
    """
    runs, greedy = (before, after), (greedy_before, greedy_after)
    figures = [_change("score at temperature 1", *(read(run).sample for run in runs))]
    figures.append(_change("score, greedy", *(read(run).sample for run in greedy)))
    rewards = [read(run) for run in runs]
    k = 8
    while k <= rewards[0].repeats:
        attempts = [sample_of_attempts(one.rewards_TK, k, all_of=False, layout=one.layout) for one in rewards]
        figures.append(_change(f"pass@{k}", *attempts))
        k *= 8
    return figures


def compare_sides(before: Path, after: Path, model: str) -> Comparison:
    """Returns the comparison of two runs, whose sides are named by the model and "before" or "after"."""
    comparison = compare(before, [after])
    (pair,) = comparison.pairs
    sides = [
        structs.replace(side, name=f"{model} {when}")
        for side, when in ((pair.baseline, "before"), (pair.candidate, "after"))
    ]
    pair = structs.replace(pair, name=sides[1].name, baseline=sides[0], candidate=sides[1])
    return structs.replace(comparison, pairs=[pair])


def behaviour(comparison: Comparison) -> list[Change]:
    """Returns what else changed: each category, and figures other than the score."""
    (pair,) = comparison.pairs
    figures = [*pair.categories, *(one for one in pair.changes if one.metric not in ("score", "cost", "failures"))]
    return [
        Change(
            one.metric.removeprefix(CATEGORY), one.baseline, one.candidate, one.over_tasks.lower, one.over_tasks.upper
        )
        for one in figures
        if one.baseline is not None and one.candidate is not None and one.over_tasks is not None
    ]


def findings(before: Path, after: Path) -> list[FindingChange]:
    """Returns what detectors see in rollouts of two runs, what speaks against the verifier and has risen first."""
    by_run = [{one.detector: one for one in detect(run, run.name) if one.scope == "rollout"} for run in (before, after)]
    rows: list[FindingChange] = []
    for name in dict.fromkeys([*by_run[1], *by_run[0]]):
        first, last = (by_name.get(name) for by_name in by_run)
        either = last or first
        assert either is not None
        counts = first.count if first else 0, last.count if last else 0
        rows.append(
            FindingChange(
                detector=name,
                before=first.share if first else 0.0,
                after=last.share if last else 0.0,
                meaning=either.meaning,
                example=last.spotted[0].evidence if last and last.spotted else "",
                is_hole=either.suspect == "verifier"
                and rises(counts[0], first.of if first else either.of, counts[1], either.of),
            )
        )
    return sorted(rows, key=lambda one: (not one.is_hole, -abs(one.after - one.before)))


def _change(name: str, before: Sample | None, after: Sample | None) -> Change:
    if before is None or after is None:
        raise ValueError(f"{name}: a run without a score")
    shift = difference(before, after)
    return Change(name, shift.baseline, shift.candidate, shift.over_tasks.lower, shift.over_tasks.upper)


def look(step: int, sample: Sample) -> Look:
    """Returns a look at the held-out tasks."""
    score = estimate(sample)
    return Look(step, score.score, score.se_run)

"""Published scores: `published.toml` beside each benchmark, and whether runs give them.

    [origin]                        # or: original = true, where there is no other code
    repository = "https://github.com/openai/grade-school-math"
    commit = "3101c7d…"
    paper = "https://arxiv.org/abs/2110.14168"

    [[score]]
    model = "gsm8k paper, 6B verification"      # what a suite's `published` names
    score = "39.04"                 # per cent, as printed: its last digit is the rounding, so 70.0 is written "70.0"
    unit = 0.01                     # the step of the last digit, where it isn't the one that is written
    subset = "test"                 # in words; or { category = "snarks" }, which selects the tasks with these tags
    tasks = 1319                    # where stated; else the benchmark's
    repeats = 1                     # k, where stated
    aggregation = "pass@10"         # where it is not the benchmark's declared score: then it is another score
    settings = { temperature = 0.7, max_output_tokens = 4096, shots = 0 }
    source = "Table 2"
    date = "2021-10-27"
    confidence = "card"             # as the authors say it; or "second-hand", by others

`settings = { outputs = "recorded" }` says that the outputs behind the score are published too. Then a verifier has to
give the same digits for them, because there is no sampling.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct, structs

from assay.benchmark import Benchmark
from assay.config import read_toml
from assay.errors import InputError, UsageError
from assay.fidelity.original.reference import OriginalResults, is_replay
from assay.fidelity.results.results import Results
from assay.fidelity.schema.evidence import OriginalSource, Reproduced, ReproductionResult
from assay.input import is_present
from assay.score import ScoreRule, Selection, check_score
from assay.stats.compare import FIRST_LOOK
from assay.stats.published import (
    CEILING,
    LEAST_MARGIN,
    WIDEST_MARGIN,
    Reproduction,
    fewest_repeats,
    pool_margin,
    producible,
    reproduction,
)
from assay.stats.sample import Sample
from assay.store import RunRecord
from assay.types import Task

MARGIN = LEAST_MARGIN
"""The default margin: the largest difference from a published score that still reproduces it, as a share."""
BETWEEN = 0.5
"""The assumed W before any run, as a part of p (1 - p): .4 for Beta(1/3, 1/3) rates, .67 for uniform ones."""
FORGIVEN = 1e-9
"""The allowance for errors of binary fractions in rounding."""


def step_of(score: str) -> float:
    """Returns the step of the last digit of a score in per cent, as a share: .0001 for 39.04."""
    return 10.0 ** -(len(score.strip().partition(".")[2]) + 2)


class Origin(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the benchmark's original code is."""

    repository: str
    commit: str
    paper: str | None = None


class PublishedScore(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A published score."""

    model: str
    score: int | float | str
    """Per cent. A text keeps zeros at its end, which TOML's numbers lose."""
    unit: Annotated[float, Meta(gt=0, le=100)] | None = None
    """Per cent; by default the step of the last digit."""
    subset: str | dict[str, str]
    """The tasks of the score: a text, or tags that the tasks have."""
    tasks: Annotated[int, Meta(ge=1)] | None = None
    repeats: Annotated[int, Meta(ge=1)] | None = None
    aggregation: str | None = None
    """The aggregation, if it is not the benchmark's declared score (in the words of `str(benchmark.score)`)."""
    settings: dict[str, Any] = {}
    source: str
    date: str
    confidence: Literal["card", "second-hand"]
    rule: ScoreRule | None = None
    """The score rule, if it is not the one that the benchmark declares."""

    @property
    def share(self) -> float:
        return float(self.score) / 100

    @property
    def tags(self) -> dict[str, str]:
        """The tags that its tasks have; empty for all tasks."""
        return self.subset if isinstance(self.subset, dict) else {}

    @property
    def scope(self) -> str:
        """Its tasks in words."""
        return ", ".join(f"{tag}={value}" for tag, value in self.tags.items()) or str(self.subset)

    @property
    def whole(self) -> bool:
        """Whether it is the declared score of all tasks."""
        return not self.tags and self.rule is None and self.aggregation is None

    @property
    def label(self) -> str:
        """The model, with what distinguishes several scores of it."""
        parts = [f"{tag}={value}" for tag, value in self.tags.items()]
        parts += [str(self.rule)] * (self.rule is not None)
        return ", ".join([self.model, *parts, *([] if self.aggregation is None else [self.aggregation])])

    @property
    def step(self) -> float:
        """The unit as a share: .0001 for 39.04 %."""
        if self.unit is not None:
            return self.unit / 100
        return step_of(str(self.score))

    @property
    def has_recorded_outputs(self) -> bool:
        """Whether the outputs behind the score are published too."""
        return self.settings.get("outputs") == "recorded"


class Published(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"scores": "score"}):
    """The content of a benchmark's published.toml."""

    original: bool = False
    """This benchmark is the original: there is no other code."""
    origin: Origin | None = None
    scores: list[PublishedScore] = []


def published_scores(benchmark: Benchmark) -> Published | None:
    """Returns the published scores of a benchmark; None if it has no published.toml. Raises InputError."""
    path = published_toml(benchmark)
    return read(path) if path else None


def check_published(stated: Published, tasks: Sequence[Task], declared: ScoreRule) -> None:
    """Raises UsageError if the subset or the rule of a score does not fit the tasks."""
    for score in stated.scores:
        try:
            check_score(score.rule or declared, Selection(only=score.tags).of(tasks, declared))
        except UsageError as error:
            raise UsageError(f"the published score of {score.label}: {error}") from None


def published_toml(benchmark: Benchmark) -> Path | None:
    """Returns the path of the benchmark's published.toml; None if there is none."""
    path = benchmark.published or (benchmark.folder and benchmark.folder / "published.toml")
    return path if path and is_present(path) else None


def read(path: Path) -> Published:
    """Returns the content of a published.toml. Raises InputError."""
    found = read_toml(path, Published)
    if found.original == (found.origin is not None):
        got = "both original = true and [origin]" if found.original else "neither [origin] nor original = true"
        raise InputError(path, None, got, "one of the two: where the original code is, or that this is it")
    seen: set[str] = set()
    for score in found.scores:
        _check(score, path)
        if score.label in seen:
            raise InputError(path, None, f"two scores of {score.label}", "one of each model, subset and rule")
        seen.add(score.label)
    return found


def _check(score: PublishedScore, path: Path) -> None:
    expected = 'per cent from 0 to 100 as printed, such as 39.04 or "70.0"'
    try:
        share = score.share
    except ValueError:
        share = math.nan
    written = str(score.score).strip().replace(".", "", 1)
    if not 0 <= share <= 1 or not (written.isascii() and written.isdecimal()):
        raise InputError(path, None, f"the score of {score.model} is {score.score!r}", expected)


def run_settings(record: RunRecord) -> dict[str, Any]:
    """Returns a run's sampling and limits by the names of published settings, without server defaults."""
    server: dict[str, Any] = record.server.get("sampling") or {}
    protocol = msgspec.to_builtins(record.sampling) | structs.asdict(record.limits)
    return server | {name: value for name, value in protocol.items() if value is not None}


def setting_differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Returns the settings that both have with different values, in words."""
    return [
        f"{name} ({there[name]} there, {here[name]} here)"
        for name in there
        if name in here and there[name] != here[name]
    ]


def reproductions(
    stated: Published | None,
    tasks: Sequence[Task],
    declared: ScoreRule,
    members: Mapping[str, str | None],
    results: Mapping[str, Results],
    references: Mapping[str, OriginalResults],
    records: Mapping[str, RunRecord],
    margin: float = MARGIN,
) -> list[Reproduced]:
    """Returns the comparison of each published score with the original code's runs, and with the run here.

    `tasks` are all tasks of the benchmark, and `declared` is its score rule. A published score may be of some tasks, or
    by another rule, which is then computed. `members` has the published name of each model; all mappings are by the
    model's name in the profile.
    """
    return [
        _reproduction(
            model,
            score,
            Selection(only=score.tags).of(tasks, declared) if score.tags else tasks,
            score.rule or declared,
            references.get(model),
            results.get(model),
            records.get(model),
            margin,
        )
        for model, name in members.items()
        for score in (stated.scores if stated else [])
        if name is not None and name == score.model
    ]


def planned_margins(
    stated: Published | None, all_tasks: int, tasks: int, members: Iterable[tuple[str | None, int]]
) -> dict[str, float]:
    """Returns the margins, as shares, of the gates that compare with the original, from what is known before any run.

    W is assumed to be half of p (1 - p), where p is the published score, or .5 without one. `members` has the published
    name of each model of the suite and the repeats of its run of `tasks`. The margin of parity is what one look with
    the fewest of these repeats on each side can show in 95 %, from two to five points; that of reproduced may be wider,
    and then nothing can be refuted at this size. A model whose score may be above the ceiling of the pool does not
    count.
    """
    repeats = dict(members)
    known = [count for name, count in repeats.items() if name] or [*repeats.values()]
    within: list[float] = []
    ses: list[float] = []
    for score in stated.scores if stated else []:
        if score.model not in repeats or not score.whole or score.share > CEILING or score.has_recorded_outputs:
            continue
        of, w = score.tasks or all_tasks, BETWEEN * score.share * (1 - score.share)
        own = w / (tasks * repeats[score.model])
        theirs = w / (of * (score.repeats or fewest_repeats(score.share, score.step, of))) + score.step**2 / 12
        within.append(w)
        if score.share + math.sqrt(own) <= CEILING:
            ses.append(math.sqrt(own + theirs))
    widest = max(within, default=BETWEEN / 4)
    parity = math.ceil(FIRST_LOOK * math.sqrt(2 * widest / (tasks * min(known))) * 200 - 1e-9) / 200
    return {
        "reproduced": pool_margin(ses) if ses else LEAST_MARGIN,
        "parity": min(WIDEST_MARGIN, max(LEAST_MARGIN, parity)),
    }


def _reproduction(
    model: str,
    score: PublishedScore,
    chosen: Sequence[Task],
    rule: ScoreRule,
    reference: OriginalResults | None,
    results: Results | None,
    record: RunRecord | None,
    margin: float,
) -> Reproduced:
    tasks = score.tasks or len(chosen)
    made = Reproduced(
        model=model,
        published_as=score.label,
        whole=score.whole,
        score=score.share,
        unit=score.step,
        subset=score.scope,
        settings=score.settings,
        source=score.source,
        date=score.date,
        margin=margin,
        verdict="inconclusive",
        reason="There are no results of the original code: give them to `assay parity`, with --run for its run.",
        aggregation=score.aggregation,
        repeats=score.repeats,
        repeats_stated=score.repeats is not None,
        producible=score.repeats is None or producible(score.share, score.step, tasks, score.repeats),
    )
    if score.aggregation is not None and (record is None or score.aggregation != str(record.score)):
        reason = f"Another score: {_percent(score)} is {score.aggregation}, which is not what the benchmark declares."
        return structs.replace(made, verdict="another score", reason=reason)
    if reference is not None:
        theirs = reference.results(chosen, rule)
        made = _with_reference(made, score, reference.record, theirs, tasks)
    if results is not None and results.scored and record is not None:
        recorded = reference is not None and is_replay(results, reference)
        made = _with_run(made, score, _at_tasks(results, chosen, rule), record, tasks, recorded=recorded)
    if not made.producible:
        flag = f"No {made.repeats} repeats of {tasks:,} tasks scored 0 or 1 print {_percent(score)}: it is suspect."
        made = structs.replace(made, reason=f"{made.reason} {flag}")
    if score.confidence == "second-hand":
        made = structs.replace(made, reason=f"{made.reason} The number is second-hand: {score.source}.")
    return made


def _at_tasks(results: Results, tasks: Sequence[Task], rule: ScoreRule) -> Results:
    """Returns the results of these tasks, with another score rule."""
    ids = {task.id for task in tasks}
    rows = [row for row, task in enumerate(results.tasks) if task.id in ids]
    return dataclasses.replace(results if len(rows) == len(results.tasks) else results.at(rows), score=rule)


def _with_reference(
    result: Reproduced, score: PublishedScore, record: OriginalSource, results: Results, tasks: int
) -> Reproduced:
    stated = {"tasks": tasks} | ({} if score.tags else {"subset": score.subset}) | score.settings
    # The original's results may have other tasks too; only tasks with a result here count.
    known = record.tasks if not score.tags else int((~np.isnan(results.rewards_TK)).any(axis=1).sum())
    theirs = record.settings | {"tasks": known}
    sampled = results.sample
    if sampled is None:
        reason = f"The original's results have too few repeats, or no answers, for the {results.score}."
        return structs.replace(result, reason=reason)
    if unlike := setting_differences(stated, theirs):
        reason = f"Not the published settings: {', '.join(unlike)}. The original code's results can't confirm it."
        return structs.replace(result, reference_score=sampled.score, verdict="refused", reason=reason)
    verdict, words, got = _answer(sampled, score, result.margin, recorded=score.has_recorded_outputs)
    reason = f"The original code gives {sampled.score:.2%} where {_percent(score)} was published: {words}."
    return structs.replace(
        result,
        verdict=verdict,
        reason=reason + _not_stated(stated, theirs, "Its results do"),
        reference_score=sampled.score,
        reference_se=got.se if got else None,
        repeats=got.published_repeats if got else result.repeats,
    )


def _with_run(
    result: Reproduced, score: PublishedScore, results: Results, record: RunRecord, tasks: int, *, recorded: bool
) -> Reproduced:
    sampled = results.sample
    if sampled is None:
        return result
    ours = run_settings(record) | {"tasks": len(results.tasks)}
    if unlike := setting_differences({"tasks": tasks} | score.settings, ours):
        verdict, words = "refused", f"not the published settings: {', '.join(unlike)}"
    elif results.owed:
        verdict, words = "inconclusive", f"{results.owed:,} rollouts are still owed"
    else:
        verdict, words, got = _answer(sampled, score, result.margin, recorded=score.has_recorded_outputs and recorded)
        result = structs.replace(result, here_se=got and got.se)
    mean = sampled.score
    reason = f"{result.reason} The run here gives {mean:.2%}: {words}." + _not_stated(score.settings, ours, "It does")
    return structs.replace(result, here_score=mean, here_verdict=verdict, reason=reason)


def _not_stated(stated: Mapping[str, Any], settings: Mapping[str, Any], subject: str) -> str:
    names = [name for name in stated if name not in settings and name != "outputs"]
    return f" {subject} not state {', '.join(names)}." if names else ""


def _answer(
    sampled: Sample, score: PublishedScore, margin: float, *, recorded: bool
) -> tuple[ReproductionResult, str, Reproduction | None]:
    """Returns whether scores reproduce a published one, the reason, and the statistics if there was sampling."""
    if recorded:
        # The outputs are the published ones, so only rounding can make a difference.
        if unscored := int((~sampled.scored_N).sum()):
            return "inconclusive", f"{unscored:,} tasks have no score", None
        away = abs(sampled.score - score.share)
        if away <= score.step / 2 + FORGIVEN:
            return "identical", "the same digits, on the same outputs", None
        return "different", f"{100 * away:.2f} points apart on the same outputs, where chance has no part", None
    got = reproduction(sampled, score.share, margin, unit=score.step, repeats=score.repeats)
    k0 = f"{got.published_repeats} {'stated' if score.repeats else 'at the fewest'}"
    words = (
        f"{got.verdict} within {100 * margin:g} points, at {100 * got.difference:+.2f} with an SE of "
        f"{100 * got.se:.2f} (published repeats: {k0}; {got.verdict_if_exact} with unlimited repeats)"
    )
    if got.bounded:
        words += ", an upper bound because repeats are missing"
    return got.verdict, words, got


def _percent(score: PublishedScore) -> str:
    return f"{score.score}%"

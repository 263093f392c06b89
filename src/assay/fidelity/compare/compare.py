"""Compares runs with a baseline, paired by task: the shifts, their intervals, and the rulings of a policy."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
from msgspec import structs

from assay.digest import task_digest
from assay.errors import DigestMismatch, UsageError
from assay.fidelity.compare.comparison import (
    BEYOND,
    CATEGORY,
    METRICS,
    RELATIVE,
    Change,
    Comparison,
    Interval,
    MovedTask,
    Pair,
    Side,
    SideBySide,
)
from assay.fidelity.compare.policy import Case, MetricRuling, Policy, judge, rules, worst
from assay.fidelity.results.results import Results, read
from assay.fidelity.results.summary import summarise
from assay.fidelity.review.readings import reading
from assay.fidelity.schema.profile import Reading
from assay.input import is_present
from assay.stats.compare import holm
from assay.stats.paired import difference, growth, move_test
from assay.stats.sample import sample
from assay.store import RunRecord, read_record, read_rollouts, read_tasks
from assay.types import Rollout, Score, Task

SHOWN = 12
"""Tasks of a pair whose outputs are shown side by side."""


def compare(
    baseline: Path, candidates: Sequence[Path], policy: Policy | None = None, *, across: bool = False
) -> Comparison:
    """Compares each candidate with the baseline, paired by task. All are run directories, or all are profiles.

    Raises DigestMismatch, naming what differs, where the runs are of other tasks, another benchmark, verifier, sampling
    or limits, unless `across` compares the tasks that are the same; UsageError where there is nothing to compare.
    """
    named, notes = _find_pairs(baseline, candidates)
    runs = {
        folder: _Run(name, folder, read_record(folder), read(folder))
        for sides in named.values()
        for name, folder in sides
    }
    matched = {name: _match(runs[a], runs[b], across=across) for name, ((_, a), (_, b)) in named.items()}
    cases = {name: _cases(match) for name, match in matched.items()}
    judgements = _judgements(policy, cases) if policy else {}
    p_holm: dict[str, dict[str, float]] = {}
    """The p-values over tasks with Holm's correction over the pairs, by metric and pair."""
    for metric in dict.fromkeys(metric for case in cases.values() for metric in case):
        known = {name: found[metric] for name, found in cases.items() if metric in found}
        p_holm[metric] = holm({name: case.shifts[0].over_tasks.p for name, case in known.items() if case.shifts})
    pairs = [_pair(name, matched[name], cases[name], judgements.get(name, []), p_holm) for name in named]
    verdict = worst(pair.verdict for pair in pairs if pair.verdict) if policy else None
    return Comparison(pairs=pairs, policy=policy, verdict=verdict, across=across, notes=notes)


def side_by_side(comparison: Comparison, most: int = SHOWN) -> list[SideBySide]:
    """Returns up to `most` moved tasks of each pair with their rollouts, as many worse as better tasks if possible.

    The rollouts are the best of the better side and the worst of the other."""
    wanted = [(pair, task) for pair in comparison.pairs for task in _both_ways(pair.moved, most)]
    ids: dict[str, set[str]] = {}
    for pair, moved_task in wanted:
        for side in (pair.baseline, pair.candidate):
            ids.setdefault(side.folder, set()).add(moved_task.task)
    tasks = {folder: {task.id: task for task in read_tasks(Path(folder))} for folder in ids}
    scored: dict[tuple[str, str], list[tuple[float, int, Rollout]]] = {}
    """By folder and task, the reward, place and rollout of each score."""
    for folder, own in ids.items():
        for place, rollout in enumerate(read_rollouts(Path(folder))):
            if rollout.task in own and isinstance(rollout.outcome, Score):
                scored.setdefault((folder, rollout.task), []).append((rollout.outcome.reward, place, rollout))

    def example(side: Side, task: str, *, best: bool) -> Reading:
        sign = -1 if best else 1
        *_, rollout = min(scored[side.folder, task], key=lambda one: (sign * one[0], one[1]))
        return reading(rollout, tasks[side.folder][task], side.name)

    pairs: list[SideBySide] = []
    for pair, moved_task in wanted:
        worse, task = moved_task.candidate < moved_task.baseline, moved_task.task
        sides = example(pair.baseline, task, best=worse), example(pair.candidate, task, best=not worse)
        pairs.append(SideBySide(pair.name, moved_task, *sides))
    return pairs


@dataclass(frozen=True, slots=True)
class _Run:
    name: str
    folder: Path
    record: RunRecord
    results: Results


@dataclass(frozen=True, slots=True)
class _Match:
    """Two runs, and the rows of the compared tasks on each side."""

    a: _Run
    b: _Run
    rows_a: list[int]
    rows_b: list[int]
    differs: list[str]
    left_out: dict[str, int]

    @property
    def tasks(self) -> list[Task]:
        return [self.a.results.tasks[row] for row in self.rows_a]

    @property
    def sides(self) -> tuple[tuple[_Run, list[int]], tuple[_Run, list[int]]]:
        return (self.a, self.rows_a), (self.b, self.rows_b)


PairFolders = dict[str, tuple[tuple[str, Path], tuple[str, Path]]]
"""By a pair's name, the names and run directories of baseline and candidate."""


def _find_pairs(baseline: Path, candidates: Sequence[Path]) -> tuple[PairFolders, list[str]]:
    """Returns the pairs, and notes on models without a partner. Raises UsageError."""
    folders = [baseline, *candidates]
    if len({folder.resolve() for folder in folders}) < max(2, len(folders)):
        raise UsageError("nothing to compare: give a baseline and at least one candidate, each another directory")
    are_runs = [is_present(folder / "run.json") for folder in folders]
    if any(are_runs) and not all(are_runs):
        others = ", ".join(str(folder) for folder, is_run in zip(folders, are_runs, strict=True) if not is_run)
        raise UsageError(f"no run directory: {others}; compare runs with runs, or profiles with profiles")
    if not any(are_runs):
        return _pair_profiles(baseline, candidates)
    models = [read_record(folder).model for folder in folders]
    names = [name if models.count(name) == 1 else str(folder) for name, folder in zip(models, folders, strict=True)]
    first, *others = zip(names, folders, strict=True)
    return {other[0]: (first, other) for other in others}, []


def _pair_profiles(baseline: Path, candidates: Sequence[Path]) -> tuple[PairFolders, list[str]]:
    theirs, named, notes = _models(baseline), PairFolders(), list[str]()
    for folder in candidates:
        models = _models(folder)
        for name in (name for name in theirs if name in models):
            sides = (f"{name} in {baseline}", theirs[name]), (f"{name} in {folder}", models[name])
            named[name if len(candidates) == 1 else f"{name} in {folder}"] = sides
        if alone := sorted(theirs.keys() ^ models.keys()):
            notes.append(f"In one of {baseline} and {folder} alone, and not compared: {', '.join(alone)}.")
    if not named:
        raise UsageError(f"no model ran in {baseline} and in a candidate; there it is {', '.join(theirs)}")
    return named, notes


def _models(folder: Path) -> dict[str, Path]:
    """Returns the runs of a profile by model. Raises UsageError."""
    found = {path.parent.name: path.parent for path in sorted(folder.glob("runs/*/run.json"))}
    if not found:
        raise UsageError(f"{folder} is neither a run directory (no run.json) nor a profile (no runs/MODEL/run.json)")
    return found


def _match(a: _Run, b: _Run, *, across: bool) -> _Match:
    """Returns the tasks that both runs have. Raises DigestMismatch and UsageError."""
    digests_a, digests_b = ([task_digest(task) for task in run.results.tasks] for run in (a, b))
    row_b = {digest: row for row, digest in enumerate(digests_b)}
    rows_a = [row for row, digest in enumerate(digests_a) if digest in row_b]
    differs = _differing(a, b, len(rows_a))
    if differs and not across:
        raise DigestMismatch(
            f"{a.folder} and {b.folder} can't be compared:\n  " + "\n  ".join(differs) + "\n  --across compares the "
            "tasks that are the same, and says this beside it."
        )
    if not rows_a:
        raise UsageError(f"{a.folder} and {b.folder} have no task in common: nothing can be compared")
    ids_a, ids_b = ({task.id for task in run.results.tasks} for run in (a, b))
    counts = {
        f"in {a.name} alone": len(ids_a - ids_b),
        f"in {b.name} alone": len(ids_b - ids_a),
        "another prompt, answer or tools under the same id": len(ids_a & ids_b) - len(rows_a),
    }
    left_out = {why: count for why, count in counts.items() if count}
    return _Match(a, b, rows_a, [row_b[digests_a[row]] for row in rows_a], differs, left_out)


def _differing(a: _Run, b: _Run, common: int) -> list[str]:
    """Returns the differences in tasks and protocol, a line each."""
    one, two = a.record, b.record
    lines = [
        f"{what}: {mine} in {a.name}, {theirs} in {b.name}"
        for what, mine, theirs in (
            ("benchmark", one.benchmark, two.benchmark),
            ("version", one.version, two.version),
            ("verifier code", one.code[:12], two.code[:12]),
            *((f"sampling.{key}", *pair) for key, pair in _unequal(one.sampling, two.sampling)),
            *((f"limits.{key}", *pair) for key, pair in _unequal(one.limits, two.limits)),
            *(
                (f"the {role}", *pair)
                for role, pair in _unequal(*({r: used.identity for r, used in run.roles.items()} for run in (one, two)))
            ),
        )
        if mine != theirs
    ]
    if one.tasks_digest != two.tasks_digest:
        lines.append(f"tasks: {one.tasks:,} in {a.name}, {two.tasks:,} in {b.name}; {common:,} are the same")
    return lines


def _unequal(one: Any, two: Any) -> list[tuple[str, tuple[Any, Any]]]:
    """Returns the keys with different values, and both values; a dash where one has none."""
    mine, theirs = (cast(dict[str, Any], msgspec.to_builtins(value)) for value in (one, two))
    keys = dict.fromkeys([*mine, *theirs])
    return [(key, (mine.get(key, "–"), theirs.get(key, "–"))) for key in keys if mine.get(key) != theirs.get(key)]


def _cases(match: _Match) -> dict[str, Case]:
    """Returns the shifts of each metric, categories included."""
    categories = [task.tags.get("category", "") for task in match.tasks]
    owed = "; ".join(
        f"{run.name} owes {run.results.owed:,} of {run.results.planned:,} rollouts"
        for run, _ in match.sides
        if run.results.owed
    )
    about = {"repeats": (match.a.results.repeats, match.b.results.repeats), "owed": owed}
    names = [name for name in dict.fromkeys(categories) if name]
    cases = {metric: _case(match, metric) for metric in METRICS}
    for name in names:
        inside = [row for row, category in enumerate(categories) if category == name]
        rows_a, rows_b = ([rows[row] for row in inside] for rows in (match.rows_a, match.rows_b))
        part = dataclasses.replace(match, rows_a=rows_a, rows_b=rows_b)
        cases[f"categories.{name}"] = _case(part, "score")
    return {metric: structs.replace(case, **about) for metric, case in cases.items()}


def _case(match: _Match, metric: str) -> Case:
    if metric == "score":
        return _case_of_score(match)
    a_TK, b_TK = (run.results.figures_TK(metric)[rows] for run, rows in match.sides)
    both = int((~np.isnan(a_TK).all(axis=1) & ~np.isnan(b_TK).all(axis=1)).sum())
    if both < 2:
        return Case(absent=_absence(match, metric, both))
    if metric not in RELATIVE:
        return Case(shifts=[difference(sample(a_TK), sample(b_TK))])
    found = growth(a_TK, b_TK)
    return Case(shifts=[found] if found else [], absent="" if found else f"{match.a.name} has none: no growth.")


def _case_of_score(match: _Match) -> Case:
    a, b = (run.results.at(rows) for run, rows in match.sides)
    both = int((a.sample.scored_N & b.sample.scored_N).sum()) if a.sample and b.sample else 0
    if both < 2:
        return Case(absent=_absence(match, "score", both))
    failed = any(run.results.failed for run, _ in match.sides)
    worlds = [(a, b), *([(a.with_zeros, b), (a, b.with_zeros), (a.with_zeros, b.with_zeros)] if failed else [])]
    return Case(shifts=[difference(x.sample, y.sample) for x, y in worlds if x.sample and y.sample])


def _absence(match: _Match, metric: str, both: int) -> str:
    if metric == "cost" and any(run.results.cost_usd is None for run, _ in match.sides):
        return "Prices or tokens are not known on both sides. Prices are part of the model's configuration."
    if metric == "no_answer" and not all(run.results.reports_answers for run, _ in match.sides):
        return "The verifier does not report the answers that it reads."
    return f"{both} task{'' if both == 1 else 's'} with a score on both sides; at least 2 are needed."


def _judgements(policy: Policy, cases: Mapping[str, Mapping[str, Case]]) -> dict[str, list[MetricRuling]]:
    """Returns the policy's ruling on each metric, by pair."""
    known = dict.fromkeys(metric for found in cases.values() for metric in found if metric.startswith(CATEGORY))
    judged: dict[str, list[MetricRuling]] = {name: [] for name in cases}
    for rule in rules(policy, [metric.removeprefix(CATEGORY) for metric in known]):
        asked = {
            name: found.get(rule.metric, Case(absent="No task of it is compared.")) for name, found in cases.items()
        }
        for name, judgement in judge(rule, asked, policy.over).items():
            judged[name].append(judgement)
    if not any(judged.values()):
        raise UsageError("the policy has no rule that applies: it is about categories, and the tasks have none")
    return judged


def _pair(
    name: str,
    match: _Match,
    cases: Mapping[str, Case],
    judgements: list[MetricRuling],
    p_holm: Mapping[str, Mapping[str, float]],
) -> Pair:
    changes = [_change(metric, case, p_holm[metric].get(name)) for metric, case in cases.items()]
    tasks, by_chance = _moved_tasks(match)
    one, two = match.a.record, match.b.record
    settings = _unequal(one.identity, two.identity)
    settings += [(f"{key}'s version", versions) for key, versions in _unequal(one.versions, two.versions)]
    return Pair(
        name=name,
        baseline=_side(match.a),
        candidate=_side(match.b),
        tasks=len(match.rows_a),
        left_out=match.left_out,
        differs=match.differs,
        settings=[f"{key}: {_short(mine)} → {_short(theirs)}" for key, (mine, theirs) in settings],
        changes=[change for change in changes if not change.metric.startswith(CATEGORY)],
        categories=[change for change in changes if change.metric.startswith(CATEGORY)],
        moved=tasks,
        beyond=sum(task.p <= BEYOND for task in tasks),
        beyond_by_chance=by_chance,
        notes=_notes(match, cases["score"]),
        judgements=judgements,
        verdict=worst(judgement.verdict for judgement in judgements) if judgements else None,
    )


def _side(run: _Run) -> Side:
    record = run.record
    return Side(
        name=run.name,
        folder=str(run.folder),
        model=record.model,
        benchmark=record.benchmark,
        version=record.version,
        tasks=record.tasks,
        started=record.started,
        summary=summarise(run.results),
    )


def _short(value: Any) -> str:
    """Returns the value in one line; of a digest the beginning."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if re.fullmatch("[0-9a-f]{64}", text):
        return text[:12]
    return text if len(text) <= 80 else f"{text[:77]}…"


def _change(metric: str, case: Case, p_holm: float | None) -> Change:
    if not case.shifts:
        return Change(metric=metric, absent=case.absent)
    shift = case.shifts[0]
    spreads = (shift.over_tasks, shift.over_reruns)
    intervals = [one and Interval(one.se, one.lower, one.upper, one.p) for one in spreads]
    return Change(
        metric=metric,
        baseline=shift.baseline,
        candidate=shift.candidate,
        shift=shift.shift,
        over_tasks=intervals[0],
        over_reruns=intervals[1],
        p_holm=p_holm,
        if_failures_zero=case.shifts[-1].shift if len(case.shifts) > 1 else None,
        tasks=shift.tasks,
        tasks_left_out=shift.tasks_left_out,
    )


def _moved_tasks(match: _Match) -> tuple[list[MovedTask], float]:
    """Returns the tasks with another mean, and how many would seem to move beyond their repeats by chance."""
    a_TK, b_TK = match.a.results.rewards_TK[match.rows_a], match.b.results.rewards_TK[match.rows_b]
    found: list[MovedTask] = []
    by_chance = 0.0
    for task, a_K, b_K in zip(match.tasks, a_TK, b_TK, strict=True):
        mine, theirs = a_K[~np.isnan(a_K)], b_K[~np.isnan(b_K)]
        if not mine.size or not theirs.size:
            continue
        p, chance = move_test(mine.tolist(), theirs.tolist())
        by_chance += chance
        if mine.mean() != theirs.mean():
            found.append(
                MovedTask(
                    task=task.id,
                    category=task.tags.get("category", ""),
                    baseline=float(mine.mean()),
                    candidate=float(theirs.mean()),
                    repeats=(mine.size, theirs.size),
                    p=p,
                )
            )
    found.sort(key=lambda task: (task.p > BEYOND, -abs(task.candidate - task.baseline)))
    return found, by_chance


def _notes(match: _Match, score: Case) -> list[str]:
    """Returns notes on owed and failed rollouts, and on how much these could matter."""
    notes = [f"{score.owed}: the same command makes them."] if score.owed else []
    failed = [f"{len(run.results.failed):,} of {run.name}" for run, _ in match.sides if run.results.failed]
    if failed:
        shifts = [f"{shift.shift * 100:+.1f}" for shift in score.shifts]
        effect = (
            f"; the score's shift is {shifts[0]} points without them, {shifts[-1]} if each were a zero"
            if shifts
            else ""
        )
        notes.append(f"Rollouts failed: {', '.join(failed)}{effect}.")
    return notes


def _both_ways(tasks: Sequence[MovedTask], most: int) -> list[MovedTask]:
    """Returns up to `most` tasks in the order given, worse and better ones in equal number if possible."""
    worse = [task for task in tasks if task.candidate < task.baseline]
    better = [task for task in tasks if task.candidate > task.baseline]
    few = min(len(worse), len(better), most // 2)
    kept = worse[: most - few] if len(worse) > len(better) else worse[:few]
    kept += better[: most - len(kept)]
    return sorted(kept, key=tasks.index)

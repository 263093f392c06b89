"""The first sentences of each section of the page."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from assay.fidelity.gates import GATE_ORDER, applicable
from assay.fidelity.schema.evidence import Review
from assay.fidelity.schema.profile import Gate, ModelSummary, Profile, Repeats, TaskRow, Verdict
from assay.report import charts
from assay.report.looks import Look
from assay.report.words import THIN, dollars, join, percent, plural, points, sample

_NUMBERS = {7: "seven", 8: "eight", 9: "nine", 10: "ten", 11: "eleven"}


@dataclass(frozen=True, slots=True)
class Headline:
    """The overall verdict of the gates that apply, the worst of them, and a line that says it."""

    verdict: Verdict
    line: str
    tally: dict[Verdict, int]


def verdict(gates: Sequence[Gate], *, original: bool = False) -> Headline:
    """Returns the headline of the gates that apply. A gate that is missing was not run."""
    gates_that_apply = applicable(gates, original=original)
    tally: Counter[Verdict] = Counter(gate.verdict for gate in gates_that_apply)
    names = {word: [gate.name for gate in gates_that_apply if gate.verdict == word] for word in get_args(Verdict)}
    counts: dict[Verdict, int] = {word: tally[word] for word in get_args(Verdict)}
    that_apply = " that apply" if len(gates_that_apply) < len(GATE_ORDER) else ""
    number = _NUMBERS.get(len(gates_that_apply), str(len(gates_that_apply)))
    passes = f"{tally['pass']} of {len(gates_that_apply)} gates{that_apply} pass"
    inconclusive = f"{join(names['inconclusive'])} {'is' if tally['inconclusive'] == 1 else 'are'} inconclusive"
    if names["fail"]:
        also = f", {inconclusive}" if names["inconclusive"] else ""
        fails = f"the gate {names['fail'][0]} fails" if len(names["fail"]) == 1 else f"{join(names['fail'])} fail"
        return Headline("fail", f"{passes}; {fails}{also}.", counts)
    if names["inconclusive"]:
        return Headline("inconclusive", f"No gate fails and {passes}; {inconclusive}.", counts)
    if tally["not run"] == len(gates_that_apply):
        return Headline("not run", f"None of the {number} gates{that_apply} was run.", counts)
    if tally["not run"]:
        line = f"No gate fails and {passes}; {tally['not run']} {'was' if tally['not run'] == 1 else 'were'} not run."
        return Headline("inconclusive", line, counts)
    return Headline("pass", f"All {number} gates{that_apply} pass.", counts)


def scores(models: Mapping[str, ModelSummary]) -> str:
    """Returns the best score with its interval, and the next."""
    ranking = sorted(
        ((model.score, name) for name, model in models.items() if model.score is not None), key=lambda pair: -pair[0]
    )
    if not ranking:
        return ""
    best, name = ranking[0]
    bounds = models[name].interval_run
    within = f" (95{THIN}% interval for running again: {charts.interval(bounds)})" if bounds else ""
    text = f"{name} scores {percent(best)}{within}."
    if len(ranking) == 1:
        return text
    return f"{text} The next, {ranking[1][1]}, scores {percent(ranking[1][0])}."


def repeats(outlook: Repeats | None) -> str:
    """Returns the SD of the score at the present repeats, and the repeats that it needs."""
    if outlook is None:
        return ""
    text = (
        f"At k = {outlook.k_set}, running {outlook.model} again moves its score by an SD of {points(outlook.sd_run)} "
        f"points, at most {points(outlook.sd_run_upper)}."
    )
    if outlook.k_star is None or outlook.k_upper is None:
        return text
    if outlook.k_upper <= outlook.k_set:
        return f"{text} That is below one point: {outlook.k_upper} would be enough."
    return (
        f"{text} For an SD of one point it needs {plural(outlook.k_star, 'repeat')} by the estimate, "
        f"{outlook.k_upper} to be sure."
    )


def difficulty(tables: Mapping[str, Sequence[TaskRow]]) -> str:
    """Returns how many tasks no model solves, and how many all models solve."""
    means = charts.task_means(tables)
    rows = [[mean for mean in row.values() if mean is not None] for row in means.values()]
    rows = [row for row in rows if row]
    if not rows:
        return ""
    never, always = sum(max(row) <= 0 for row in rows), sum(min(row) >= 1 for row in rows)
    return (
        f"Of {plural(len(means), 'task')}, no model ever scored on {never:,}; every model scored full marks each time "
        f"on {always:,}."
    )


def groups(models: Mapping[str, ModelSummary], looks: Mapping[str, Look]) -> str:
    """Returns the strongest model's best and worst group of tasks."""
    names = [name for name in looks if models[name].groups and models[name].score is not None]
    if not names:
        return ""
    name = max(names, key=lambda name: models[name].score or 0.0)
    outer = {group: row.score for group, row in models[name].groups.items() if " / " not in group}
    ranking = sorted(outer.items(), key=lambda item: item[1])
    if len(ranking) == 1:
        return f"All tasks are of one group, {ranking[0][0]}."
    (worst, low), (best, high) = ranking[0], ranking[-1]
    return f"The strongest, {name}, is best at {best} ({percent(high)}) and worst at {worst} ({percent(low)})."


def original(profile: Profile) -> str:
    """Returns the comparison with the original's score and code."""
    if not profile.parity and not profile.reproduced:
        if profile.original:
            return (
                "This benchmark is the original: there is no other code to compare it with, so that the gates "
                "reproduced and parity don't apply."
            )
        return "The original's results are not here yet."
    text: list[str] = []
    if profile.reproduced:
        got = sum(one.verdict in ("identical", "equivalent") for one in profile.reproduced)
        text.append(f"The original code gives {got} of {plural(len(profile.reproduced), 'published score')}.")
    words = {"inconclusive": "neither shown to be the same nor to differ", "not run": "not compared"}
    models: dict[str, list[str]] = {}
    for name, parity in profile.parity.items():
        models.setdefault(words.get(parity.verdict, parity.verdict), []).append(name)
    for what, names in models.items():
        whose = names[0] if len(names) == 1 else f"{len(names)} models"
        text.append(f"With the original code's results of {whose}, the benchmark here is {what}.")
    return " ".join(text)


def machines(profile: Profile, open_findings: int) -> str:
    """Returns the number of findings, and of open ones."""
    if not profile.findings:
        return ""
    models = len({finding.model for finding in profile.findings})
    return (
        f"{plural(len(profile.findings), 'finding')} in the rollouts of {plural(models, 'model')}, "
        f"{f'{open_findings:,} open' if open_findings else 'all settled'}. A finding is a reason to read, "
        "not a verdict."
    )


def suspects(profile: Profile) -> str:
    """Returns how many tasks are suspect, by sign."""
    if not profile.suspects:
        return ""
    signs = Counter(sign for one in profile.suspects for sign in one.signs)
    signs_in_words = join([f"{sign} {number:,}" for sign, number in signs.most_common()])
    likely = sum(one.suspicion > 0.5 for one in profile.suspects)
    return (
        f"{plural(len(profile.suspects), 'task')} of {profile.benchmark.tasks:,} "
        f"{'bears a sign' if len(profile.suspects) == 1 else 'bear signs'} of a flaw: {signs_in_words}. "
        f"The suspicion is above one half for {likely:,}."
    )


def readers(review: Review) -> str:
    """Returns how many rollouts are read, by whom, and the result."""
    if not review.made:
        return ""
    if not review.readers:
        return f"Nobody has read any of the {plural(review.left, 'rollout')} that have to be read."
    read = join([f"{name} read {one.read:,}" for name, one in review.readers.items()])
    if review.left:
        return f"{read}; {plural(review.left, 'rollout')} {'is' if review.left == 1 else 'are'} left."
    faults = f"{review.at_fault} of {review.sample} sampled rollouts {'is' if review.at_fault == 1 else 'are'} at fault"
    hits = join([f"{name} found {one.found} of {one.planted}" for name, one in review.readers.items() if one.planted])
    return f"{read}; {faults}. Of planted faults, {hits}."


def facts(profile: Profile) -> list[str]:
    """Returns the numbers of tasks, models, rollouts and failures for the line under the headline."""
    ran = [model for model in profile.models.values() if model.ran]
    rollouts, failures = sum(model.rollouts for model in ran), sum(model.failures for model in ran)
    return [
        sample(profile.benchmark.tasks, profile.benchmark.all_tasks) or plural(profile.benchmark.tasks, "task"),
        f"suite {profile.suite}",
        plural(len(ran), "model") + (f" of {len(profile.models)}" if len(ran) < len(profile.models) else ""),
        plural(rollouts, "scored rollout"),
        plural(failures, "failure"),
        *([dollars(sum(costs))] if (costs := [model.cost_usd for model in ran if model.cost_usd is not None]) else []),
    ]

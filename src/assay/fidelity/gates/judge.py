"""The judge gate: whether the model that scores answers scores them the same twice, and as people do."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from assay.fidelity.gates.rule import Facts, GateRule
from assay.fidelity.schema.judging import Judgement, JudgementKind, Judging
from assay.fidelity.schema.profile import Gate, Verdict
from assay.stats.agreement import Agreement, cohens_kappa, more_often

KAPPA = 0.6
"""The kappa with people that a judge has to exceed."""
LABELS = 60
"""The least number of blind labels, half of them of answers that the judge passes."""
OBEYS = 0.001
"""The p-value at which answers that command the judge are rewarded more often than the same ones without a command."""
COMPLETE = 0.9
"""The least share of judgements that must not be missing."""


def judge_gate(facts: Facts) -> Gate:
    """Returns the gate: does the judge score the same twice, and as people do? In this order:

    - does not apply if the benchmark has no judge; not run if the judge was not asked again.
    - inconclusive if the judgements are of another judge, other tasks or another rubric.
    - fail: wrong answers that command the judge are rewarded more often than without the command.
    - fail: the upper bound of kappa against people's labels is below .6. Pass: its lower bound is above.
    - inconclusive: fewer than 60 labels, or fewer than half of them of passing, or of failing answers.
    """
    if facts.judge is None:
        return Gate("judge", "not run", "The benchmark asks no judge.", applies=False)
    if (found := facts.judging) is None:
        return Gate("judge", "not run", "The judge was not asked again yet: that is done by `assay judge`.")
    if other := _other(facts, found):
        return Gate("judge", "inconclusive", f"What was asked again is {other}: give `assay judge` again.")
    agreement, second = _agreement_with_labels(found), _agreement_with_second(found)
    obeyed, tried = _count_rewarded(found, "injection")
    plain, tried_plain = _count_rewarded(found, "plain")
    p_obeys = more_often(obeyed, tried, plain, tried_plain)
    numbers = {
        **_noise(facts, found),
        "answers": len(found.panel.answers),
        "base_rate": found.panel.base_rate,
        "labels": 0 if agreement is None else agreement.count,
        "labels_passing": sum(one.passes for one in found.panel.answers if one.content in found.labels),
        "kappa": agreement and agreement.kappa,
        "kappa_interval": agreement and agreement.interval,
        "kappa_second": second and second.kappa,
        "kappa_second_interval": second and second.interval,
        "injections": tried,
        "injections_rewarded": obeyed,
        "plain_rewarded": plain,
        "p_obeys": p_obeys,
        "missing": _missing(found),
        "labelled_by": sorted({label.by for label in found.labels.values()}),
    }
    verdict, reason = _verdict(numbers)
    low = agreement.interval[0] if agreement and agreement.interval else 0.0
    bound = f"judge's kappa > {low:.2f}" if verdict == "pass" else ""
    unseen = f"It could not have seen an attack unlike the {tried} that were tried." if tried else ""
    return Gate("judge", verdict, f"{reason} {_words(numbers)}", numbers, unseen=unseen, bound=bound)


def _verdict(numbers: dict[str, Any]) -> tuple[Verdict, str]:
    labels, passing, interval = numbers["labels"], numbers["labels_passing"], numbers["kappa_interval"]
    obeyed, tried = numbers["injections_rewarded"], numbers["injections"]
    if numbers["p_obeys"] < OBEYS:
        without = f"{numbers['plain_rewarded']} without the command"
        return "fail", f"The judge obeys answers: it rewards {obeyed} of {tried} wrong ones that command it, {without}."
    if labels >= LABELS and interval is not None and interval[1] < KAPPA:
        return "fail", "The judge does not agree with people."
    if numbers["missing"] > (1 - COMPLETE) * (3 * numbers["answers"] + 2 * tried):
        return "inconclusive", f"{numbers['missing']} judgements are missing: give `assay judge` again."
    if labels < LABELS or min(passing, labels - passing) < LABELS // 2:
        got = f"{passing} of passing and {labels - passing} of failing answers"
        return "inconclusive", f"{labels} blind labels, {got}; expected {LABELS // 2} of each (`assay judge --label`)."
    if interval is None or interval[0] <= KAPPA:
        return "inconclusive", f"The labels don't show that kappa is above {KAPPA}: more are needed."
    return "pass", "The judge agrees with people, and obeys no answer."


def _words(numbers: dict[str, Any]) -> str:
    said = f"The same {numbers['answers']} answers judged again: W = {numbers['w_judge']:.4f} between judgements"
    if numbers["sd_rejudged_points"]:
        most = max(numbers["sd_rejudged_points"].values())
        said += f", which moves a score by {most:.2f} points (SD)"
    if numbers["kappa"] is not None and numbers["kappa_interval"] is not None:
        low, high = numbers["kappa_interval"]
        said += f"; Cohen's kappa against people {numbers['kappa']:.2f} ({low:.2f} to {high:.2f})"
    if numbers["kappa_second"] is not None:
        said += f", against a second judge {numbers['kappa_second']:.2f}"
    return f"{said}; {numbers['base_rate']:.0%} of all judged answers pass."


def _other(facts: Facts, found: Judging) -> str:
    """Returns in words why the judging is not of this profile; empty if it is."""
    panel = found.panel
    if panel.judge != facts.judge:
        return "another judge, or one with other settings"
    if facts.digests not in (("", ""), (panel.tasks_digest, panel.code)):
        return "of other tasks, or by another rubric or verifier"
    if found.lost:
        return f"of answers that the runs don't hold ({found.lost} of {found.lost + len(panel.answers)})"
    return ""


def _noise(facts: Facts, found: Judging) -> dict[str, Any]:
    """Returns W_judge: the mean variance between judgements of one answer, weighted by the shares that pass and fail.

    `se_run_points` is a model's error over re-runs with this added. It is an upper bound, because the spread of repeats
    includes the judge's noise already.
    """
    rewards: dict[str, list[float]] = {}
    for one in found.judgements:
        if one.kind == "again" and one.reward is not None:
            rewards.setdefault(one.content, []).append(one.reward)
    spread: dict[bool, list[float]] = {True: [], False: []}
    for answer in found.panel.answers:
        if len(again := rewards.get(answer.content, [])) > 1:
            spread[answer.passes].append(float(np.var(again, ddof=1)))
    rate = found.panel.base_rate
    shares = {True: rate, False: 1 - rate}
    known = {passes: shares[passes] for passes, values in spread.items() if values}
    w = sum(share * float(np.mean(spread[passes])) for passes, share in known.items()) / (sum(known.values()) or 1)
    sizes = {one.name: max(1, len(one.results.scored)) for one in facts.contenders}
    errors = {one.name: one.estimate.se_run for one in facts.contenders if one.results.scored}
    return {
        "w_judge": w,
        "sd_rejudged_points": {name: 100 * math.sqrt(w / size) for name, size in sizes.items()},
        "se_run_points": {name: 100 * math.sqrt(se**2 + w / sizes[name]) for name, se in errors.items()},
    }


def _agreement_with_labels(found: Judging) -> Agreement | None:
    """Returns the agreement of the judge with people, on the answers with a label."""
    pairs = [
        (found.labels[one.content].right, one.passes) for one in found.panel.answers if one.content in found.labels
    ]
    return _agreement(pairs)


def _agreement_with_second(found: Judging) -> Agreement | None:
    """Returns the agreement of the judge with the second one."""
    other = {one.content: one.reward for one in found.judgements if one.kind == "second" and one.reward is not None}
    return _agreement([(other[one.content] >= 0.5, one.passes) for one in found.panel.answers if one.content in other])


def _agreement(pairs: Sequence[tuple[bool, bool]]) -> Agreement | None:
    if not pairs:
        return None
    table_CC = np.zeros((2, 2), dtype=np.int64)
    for one, other in pairs:
        table_CC[int(one), int(other)] += 1
    return cohens_kappa(table_CC)


def _count_rewarded(found: Judging, kind: JudgementKind) -> tuple[int, int]:
    """Returns the number of rewarded answers of a kind, and of all judged ones."""
    rewards = [one.reward for one in _latest(found) if one.kind == kind and one.reward is not None]
    return sum(reward >= 0.5 for reward in rewards), len(rewards)


def _missing(found: Judging) -> int:
    return sum(one.reward is None for one in _latest(found))


def _latest(found: Judging) -> list[Judgement]:
    """Returns the last judgement of each, because a failed one may have been repeated."""
    return list({(one.kind, one.content, one.sample): one for one in found.judgements}.values())


GATE = GateRule(
    name="judge",
    question="Where a model scores: does it score the same twice, and as people do?",
    needs="`assay judge`, if the benchmark has a judge",
    of_facts=judge_gate,
)

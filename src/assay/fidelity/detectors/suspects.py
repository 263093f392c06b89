"""Tasks that may be wrong themselves, judged by the answers of all models.

There are four hypotheses about each task, and Bayes' rule gives their probabilities:

- sound: a model of strength s gives the gold answer with probability 1 / (1 + exp(d - s)), d being the task's
  difficulty (the Rasch model; strengths and the spread of difficulties are fitted to all tasks);
- wrong label: the same, but the right answer is the most common other one, and the gold one is a mistake like any;
- broken: no model can be right, whatever its strength;
- reversed: strong models do as weak ones should, and weak ones as strong ones should.

Two mistakes are the same answer with the probability c, which is fitted too. The repeats of a model make the same
mistakes, so k repeats count as k / (1 + (k - 1) / 2) votes, which is below two.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.fidelity.results.results import Results
from assay.fidelity.schema.evidence import SuspectTask
from assay.types import Task

Floats = NDArray[np.float64]

PRIOR = {"wrong label": 0.02, "broken": 0.01, "reversed": 0.005}
"""Prior probabilities; the rest of the tasks are sound."""
HYPOTHESES = ("sound", *PRIOR)
SIGNS = {"label suspect": "wrong label", "weak above strong": "reversed"}
"""The hypothesis of each sign."""
SIGN = 0.2
"""The probability at which a hypothesis becomes a sign."""
CLEAR = 0.05
"""Share of votes for the gold answer on a broken task, by luck."""
ROUNDS, SETTLED = 50, 1e-3
"""Strengths, spread and probabilities are fitted in turn: at most ROUNDS times, until none changes by SETTLED."""
_SPREADS = np.geomspace(0.5, 6, 12)
"""The SDs of difficulties to try, in logits."""
_NODES = np.linspace(-3.5, 3.5, 29)
"""The difficulties to average over, in SDs."""


@dataclass(frozen=True, slots=True)
class Votes:
    """The votes of M models on T tasks, with repeats weighted as `votes_of` does."""

    gold_TM: Floats
    """Votes for the gold answer."""
    other_TM: Floats
    """Votes for the most common other answer of the task."""
    rest_TM: Floats
    """Votes for any other answer, and for none."""
    others: list[str | None]
    """The most common other answer; None where no two models agree on one."""


def suspects(results: Mapping[str, Results]) -> list[SuspectTask]:
    """Returns the tasks with a sign of a flaw, the most suspicious first.

    `results` are by model, in any order: the strength of a model follows from its scores. The suspicion is the
    probability that the task is not sound. The signs:

    - `never solved`: no model ever had full marks;
    - `label suspect`: models that are mostly right agree on another answer than the gold one;
    - `weak above strong`: it is solved more by weak models than by strong ones.
    """
    scored = {name: one for name, one in results.items() if one.scored}
    if len(scored) < 2:
        return []  # what one model can't do says nothing of the task
    tasks = list({task.id: task for found in scored.values() for task in found.tasks}.values())
    votes = votes_of(tasks, scored)
    posterior = hypotheses(votes)
    rewards_MTK = [_rewards(tasks, one) for one in scored.values()]
    seen_MT = np.array([(~np.isnan(rewards_TK)).sum(axis=1) for rewards_TK in rewards_MTK])
    means_MT = np.array([np.nansum(rewards_TK, axis=1) for rewards_TK in rewards_MTK]) / np.maximum(seen_MT, 1)
    best_T = np.max([np.where(np.isnan(one), -np.inf, one).max(axis=1) for one in rewards_MTK], axis=0)
    suspicion_T = 1 - posterior["sound"]
    found: list[SuspectTask] = []
    order: list[int] = np.argsort(-suspicion_T, kind="stable").tolist()
    for index in order:
        task, signs = tasks[index], [sign for sign, name in SIGNS.items() if posterior[name][index] >= SIGN]
        if -np.inf < best_T[index] < 1:  # where no model has a score, nothing is known
            signs.insert(len({"label suspect"} & {*signs}), "never solved")
        if not signs:
            continue
        consensus = votes.others[index] if "label suspect" in signs else None
        by_model = zip(scored, means_MT[:, index].tolist(), seen_MT[:, index].tolist(), strict=True)
        found.append(
            SuspectTask(
                task=task.id,
                suspicion=float(suspicion_T[index]),
                signs=signs,
                reason=_reason(signs, consensus, task.gold, votes, index, list(scored)),
                means={name: mean if seen else None for name, mean, seen in by_model},
                gold=task.gold,
                consensus=consensus,
            )
        )
    return found


def hypotheses(votes: Votes) -> dict[str, Floats]:
    """Returns the probability of each hypothesis for each task, by its name: four arrays [T] that sum to 1."""
    total_TM = votes.gold_TM + votes.other_TM + votes.rest_TM
    shares_M = (votes.gold_TM.sum(axis=0) + 0.5) / (total_TM.sum(axis=0) + 1)
    strengths_M, spread, agree = np.log(shares_M / (1 - shares_M)), len(_SPREADS) // 2, _agreement(votes)
    posterior = np.tile([[1 - sum(PRIOR.values())], *([prior] for prior in PRIOR.values())], len(total_TM))
    for _ in range(ROUNDS):
        before, sound_T = posterior, posterior[0]
        near = range(max(0, spread - 1), min(len(_SPREADS), spread + 2))
        fits = {at: sound_T @ _rasch(votes.gold_TM, total_TM, strengths_M, _SPREADS[at])[0] for at in near}
        spread = max(fits, key=fits.__getitem__)
        strengths_M = _strengths(votes, total_TM, strengths_M, _SPREADS[spread], sound_T)
        posterior = _posteriors(votes, total_TM, strengths_M, _SPREADS[spread], agree)
        if np.abs(posterior - before).max() < SETTLED:
            break
    return dict(zip(HYPOTHESES, posterior, strict=True))


def votes_of(tasks: Sequence[Task], results: Mapping[str, Results]) -> Votes:
    """Returns the votes of each model on each task. A partial reward is a part of a vote for the gold answer."""
    index = {task.id: place for place, task in enumerate(tasks)}
    shape = len(tasks), len(results)
    counts_TM, gold_TM, other_TM = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    answers: list[dict[str, list[float]]] = [{} for _ in tasks]
    for m, found in enumerate(results.values()):
        places = [index[task.id] for task in found.tasks]
        counts_TM[places, m] = (~np.isnan(found.rewards_TK)).sum(axis=1)
        gold_TM[places, m] = np.nansum(np.clip(found.rewards_TK, 0, 1), axis=1)
        for cell in found.scored:
            missed = 1 - max(0.0, cell.reward or 0.0)
            if missed > 0 and cell.answer is not None:
                votes_M = answers[places[cell.task]].setdefault(cell.answer, [0.0] * len(results))
                votes_M[m] += missed
    others: list[str | None] = []
    for place, (said, counts_M) in enumerate(zip(answers, counts_TM.tolist(), strict=True)):
        # By how many models say it, however often each does.
        shares = {
            answer: sum(votes / max(count, 1) for votes, count in zip(votes_M, counts_M, strict=True))
            for answer, votes_M in said.items()
        }
        other = max(shares, key=shares.__getitem__, default=None)
        agreed = other is not None and sum(votes > 0 for votes in said[other]) >= 2
        others.append(other if agreed else None)
        if agreed and other is not None:
            other_TM[place] = said[other]
    weight_TM = np.where(counts_TM > 0, 1 / (1 + (counts_TM - 1) / 2), 0.0)
    rest_TM = counts_TM - gold_TM - other_TM
    return Votes(gold_TM * weight_TM, other_TM * weight_TM, rest_TM * weight_TM, others)


def _posteriors(votes: Votes, total_TM: Floats, strengths_M: Floats, spread: float, agree: float) -> Floats:
    """Returns the posterior probability of each hypothesis, [4, T]."""
    gold_TM, other_TM, rest_TM = votes.gold_TM, votes.other_TM, votes.rest_TM
    log_agree, log_apart = np.log(agree), np.log1p(-agree)
    mistakes_T = (other_TM * log_agree + rest_TM * log_apart).sum(axis=1)
    relabelled_T = (gold_TM * log_agree + rest_TM * log_apart).sum(axis=1)
    reversed_M = 2 * strengths_M.mean() - strengths_M
    broken_T = (gold_TM * np.log(CLEAR) + (total_TM - gold_TM) * np.log1p(-CLEAR)).sum(axis=1)
    label_T = _rasch(other_TM, total_TM, strengths_M, spread)[0] + relabelled_T
    label_T[[other is None for other in votes.others]] = -np.inf
    logs = np.array(
        [
            _rasch(gold_TM, total_TM, strengths_M, spread)[0] + mistakes_T,
            label_T,
            broken_T + mistakes_T,
            _rasch(gold_TM, total_TM, reversed_M, spread)[0] + mistakes_T,
        ]
    )
    logs += np.log([1 - sum(PRIOR.values()), *PRIOR.values()])[:, None]
    weights = np.exp(logs - logs.max(axis=0))
    return weights / weights.sum(axis=0)


def _rasch(right_TM: Floats, total_TM: Floats, strengths_M: Floats, spread: float) -> tuple[Floats, Floats]:
    """Returns each task's log-likelihood [T], averaged over difficulties, and the difficulty's posterior [T, nodes]."""
    logits_MD = strengths_M[:, None] - spread * _NODES[None, :]
    prior_D = -(_NODES**2) / 2
    prior_D -= np.log(np.exp(prior_D).sum())
    logs_TD = right_TM @ -np.logaddexp(0, -logits_MD) + (total_TM - right_TM) @ -np.logaddexp(0, logits_MD) + prior_D
    top_T = logs_TD.max(axis=1, keepdims=True)
    weights_TD = np.exp(logs_TD - top_T)
    sums_T = weights_TD.sum(axis=1, keepdims=True)
    return (top_T + np.log(sums_T))[:, 0], weights_TD / sums_T


def _strengths(votes: Votes, total_TM: Floats, strengths_M: Floats, spread: float, sound_T: Floats) -> Floats:
    """Returns the strengths after a Newton step on tasks that look sound, bounded because a model may be perfect."""
    _, nodes_TD = _rasch(votes.gold_TM, total_TM, strengths_M, spread)
    p_MD = 1 / (1 + np.exp(spread * _NODES[None, :] - strengths_M[:, None]))
    expected_M = np.einsum("t,tm,td,md->m", sound_T, total_TM, nodes_TD, p_MD)
    slope_M = np.einsum("t,tm,td,md->m", sound_T, total_TM, nodes_TD, p_MD * (1 - p_MD))
    step_M = (sound_T @ votes.gold_TM - expected_M) / np.maximum(slope_M, 1e-6)
    return np.clip(strengths_M + np.clip(step_M, -1, 1), -12, 12)


def _agreement(votes: Votes) -> float:
    """Returns the share of mistakes that are their task's most common one, between 2 % and 90 %.

    It is computed from all tasks, as if all were sound. Models make the same mistake if it is an obvious one, and a few
    models don't show whether that or a wrong label is the reason. Without these tasks, each of them would look suspect.
    """
    other, rest = float(votes.other_TM.sum()), float(votes.rest_TM.sum())
    return min(0.9, max(0.02, (other + 1) / (other + rest + 10)))


def _reason(
    signs: Sequence[str], consensus: str | None, gold: str | None, votes: Votes, index: int, names: Sequence[str]
) -> str:
    said: list[str] = []
    if "label suspect" in signs:
        agreeing = [name for name, votes in zip(names, votes.other_TM[index], strict=True) if votes]
        other = f"gold is {_short(gold)}" if gold is not None else "which is not rewarded"
        said.append(f"{', '.join(agreeing)} agree on {_short(consensus)}, {other}: see which is right.")
    if "weak above strong" in signs:
        said.append("Weak models solve it more often than strong ones: the strong may read it in another way.")
    if "never solved" in signs and not said:
        said.append("No model ever had full marks: too hard, or not to be solved as it stands.")
    return " ".join(said)


def _rewards(tasks: Sequence[Task], results: Results) -> Floats:
    """Returns the rewards of these tasks [T, K], NaN for a task that the run does not have."""
    index = {task.id: place for place, task in enumerate(tasks)}
    rewards_TK = np.full((len(tasks), results.repeats), np.nan)
    rewards_TK[[index[task.id] for task in results.tasks]] = results.rewards_TK
    return rewards_TK


def _short(text: str | None) -> str:
    line = " ".join((text or "nothing").split())
    return line if len(line) <= 60 else line[:60] + "…"

"""The kinds gate: whether the benchmark works for instruct and thinking models by configuration alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assay.fidelity.gates.rule import FAILS, SHOWN, Facts, GateRule
from assay.fidelity.results.contender import RATE_LIMIT, Contender, measured_models
from assay.fidelity.results.independence import DRIFT
from assay.fidelity.schema.evidence import Explanation
from assay.fidelity.schema.profile import Gate, RolloutRef, Verdict
from assay.stats.distributions import binomial_lower, binomial_tail, binomial_upper

CONFIDENCE = 0.95
"""The confidence of each one-sided bound."""
DETECTORS = {"failures": "failed:", "no_answer": "no_answer", "token_cap": "token_cap"}
"""The detector whose explanation explains a rate; that of failures ends in where and kind."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How often failures, missing answers or token caps happened in a model's rollouts."""

    contender: Contender
    what: str
    count: int
    of: int
    explained: tuple[Explanation, ...] = ()

    @property
    def share(self) -> float:
        return self.count / self.of

    @property
    def upper(self) -> float:
        return binomial_upper(self.count, self.of, CONFIDENCE)

    @property
    def lower(self) -> float:
        return binomial_lower(self.count, self.of, CONFIDENCE)

    @property
    def p_fail(self) -> float:
        """The p-value of "it happens in less than 5 %"."""
        return 1.0 if self.explained else binomial_tail(self.count, self.of, RATE_LIMIT)

    @property
    def words(self) -> str:
        said = f"{self.contender.name} ({self.contender.kind}): {self.what.replace('_', ' ')} {self.share:.1%}"
        return said + "".join(f", explained by {one.by}: {one.note}" for one in self.explained)


def rates_of(contender: Contender, explained: Sequence[Explanation] = (), models: int = 1) -> list[Rate]:
    """Returns the rates of failures, token caps and missing answers of a model.

    The count is over the rollouts that were made; over each task's first one where repeats are not independent, as the
    bounds need independent rollouts: tested at .005 over all `models` with repeats, as the repeats gate does. An
    explanation counts for up to twice the share that it explained.
    """
    found: list[Rate] = []
    dependent = contender.results.independence_at(DRIFT / models).verdict == "dependent"
    for what, detector in DETECTORS.items():
        happened_TK = contender.results.figures_TK(what)
        made_TK = ~np.isnan(happened_TK)
        if dependent:
            made_TK &= made_TK.cumsum(axis=1) == 1
        happened_N = happened_TK[made_TK]
        if happened_N.size:
            count = int(happened_N.sum())
            mine = [
                one
                for one in explained
                if one.detector.startswith(detector) and (one.share is None or count <= 2 * one.share * happened_N.size)
            ]
            found.append(Rate(contender, what, count, happened_N.size, tuple(mine)))
    return found


def kinds_gate(
    contenders: Sequence[Contender],
    suite_kinds: set[str],
    explained: Mapping[str, Sequence[Explanation]] | None = None,
) -> Gate:
    """Returns the gate: does it work for instruct and thinking models alike?

    It passes if each rate of each model has a one-sided 95 % bound (Clopper-Pearson) below 5 %, or is explained; it
    fails if one has a lower bound of 5 % or more, at 5 % over all of them. `explained` are persons' explanations by
    model.
    """
    if not contenders:
        return Gate("kinds", "not run", "No instruct or thinking model has run.")
    scored = [one for one in contenders if one.results.scored]
    several = max(1, sum(one.results.repeats > 1 for one in scored))
    rates = [rate for one in scored for rate in rates_of(one, (explained or {}).get(one.name, ()), several)]
    kinds = {one.kind for one in scored}
    numbers: dict[str, Any] = {"limit": RATE_LIMIT, "kinds": sorted(kinds), "rates": {}}
    for rate in rates:
        figures = {"rate": rate.share, "lower": rate.lower, "upper": rate.upper, "of": rate.of}
        numbers["rates"].setdefault(rate.contender.name, {})[rate.what] = figures
    over = [rate for rate in rates if rate.upper >= RATE_LIMIT]
    unclear = [rate for rate in over if not rate.explained]
    used = [one for rate in over for one in rate.explained]
    shown = [ref for rate in over for ref in _rollouts(rate)][:SHOWN]
    p_fail = min(1.0, max(1, len(rates)) * min((rate.p_fail for rate in rates), default=1.0))
    verdict, reason = _verdict(contenders, rates, unclear, kinds, suite_kinds, p_fail)
    if verdict == "pass" and used:
        reason += f" Explained: {'; '.join(rate.words for rate in over)}."
    return Gate("kinds", verdict, reason, numbers, shown, _blind_spots(rates), "", used, p_fail)


def _verdict(
    contenders: Sequence[Contender],
    rates: Sequence[Rate],
    unclear: Sequence[Rate],
    kinds: set[str],
    suite_kinds: set[str],
    p_fail: float,
) -> tuple[Verdict, str]:
    """Returns the verdict and the reason."""
    if p_fail <= FAILS:
        above = [rate for rate in rates if len(rates) * rate.p_fail <= FAILS]
        return "fail", f"Unexplained, above {RATE_LIMIT:.0%}: {'; '.join(rate.words for rate in above)}."
    if silent := [one.name for one in contenders if not one.results.scored]:
        return "inconclusive", f"Nothing is known of {', '.join(silent)}: no rollout has a score, only failures."
    if unclear:
        happened = "; ".join(rate.words for rate in unclear if rate.count) or "none happened"
        fewest, upper = min(rate.of for rate in unclear), max(rate.upper for rate in unclear)
        return "inconclusive", (
            f"By {fewest:,} rollouts, rates of failures, missing answers or token caps may be up to {upper:.1%}, which "
            f"is not clear of {RATE_LIMIT:.0%} ({happened}). Make more repeats, or explain it in `assay review`."
        )
    if missing := {"instruct", "thinking"} - kinds:
        why = "is not in the suite" if missing - suite_kinds else "has not run"
        return "inconclusive", f"No {' or '.join(sorted(missing))} model: that kind {why}."
    worst = max((rate.upper for rate in rates if not rate.explained), default=0.0)
    return "pass", (
        "Both kinds ran by configuration alone. Failures, missing answers and token caps are each below "
        f"{RATE_LIMIT:.0%} for every model: at most {worst:.1%} (one-sided 95 % bound)."
    )


def _blind_spots(rates: Sequence[Rate]) -> str:
    """Returns the smallest rate that the model with the fewest rollouts would have shown with 80 %."""
    if not rates:
        return ""
    fewest = min(rate.of for rate in rates)
    most = next((count for count in range(fewest) if binomial_upper(count, fewest, CONFIDENCE) >= RATE_LIMIT), 0)
    smallest = binomial_upper(most - 1, fewest, 0.8) if most else 0.0
    noticed = f"It would have noticed, with 80 %, a model with a rate of {smallest:.1%}. " if most else ""
    return f"{noticed}It does not see an answer that is read wrongly."


def _rollouts(rate: Rate) -> list[RolloutRef]:
    one = rate.contender
    places: list[list[int]] = np.argwhere(one.results.figures_TK(rate.what) == 1).tolist()
    return [RolloutRef(one.name, one.results.tasks[task].id, repeat) for task, repeat in places[:SHOWN]]


def _kinds(facts: Facts) -> Gate:
    # How the gates' own models fail says nothing of the kinds: null gives no answer on purpose.
    measured = measured_models(facts.suite, facts.contenders)
    return kinds_gate(
        measured,
        {member.kind for member in facts.suite.models.values()},
        {name: found.explained for name, found in facts.review.models.items()},
    )


GATE = GateRule(
    name="kinds",
    question="Does it work for instruct and thinking models alike?",
    needs="the runs",
    of_facts=_kinds,
    waits=True,
)

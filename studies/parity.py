"""Does parity tell systems that are the same from systems that are not?"""

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from assay.fidelity.original.parity import verdict_of
from assay.fidelity.schema.evidence import Rung, RungName, RungResult
from assay.stats.compare import EquivalenceResult, equivalence, repeats_to_decide
from assay.stats.sample import sample
from studies.draw import ENDS, EVEN, HARD, Floats, Kind, generator_of, move
from studies.row import UNCLAIMED, Claim, Row, at_least, at_most, share

MARGIN = 0.02

EQUAL, AT, QUARTER, TWICE = 0.0, 1.0, 1.25, 2.0
"""True differences, in margins."""

MISSES: dict[float, tuple[str, Claim]] = {
    AT: ("exactly the margin", at_most(0.05)),
    QUARTER: ("1.25 times the margin", at_most(0.05)),
    TWICE: ("twice the margin", at_most(0.01)),
}


def parity(trials: int) -> Iterator[Row]:
    """Two one-sided tests on samples of both sides: 4 repeats each, then as many as these ask for."""
    for tasks, margin, kind in ((30, 0.05, EVEN), (198, MARGIN, ENDS), (500, MARGIN, EVEN), (1319, MARGIN, HARD)):
        where = f"{tasks:,} tasks, margin {100 * margin:g} points, {kind.name}"
        raised = _decide(where, EQUAL, tasks, margin, kind, trials, fresh=False)
        fresh = _decide(where, EQUAL, tasks, margin, kind, trials, fresh=True)
        yield share(f"equal systems called equivalent: {where}", _are(raised, "equivalent"), at_least(0.8))
        yield share(f"the same, all repeats made anew: {where}", _are(fresh, "equivalent"), at_least(0.8))
        yield share(f"equal systems called different: {where}", _are(raised, "different"), at_most(0.05))
        for margins, (what, claim) in MISSES.items():
            verdicts = _decide(where, margins, tasks, margin, kind, trials, fresh=False)
            yield share(f"{what} apart, called equivalent: {where}", _are(verdicts, "equivalent"), claim)
    yield from _without_repeats(trials)


def _without_repeats(trials: int) -> Iterator[Row]:
    """One repeat a side, or on the original's side alone: W is bounded by p (1 - p)."""
    for tasks, k_a, k_b, margin, kind in ((1319, 1, 1, 0.05, EVEN), (1319, 1, 4, 0.03, ENDS), (198, 1, 8, 0.05, EVEN)):
        where = f"{tasks:,} tasks, {k_a} repeat against {k_b}, margin {100 * margin:g} points, {kind.name}"
        for margins in (EQUAL, AT, TWICE):
            what, claim = MISSES.get(margins, ("no margin", UNCLAIMED))
            generator = generator_of(f"{where} {margins}")
            verdicts: list[EquivalenceResult] = [
                equivalence(sample(a_TK[:, :k_a]), sample(b_TK[:, :k_b]), margin).verdict
                for a_TK, b_TK in _pairs(generator, kind, tasks, max(k_a, k_b), margins * margin, trials)
            ]
            yield share(f"{what} apart, called equivalent: {where}", _are(verdicts, "equivalent"), claim)
            if margins == AT:
                yield share(f"{what} apart, called different: {where}", _are(verdicts, "different"), at_most(0.05))


def parity_by_repeats(trials: int) -> Iterator[Row]:
    """The same 198 tasks at more and more repeats, beside the rule that the ranges of both sides' runs overlap."""
    kind, tasks = ENDS, 198
    decides = repeats_to_decide(2 * 0.4 / 6, tasks, MARGIN)  # E[p (1 - p)] of ENDS is .4 / 6
    ks = (2, 4, 8, decides, 2 * decides, 4 * decides)
    passed: dict[float, list[Row]] = {}
    for margins, (what, claim) in MISSES.items():
        for k in ks:
            generator, passes, overlaps = generator_of(f"curve {margins} {k}"), [], []
            for a_TK, b_TK in _pairs(generator, kind, tasks, k, margins * MARGIN, trials):
                passes.append(equivalence(sample(a_TK), sample(b_TK), MARGIN).verdict == "equivalent")
                overlaps.append(_ranges_overlap(a_TK, b_TK))
            row = share(f"{what} apart, called equivalent: {k} repeats a side", passes, claim)
            passed.setdefault(margins, []).append(row)
            yield row
            if margins == TWICE:
                yield share(f"for contrast, {what} apart, ranges overlap: {k} repeats a side", overlaps)
    for margins, (what, _) in MISSES.items():
        yield _largest_rise(f"largest rise of false passes with more repeats, from 2 on: {what}", passed[margins])
        if margins > AT:
            late = passed[margins][ks.index(decides) :]
            yield _largest_rise(f"the same from {decides} repeats on, which k_to_decide asks for: {what}", late)


def one_verifier_for_another(trials: int) -> Iterator[Row]:
    """The whole ladder between equal models: the same outputs under two verifiers, then fresh samples of each side."""
    for tasks, k in ((198, 16), (1319, 3)):
        for rate in (0.0, 0.001, 0.01):
            where = f"verifiers that differ on {100 * rate:g} % of items, {tasks:,} tasks × {k}"
            generator, seen, caught, passed = generator_of(where), [], [], []
            for a_TK, b_TK in _pairs(generator, ENDS, tasks, k, 0.0, trials):
                frozen = "different" if (generator.random(a_TK.shape) < rate).any() else "identical"
                fresh_TK = np.where(generator.random(b_TK.shape) < rate, 1 - b_TK, b_TK)
                fresh = equivalence(sample(a_TK), sample(fresh_TK), MARGIN).verdict
                ladder = [_rung("verifiers", frozen), _rung("samples", fresh)]
                seen.append(frozen == "different")
                caught.append(fresh == "different")
                passed.append(verdict_of(ladder)[0] == "equivalent")
            missed = round((1 - rate) ** (tasks * k), 4)
            yield share(f"seen on frozen outputs: {where}", seen, (1 - missed, 1 - missed))
            yield share(f"called different on fresh samples: {where}", caught, at_most(0.05))
            yield share(f"the ladder says equivalent: {where}", passed, at_most(missed) if rate else at_least(0.8))


def _rung(name: RungName, verdict: RungResult) -> Rung:
    return Rung(name=name, verdict=verdict, reason="")


def _decide(
    where: str, margins: float, tasks: int, margin: float, kind: Kind, trials: int, *, fresh: bool
) -> list[EquivalenceResult]:
    """Four repeats a side; where they do not decide, as many as they ask for: by more of them, or by fresh ones."""
    generator = generator_of(f"parity {where} {margins} {fresh}")
    verdicts: list[EquivalenceResult] = []
    for _ in range(trials):
        a_T, b_T = _sides(kind, generator, tasks, margins * margin)
        a_TK, b_TK = kind.rewards(generator, a_T, 4), kind.rewards(generator, b_T, 4)
        found = equivalence(sample(a_TK), sample(b_TK), margin)
        k = found.k_to_decide or 1
        if fresh or (found.verdict == "inconclusive" and k > 4):
            made = 0 if fresh else 4
            more_a_TK, more_b_TK = (kind.rewards(generator, rates_T, max(2, k) - made) for rates_T in (a_T, b_T))
            found = equivalence(
                sample(np.hstack((a_TK[:, :made], more_a_TK))),
                sample(np.hstack((b_TK[:, :made], more_b_TK))),
                margin,
                [] if fresh else [found.se],
            )
        verdicts.append(found.verdict)
    return verdicts


def _are(verdicts: Sequence[EquivalenceResult], verdict: EquivalenceResult) -> list[bool]:
    return [found == verdict for found in verdicts]


def _sides(kind: Kind, generator: np.random.Generator, tasks: int, difference: float) -> tuple[Floats, Floats]:
    """Both sides' solve rates on the same tasks, whose means are so far apart."""
    rates_T = kind.rates(generator, tasks)
    return rates_T, move(rates_T, -difference)


def _pairs(
    generator: np.random.Generator, kind: Kind, tasks: int, k: int, difference: float, trials: int
) -> Iterator[tuple[Floats, Floats]]:
    for _ in range(trials):
        a_T, b_T = _sides(kind, generator, tasks, difference)
        yield kind.rewards(generator, a_T, k), kind.rewards(generator, b_T, k)


def _ranges_overlap(a_TK: Floats, b_TK: Floats) -> bool:
    a_K, b_K = a_TK.mean(axis=0), b_TK.mean(axis=0)
    return bool(a_K.min() <= b_K.max() and b_K.min() <= a_K.max())


def _largest_rise(what: str, rows: list[Row]) -> Row:
    """From one number of repeats to the next; below 0 where false passes only ever fall."""
    rises = [(b.measured - a.measured, math.hypot(a.error, b.error)) for a, b in itertools.pairwise(rows)]
    rise, error = max(rises)
    return Row(what, at_most(0.0), rise, error, rows[0].trials)

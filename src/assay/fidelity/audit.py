"""An audit: runs some tasks of a certificate again on the same model, and compares the scores with the certified
ones."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from assay.benchmark import Benchmark
from assay.benchmark.code import score_code
from assay.collect.run import tasks_of
from assay.digest import changed_files, tasks_digest
from assay.errors import DigestMismatch, UnknownName, UsageError
from assay.fidelity.certificate.description import some
from assay.fidelity.certificate.facts import short
from assay.fidelity.certificate.schema import Certificate
from assay.fidelity.certificate.seal import read_sealed, results_of
from assay.fidelity.certificate.validity import certified_files, check_files, read_certificate
from assay.fidelity.results.results import Results
from assay.fidelity.results.results import read as read_results
from assay.stats.distributions import normal_quantile
from assay.stats.paired import difference
from assay.stats.sample import sample

ALPHA = 0.01
"""The p-value at which an audit contradicts a certificate. It is low because another audit is cheaper than a false
accusation."""
LARGEST = 0.3
"""An audit that could miss a larger forgery than this share is inconclusive."""
MISSING = 0.1
"""The share of the drawn tasks that may lack a score."""
FEWEST = 10
_Z80 = normal_quantile(0.8)


class CertifiedRewards(Struct, frozen=True, kw_only=True):
    """The certified rewards of one model, task by task."""

    tasks: list[str]
    rewards_TK: Any
    """NaN if a rollout has no score."""


class Audit(Struct, frozen=True, kw_only=True):
    """The result of an audit: `audit.json`. Scores are shares."""

    verdict: Literal["consistent", "contradicts", "inconclusive"]
    reason: str
    certificate: str
    """Its digest."""
    benchmark: str
    version: str
    model: str
    seed: int
    """The auditor's seed, which draws the tasks."""
    drawn: int
    tasks: int
    """The number of drawn tasks with a score on both sides. All later fields are about these."""
    missing: list[str]
    """The other drawn tasks. Nothing is known about them: a failure is never a zero."""
    recorded: float | None = None
    fresh: float | None = None
    shift: float | None = None
    """fresh - recorded."""
    interval: tuple[float, float] | None = None
    """95 %, of the shift."""
    p: float | None = None
    """Of "there is no shift", two-sided."""
    smallest: float | None = None
    """The smallest forgery of the mean that it would have found with a probability of 80 %."""
    differs: list[str] = []
    """The settings of the model that are not the certified ones, a line each."""
    tokens: dict[str, int] = {}
    cost_usd: float | None = None
    """The cost of the audit. Null without prices."""


def load_certificate(path: Path, folder: Path | None = None) -> tuple[Certificate, Path]:
    """Returns a certificate and the folder of its evidence. Raises UsageError if it is forged."""
    certificate, own = read_certificate(path)
    folder = folder or path.parent
    files = check_files(folder, certificate) if certificate else own
    if certificate is None or "forged" in (own.answer, files.answer):
        wrong = own if own.answer == "forged" else files
        raise UsageError(f"{path} is forged, so there is nothing to audit: {wrong.reason}")
    return certificate, folder


def recorded_of(certificate: Certificate, folder: Path, model: str) -> CertifiedRewards:
    """Returns the certified rewards of a model. Raises UsageError if it did not run."""
    ran = [name for name, one in certificate.models.items() if one.run]
    if model not in ran:
        raise UnknownName("model that ran in this certificate", model, ran)
    if certificate.sealed:
        public = results_of(read_sealed(folder), certificate.benchmark)[model]
        return CertifiedRewards(tasks=[task.id for task in public.tasks], rewards_TK=public.rewards_TK)
    with certified_files(folder, certificate) as place:
        found = read_results(place / "runs" / model, cached=False)
    return CertifiedRewards(tasks=[task.id for task in found.tasks], rewards_TK=found.rewards_TK)


def check_benchmark(certificate: Certificate, benchmark: Benchmark) -> None:
    """Raises DigestMismatch if a benchmark is not the certified one."""
    then, tasks = certificate.benchmark, tasks_of(benchmark, certificate.benchmark.selection)
    changed = ["its tasks"] if tasks_digest(tasks) != then.tasks_digest else []
    changed += changed_files(then.sources, score_code(benchmark))
    if changed:
        raise DigestMismatch(
            f"{benchmark.name} is not the benchmark that was certified: {some(changed)}; name that one by --benchmark"
        )


def draw(tasks: Sequence[str], count: int, seed: int) -> tuple[str, ...]:
    """Returns the ids of tasks drawn by a seed; the first 60 of 120 are the 60 of a smaller draw. Raises UsageError."""
    if count < FEWEST:
        raise UsageError(f"--sample {count}: expected at least {FEWEST} tasks")
    keys = {task: hashlib.blake2b(f"audit/{seed}/{task}".encode(), digest_size=8).digest() for task in tasks}
    return tuple(sorted(tasks, key=keys.__getitem__)[:count])


def differences(certified: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Returns the differences between two identities of a model, a line each."""
    names = sorted(certified.keys() | now.keys())
    pairs = ((name, certified.get(name), now.get(name)) for name in names)
    return [f"{name}: {short(was)} certified, {short(here)} here" for name, was, here in pairs if was != here]


def smallest_forgery(se: float, tasks: int, span: float, alpha: float = ALPHA) -> float:
    """Returns the share f of tasks from which on forged rewards are found with a probability of 80 %.

    A forged reward is off by the whole span. f span = (z(alpha / 2) + z(.8)) sqrt((s^2 + f (1 - f) span^2) / T), where
    s is the SD of the differences without a forgery. Infinite if no share would be found.
    """
    z = normal_quantile(1 - alpha / 2) + _Z80
    noise = tasks * (se / span) ** 2

    def room(share: float) -> float:
        return share - z * math.sqrt((noise + share * (1 - share)) / tasks)

    low, high = 0.0, 1.0
    if room(high) < 0:
        return math.inf
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if room(middle) >= 0 else (middle, high)
    return high * span


def audit(
    certificate: Certificate,
    model: str,
    recorded: CertifiedRewards,
    fresh: Results,
    *,
    seed: int,
    identity: Mapping[str, Any],
) -> Audit:
    """Returns whether fresh scores of some tasks agree with the certified ones."""
    rows = {task: row for row, task in enumerate(recorded.tasks)}
    ids = [task.id for task in fresh.tasks]
    recorded_TK: NDArray[np.float64] = recorded.rewards_TK[[rows[task] for task in ids]]
    both_T = (~np.isnan(recorded_TK)).any(axis=1) & (~np.isnan(fresh.rewards_TK)).any(axis=1)
    about: dict[str, Any] = {
        "certificate": certificate.digest,
        "benchmark": certificate.benchmark.name,
        "version": certificate.benchmark.version,
        "model": model,
        "seed": seed,
        "drawn": len(ids),
        "tasks": int(both_T.sum()),
        "missing": [ids[row] for row in np.flatnonzero(~both_T)],
        "differs": differences(certificate.models[model].identity, identity),
        "tokens": fresh.tokens,
        "cost_usd": fresh.cost_usd,
    }
    if about["tasks"] < FEWEST:
        reason = f"{about['tasks']} tasks have a score on both sides; expected at least {FEWEST}."
        return Audit(verdict="inconclusive", reason=reason, **about)
    low, high = certificate.benchmark.score.range
    shift = difference(
        sample(recorded_TK[both_T], low=low, high=high), sample(fresh.rewards_TK[both_T], low=low, high=high)
    )
    spread = shift.over_tasks
    smallest = smallest_forgery(spread.se, spread.tasks, high - low)
    verdict, reason = judge(shift.shift, spread.p, smallest / (high - low), len(about["missing"]) / len(ids))
    return Audit(
        verdict=verdict,
        reason=reason,
        recorded=shift.baseline,
        fresh=shift.candidate,
        shift=shift.shift,
        interval=(spread.lower, spread.upper),
        p=spread.p,
        smallest=smallest if math.isfinite(smallest) else None,
        **about,
    )


def judge(
    shift: float, p: float, smallest: float, missing: float
) -> tuple[Literal["consistent", "contradicts", "inconclusive"], str]:
    """Returns the verdict of an audit and its reason. `smallest` and `missing` are shares."""
    above = "below" if shift < 0 else "above"
    if p < ALPHA:
        return "contradicts", (
            f"Fresh scores are {100 * abs(shift):.1f} points {above} the recorded ones, which chance does not do "
            f"(p = {p:.2g}): the record is forged, or this is another model, another server or another setting."
        )
    if missing > MISSING:
        return "inconclusive", f"{missing:.0%} of the drawn tasks have no score on one side: nothing is known of them."
    if p < 0.05:
        return "inconclusive", f"Chance does that in one audit of {1 / p:.0f}: draw more tasks by --sample."
    if smallest > LARGEST:
        size = f"{100 * smallest:.0f} points" if math.isfinite(smallest) else "any size"
        return "inconclusive", f"It can miss a forgery of {size}: draw more tasks by --sample, or ask more --repeats."
    return "consistent", "Fresh scores are what is recorded, as far as so many tasks can tell."

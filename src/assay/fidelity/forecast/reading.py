"""Simulates a careful reader of rollouts, by the rules of `assay review`."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from assay.fidelity.forecast.simulation import Bools, Generator, Rollouts
from assay.fidelity.review.plants import KINDS
from assay.fidelity.review.review import reading_minutes
from assay.fidelity.review.sample import LONG, LONG_RULE, PASSING, SHORT_RULE, failing_quota
from assay.fidelity.schema.evidence import Mark, Reader, Review
from assay.stats.distributions import binomial_lower, binomial_upper

SIGHT = 0.97
"""The share of faults that the reader finds."""
FALSE = 0.01
"""The share of sound rollouts in which the reader reports a fault, which a second look corrects."""


def read_through(generator: Generator, made: Mapping[str, Rollouts], wrong: Mapping[str, Bools]) -> Review:
    """Returns the review of a profile after the reader has read all that has to be read.

    `wrong` says which rollouts have a wrong reward. The reader reads the main sample, each model's quota and the
    planted faults; findings and suspect tasks are left out.
    """
    scored = {name: ~np.isnan(one.rewards_TK) for name, one in made.items()}
    model_N = np.repeat(np.arange(len(made)), [int(seen.sum()) for seen in scored.values()])
    failing_N = np.concatenate([one.rewards_TK[scored[name]] < 1 for name, one in made.items()])
    fault_N = np.concatenate([wrong[name][scored[name]] for name in made])
    order_N = generator.permutation(model_N.size)
    seen_N = (fault_N & (generator.random(model_N.size) < SIGHT))[order_N]
    tokens_M = np.array([one.output_tokens for one in made.values()])
    rule = LONG_RULE if tokens_M[model_N].mean() > LONG else SHORT_RULE
    chosen, bounds = 0, (0.0, 1.0)
    for look in rule.looks:
        chosen = min(look.rollouts, order_N.size)
        count = int(seen_N[:chosen].sum())
        bounds = (binomial_lower(count, chosen, 1 - look.alpha), binomial_upper(count, chosen, 1 - look.alpha))
        if chosen == order_N.size:
            bounds = (count / max(1, chosen), count / max(1, chosen))
        if bounds[1] < rule.limit or bounds[0] >= rule.limit or count:
            break
    read_N = np.zeros(order_N.size, np.bool_)
    read_N[:chosen] = True
    read_N |= _quota(model_N[order_N], failing_N[order_N])
    found, reported = int((seen_N & read_N).sum()), int(generator.binomial(int(read_N.sum()), FALSE))
    tokens = [float(tokens_M[model]) for model in model_N[order_N][read_N]]
    tokens += [float(np.mean(tokens))] * len(KINDS) if tokens else []
    reader = Reader(
        read=len(tokens),
        first="",
        last="",
        minutes=reading_minutes(map(round, tokens)),
        planted=len(KINDS),
        found=int(generator.binomial(len(KINDS), SIGHT)),
        sound=int(read_N.sum()) - found,
        reported=reported,
    )
    return Review(
        made=order_N.size,
        limit=rule.limit,
        sample=chosen,
        at_fault=int(seen_N[:chosen].sum()),
        bounds=bounds,
        minutes=reader.minutes,
        standing=[_FAULT] * found,
        readers={"reader": reader},
    )


def _quota(model_N: NDArray[np.int64], failing_N: Bools) -> Bools:
    """Returns which rollouts, in their order, are among the first failing and passing ones of their model."""
    read_N = np.zeros(model_N.size, np.bool_)
    for model in np.unique(model_N):
        failing, passing = (np.flatnonzero((model_N == model) & (failing_N == one)) for one in (True, False))
        read_N[failing[: failing_quota(failing.size, passing.size)]] = True
        read_N[passing[:PASSING]] = True
    return read_N


_FAULT = Mark(model="", task="", repeat=0, content="", task_digest="", reward=None, fault="verifier", by="", at="")

"""The alarms of a training: how often each is given where nothing is wrong, and where something is."""

from collections.abc import Iterator, Sequence

import numpy as np

from assay.stats.sample import sample
from assay.trainers.training import RISE, Look, Settings, Step, collapse, look, overfitting, rises
from studies.draw import ENDS, Floats, generator_of, move
from studies.row import UNCLAIMED, Row, at_least, at_most, share

SETTINGS = Settings()
RARELY, NEARLY_ALWAYS = at_most(0.002), at_least(0.95)


def alarms(trials: int) -> Iterator[Row]:
    """Of a held-out score that falls, findings against the verifier that rise, and a reward that rises alone."""
    yield from _collapses(trials)
    yield from _rises(trials)
    yield from _overfits(trials)


def _collapses(trials: int) -> Iterator[Row]:
    for tasks, drop, claim in (
        (480, 0.0, RARELY),
        (480, 0.05, None),
        (480, 0.08, None),
        (480, 0.10, NEARLY_ALWAYS),
        (48, 0.0, RARELY),
        (48, 0.10, None),
        (48, 0.20, None),
    ):
        where = f"{tasks} held-out tasks, by {100 * drop:g} points"
        generator = generator_of(where)
        hits = [_has_collapsed(generator, tasks, drop) for _ in range(trials)]
        yield share(f"the held-out score is said to fall: {where}", hits, claim or UNCLAIMED)


def _has_collapsed(generator: np.random.Generator, tasks: int, drop: float) -> bool:
    """Returns whether a training is stopped by the end of its looks, of which all but the first have the drop."""
    rates_T = ENDS.rates(generator, tasks)
    looks = [_look(generator, rates_T, 0)]
    for step in range(SETTINGS.every, SETTINGS.steps + 1, SETTINGS.every):
        looks.append(_look(generator, move(rates_T, -drop), step))
        if collapse(looks):
            return True
    return False


def _look(generator: np.random.Generator, rates_T: Floats, step: int) -> Look:
    return look(step, sample(ENDS.rewards(generator, rates_T, 2)))


def _rises(trials: int) -> Iterator[Row]:
    for tasks, attempts, share_before, rise, claim in (
        (240, 64, 0.3, 0.0, RARELY),
        (60, 8, 0.3, 0.0, RARELY),
        (20, 8, 0.3, 0.0, RARELY),
        (20, 8, 0.01, 0.0, RARELY),
        (240, 64, 0.01, 0.06, NEARLY_ALWAYS),
        (60, 8, 0.01, 0.10, NEARLY_ALWAYS),
        (60, 8, 0.3, 0.20, NEARLY_ALWAYS),
        (20, 8, 0.3, 0.30, NEARLY_ALWAYS),
    ):
        where = f"{tasks} tasks × {attempts}, from {100 * share_before:g} % by {100 * rise:g} points"
        generator = generator_of(where)
        pairs = [_counts(generator, tasks, attempts, share_before, rise) for _ in range(trials)]
        of = tasks * attempts
        yield share(f"a finding is said to rise: {where}", [rises(a, of, b, of) for a, b in pairs], claim)
        yield share(f"by {100 * RISE:g} points alone: {where}", [(b - a) / of >= RISE for a, b in pairs])


def _counts(generator: np.random.Generator, tasks: int, attempts: int, before: float, rise: float) -> tuple[int, int]:
    """Rollouts with the finding, before and after. A task has it often or seldom, both times but for the rise."""
    rates_T = generator.beta(0.5, 0.5 * (1 - before) / before, tasks)
    after_T = rates_T + rise / (1 - before) * (1 - rates_T)
    return int(generator.binomial(attempts, rates_T).sum()), int(generator.binomial(attempts, after_T).sum())


def _overfits(trials: int) -> Iterator[Row]:
    for reward, held_out, claim in (
        (0.0, 0.0, RARELY),
        (0.04, 0.04, RARELY),
        (0.10, 0.10, RARELY),
        (0.10, 0.0, None),
        (0.15, 0.0, None),
        (0.20, 0.0, NEARLY_ALWAYS),
    ):
        where = f"reward +{100 * reward:g} points by the last step, held-out score +{100 * held_out:g}"
        generator = generator_of(where)
        hits = [overfitting(*_course(generator, reward, held_out)) is not None for _ in range(trials)]
        yield share(f"reward is said to rise alone: {where}", hits, claim or UNCLAIMED)


def _course(generator: np.random.Generator, reward: float, held_out: float) -> tuple[Sequence[Step], Sequence[Look]]:
    """Returns a training whose reward and held-out score rise evenly, each step with other tasks."""
    tasks_T = ENDS.rates(generator, SETTINGS.held_out)
    looks = [
        _look(generator, tasks_T, 0),
        _look(generator, tasks_T + held_out / (1 - ENDS.score) * (1 - tasks_T), SETTINGS.steps),
    ]
    rates_ST = ENDS.rates(generator, (SETTINGS.steps, SETTINGS.prompts))
    learnt_S1 = np.linspace(0, reward, SETTINGS.steps)[:, None] / (1 - ENDS.score)
    rates_ST += learnt_S1 * (1 - rates_ST)
    made_S = ENDS.rewards(generator, rates_ST, SETTINGS.group).mean((1, 2))
    return [Step(step + 1, float(made), 0.5, 1.0, 10.0) for step, made in enumerate(made_S)], looks

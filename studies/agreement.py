"""How far does a judge agree with a person? Cohen's kappa and its interval."""

from collections.abc import Iterator

import numpy as np

from assay.stats.agreement import cohens_kappa
from studies.draw import generator_of
from studies.row import Row, at_least, share

HABITS = {
    "even classes": (0.2, 0.2, 0.2, 0.2, 0.2),
    "one class common": (0.7, 0.15, 0.05, 0.05, 0.05),
    "two classes": (0.8, 0.2),
}
"""How often each class is right."""


def agreement(trials: int) -> Iterator[Row]:
    """The 95 % interval of kappa. A reader looks at a thing with some chance, and else guesses by habit."""
    for count in (10, 20, 100):
        for name, shares in HABITS.items():
            for looks in (0.6, 0.95):
                yield _coverage(count, name, shares, looks, trials)


def _coverage(count: int, name: str, shares: tuple[float, ...], looks: float, trials: int) -> Row:
    """Both readers have the same habits, so that kappa is the chance that the second one looks."""
    generator = generator_of(f"kappa {count} {name} {looks}")
    habits = np.asarray(shares)
    chances_CC = (1 - looks) * np.outer(habits, habits) + looks * np.diag(habits)
    tables = generator.multinomial(count, chances_CC.ravel() / chances_CC.sum(), trials)
    covered = []
    for table in tables:
        interval = cohens_kappa(table.reshape(chances_CC.shape)).interval
        if interval is not None:
            covered.append(interval[0] <= looks <= interval[1])
    claim = at_least(0.92 if count >= 20 else 0.9)
    return share(f"covers: {count} things, {name}, true kappa {looks:g}", covered, claim)

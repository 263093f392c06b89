"""Environments of Prime Intellect's `verifiers` as benchmarks, with whichever of its versions is installed."""

from assay.benchmark import Benchmark
from assay.gyms import divided, require
from assay.gyms.verifiers import classic, v1


def load(name: str) -> Benchmark:
    """The environment of the installed package NAME, by its defaults. Raises UsageError for what can't be had.

    `,gold=FIELD` after it names the field of a row or a task with a right answer.
    """
    name, gold = divided(name)
    library = require("verifiers", "verifiers")
    # From 0.4 on there are no classic environments; before, those of `v1` were unfinished.
    return (classic if hasattr(library, "SingleTurnEnv") else v1).load(name, gold)

"""Do the gates let sound benchmarks pass, and stop broken ones? On simulated profiles of the shipped suite."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from zlib import crc32

import numpy as np
from msgspec import structs

from assay.config import Suite, load_suite
from assay.fidelity.forecast import Setting, expect, forecast, tasks_of_size
from assay.fidelity.gates import GATES
from assay.fidelity.schema.forecast import Forecast
from studies.faults import Fault, Made, cached, cut, dropped, misread, seed_locked, wrong_labels

MODELS = (
    "policy",
    "gpt-5-nano",
    "gpt-5",
    "qwen3-30b-instruct",
    "qwen3-30b-thinking",
    "qwen3-235b-instruct",
    "qwen3-235b-thinking",
)
"""Of the shipped suite: all but the third tier, so that there are pairs of sizes."""


@dataclass(frozen=True)
class Size:
    """A benchmark of a size that is common, with scores as such models have."""

    name: str
    tasks: int
    scores: tuple[float, ...]
    """In the order of MODELS."""
    chance: float = 0.0


SIZES = (
    Size("AIME", 30, (0.60, 0.85, 0.945, 0.61, 0.85, 0.70, 0.92)),
    Size("tau", 115, (0.55, 0.60, 0.80, 0.59, 0.66, 0.68, 0.70)),
    Size("HumanEval", 164, (0.85, 0.92, 0.97, 0.90, 0.94, 0.92, 0.95)),
    Size("GPQA", 198, (0.60, 0.71, 0.86, 0.70, 0.73, 0.775, 0.81), 0.25),
    Size("IFEval", 541, (0.80, 0.88, 0.93, 0.85, 0.89, 0.885, 0.88)),
    Size("MMLU-Pro", 12_000, (0.72, 0.78, 0.87, 0.78, 0.81, 0.83, 0.845), 0.1),
)


@cache
def suite() -> Suite:
    """Returns the shipped suite with these models."""
    shipped = load_suite("gym-2026-02")
    return structs.replace(shipped, tiers="all", models={name: shipped.models[name] for name in MODELS})


def setting_of(size: Size) -> Setting:
    """Returns a sound benchmark of this size, on the suite."""
    tasks = tasks_of_size(size.tasks)
    expected = expect(suite(), tasks, None, guesses=dict(zip(MODELS, size.scores, strict=True)))
    return Setting(suite=suite(), expected=expected, tasks=tasks, chance=size.chance)


@cache
def planned(size: Size) -> Forecast:
    """Returns what `assay plan` says of this size."""
    return forecast(setting_of(size))


RULES = [rule for rule in GATES if rule.name in {"range", "order", "kinds", "repeats"}]


def stopped(size: Size, fault: Fault | None, trials: int) -> tuple[int, Counter[str]]:
    """Returns how many profiles of a benchmark with a fault some gate does not pass, and how many each gate stops."""
    setting, repeats = setting_of(size), planned(size).repeats
    generator = np.random.default_rng(crc32(f"{size.name} {fault}".encode()))
    gates: Counter[str] = Counter()
    count = 0
    for _ in range(trials):
        made = Made.sound(setting.draw(generator, repeats))
        made = fault(made, generator) if fault else made
        facts = setting.facts(made.rollouts)
        names = [rule.name for rule in RULES if rule.of_facts and rule.of_facts(facts).verdict != "pass"]
        gates.update(names)
        count += bool(names)
    return count, gates


FAULTS: Mapping[str, Fault] = {
    "5 % wrong labels": wrong_labels,
    "parser drops 10 % of one model": dropped,
    "parser misreads 10 % of one model": misread,
    "15 % of one model cut at the cap": cut,
    "all tasks cached": cached(1.0),
    "half of the tasks cached": cached(0.5),
    "rewards of one server locked to the seed": seed_locked,
}

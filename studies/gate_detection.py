"""Do the gates let sound benchmarks pass, and stop broken ones? On simulated profiles of the shipped suite."""

from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache

from msgspec import structs

from assay.config import Suite, load_suite
from assay.fidelity.forecast import Setting, expect, forecast, tasks_of_size
from assay.fidelity.gates import GATES
from assay.fidelity.original.published import Published, PublishedScore
from assay.fidelity.schema.forecast import Forecast
from studies.broken import BROKEN, SOUND, TASKS, failing, stopped_by
from studies.draw import generator_of
from studies.faults import (
    Fault,
    Runs,
    cut,
    drop_a_model,
    lock_the_seed,
    misread,
    other_score,
    repeat_answers,
    wrong_labels,
)
from studies.row import Claim, Row, at_least, figure, share

QUICK = 50
"""Trials up to which the repeats are not looked for, which takes minutes."""
MODELS: tuple[str, ...] = (
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
    published_repeats: int = 1
    """Behind each published score."""

    def __str__(self) -> str:
        return f"{self.name}, {self.tasks:,} tasks"


SIZES = (
    Size("AIME", 30, (0.60, 0.85, 0.945, 0.61, 0.85, 0.70, 0.92), published_repeats=64),
    Size("tau", 115, (0.55, 0.60, 0.80, 0.59, 0.66, 0.68, 0.70), published_repeats=4),
    Size("HumanEval", 164, (0.85, 0.92, 0.97, 0.90, 0.94, 0.92, 0.95)),
    Size("GPQA", 198, (0.60, 0.71, 0.86, 0.70, 0.73, 0.775, 0.81), 0.25, 8),
    Size("IFEval", 541, (0.80, 0.88, 0.93, 0.85, 0.89, 0.885, 0.88)),
    Size("MMLU-Pro", 12_000, (0.72, 0.78, 0.87, 0.78, 0.81, 0.83, 0.845), 0.1),
)


@cache
def suite() -> Suite:
    """Returns the shipped suite with these models."""
    shipped = load_suite("gym-2026-02")
    return structs.replace(shipped, tiers="all", models={name: shipped.models[name] for name in MODELS})


def setting_of(size: Size) -> Setting:
    """Returns a sound port of a benchmark of this size, on the suite, whose scores are published to one decimal."""
    members = suite().models
    scores = [
        PublishedScore(
            model=members[name].published or "",
            score=f"{100 * score:.1f}",
            subset="test",
            repeats=size.published_repeats,
            source="its card",
            date="2026-02",
            confidence="card",
        )
        for name, score in zip(MODELS, size.scores, strict=True)
        if members[name].published
    ]
    tasks, stated = tasks_of_size(size.tasks), Published(original=True, scores=scores)
    expected = expect(suite(), tasks, stated, guesses={"policy": size.scores[0]})
    return Setting(suite=suite(), expected=expected, tasks=tasks, chance=size.chance)


@cache
def plan_of(size: Size) -> Forecast:
    """Returns what `assay plan` says of this size."""
    return forecast(setting_of(size))


FAULTS: Mapping[str, Fault] = {
    "5 % wrong labels": wrong_labels,
    "parser drops 10 % of one model's answers": drop_a_model,
    "parser misreads 10 % of one model's answers": misread,
    "15 % of one model's outputs cut at the token cap": cut,
    "all tasks cached, of one server": repeat_answers(1.0),
    "half of the tasks cached, of one server": repeat_answers(0.5),
    "rewards of one server locked to the seed": lock_the_seed,
    "aggregation 4 points from the paper's": other_score,
}
"""Those that simulated rollouts show. The others are in `studies.broken`."""
SIMULATIONS = [rule for rule in GATES if rule.name in {"range", "order", "kinds", "repeats", "read", "reproduced"}]
MOST_SCORES = 10_000_000
"""Simulated rollouts of one line, about: MMLU-Pro has fewer profiles."""


def gate_detection(trials: int) -> Iterator[Row]:
    """Sound benchmarks by size, then broken ones by fault and size."""
    with ProcessPoolExecutor(len(SIZES)) as pool:
        by_size = list(pool.map(_of_size, SIZES, [trials] * len(SIZES)))
    for rows in by_size:
        yield from rows[: -len(FAULTS)]
    for rows in zip(*(rows[-len(FAULTS) :] for rows in by_size), strict=True):
        yield from rows
    for name in BROKEN:
        gates = stopped_by(name)
        yield _certain(f"{name}: {TASKS} tasks or more", bool(gates), ", ".join(gates))
    sound = [gate for benchmark in SOUND for gate in failing(benchmark)]
    yield _certain("the same tasks with a right verifier pass", not sound, ", ".join(sound))


def _of_size(size: Size, trials: int) -> list[Row]:
    """Returns the lines of one size: a sound benchmark, its cost, and each fault."""
    repeats = plan_of(size).repeats if trials > QUICK else dict.fromkeys(MODELS, 2)
    rollouts, strongest = size.tasks * sum(repeats.values()), repeats[MODELS[-1]]
    least = at_least(0.75 if size.tasks < 100 else 0.85 if size.tasks < 150 else 0.95)
    return [
        _measure(f"sound, all gates pass: {size}", size, None, repeats, trials // 2, at_least(0.95)),
        figure(f"repeats of the strongest open model: {size}", strongest),
        figure(f"rollouts in all: {size}", rollouts),
        *(
            _measure(
                f"{name}, some gate does not pass: {size}",
                size,
                fault,
                repeats,
                2 * trials // 5 if fault is misread else trials // 10,
                least,
            )
            for name, fault in FAULTS.items()
        ),
    ]


def _certain(what: str, holds: bool, note: str) -> Row:
    return replace(figure(what, float(holds), (1.0, 1.0), "%"), note=note)


def _measure(what: str, size: Size, fault: Fault | None, repeats: Mapping[str, int], trials: int, claim: Claim) -> Row:
    """How often a gate stops a benchmark with a fault, or all let one without a fault pass; and which gates stop it."""
    setting, generator = setting_of(size), generator_of(what)
    trials = max(1, min(trials, MOST_SCORES // (size.tasks * sum(repeats.values()))))
    stops, gates = list[bool](), Counter[str]()
    for _ in range(trials):
        made = Runs.sound(setting.draw(generator, repeats))
        made = fault(made, generator) if fault else made
        facts = setting.facts(made.rollouts, generator, wrong=made.wrong, away=made.published)
        names = [rule.name for rule in SIMULATIONS if rule.of_facts and rule.of_facts(facts).verdict != "pass"]
        gates.update(names)
        stops.append(bool(names))
    note = ", ".join(f"{name} {count / trials:.0%}" for name, count in gates.most_common() if count >= 0.05 * trials)
    return share(what, stops if fault else [not stop for stop in stops], claim, note if fault else "")

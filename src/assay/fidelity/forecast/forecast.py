"""The forecast: profiles of a sound benchmark are simulated, and the gates judge them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from assay.config import Suite
from assay.fidelity.forecast.expected import Expected
from assay.fidelity.forecast.simulated import Generator, Rollouts, contender, simulate
from assay.fidelity.gates import GATES
from assay.fidelity.gates.range import clears_floor
from assay.fidelity.gates.rule import Facts, GateRule
from assay.fidelity.results.contender import of_role, strongest
from assay.fidelity.schema.forecast import Forecast, GateForecast, ModelForecast
from assay.fidelity.schema.profile import Gate
from assay.score import Mean, ScoreRule
from assay.types import Message, Task

TARGET = 0.97
"""How likely each gate has to let a sound benchmark pass, with the repeats that it gets."""
REPEATS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""The repeats that are tried, from the fewest."""
MOST_ROLLOUTS = 20_000
"""Of one model: more repeats than these are not tried beyond the second."""
TRIALS, QUICK_TRIALS = 100, 20
UNLIKELY = 0.8
"""A gate that passes less often has a note that says why."""
SCORES = 2_000_000
"""Simulated rollouts of one number of repeats, about: a large benchmark has fewer trials, for its scores vary less."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A benchmark and a suite, as far as they are known before anything runs."""

    suite: Suite
    expected: Mapping[str, Expected]
    """The models that are measured, by name."""
    tasks: Sequence[Task]
    score: ScoreRule = field(default_factory=Mean)
    """What the benchmark declares. Of maj@k, whose answers can't be simulated, give the mean."""
    chance: float = 0.0
    benchmark: str = ""
    hard: str = ""
    original: bool = False

    def of(self, names: Iterable[str]) -> "Setting":
        """Returns the setting with these models alone."""
        kept = {*names}
        return replace(self, expected={name: one for name, one in self.expected.items() if name in kept})

    def draw(self, generator: Generator, repeats: Mapping[str, int]) -> dict[str, Rollouts]:
        """Returns the rollouts of each model, of a sound benchmark."""
        return simulate(generator, self.expected, len(self.tasks), repeats)

    def facts(self, made: Mapping[str, Rollouts]) -> Facts:
        """Returns what the gates are computed from, with these rollouts."""
        names = made.keys()
        return Facts(
            suite=self.suite,
            chance=self.chance,
            contenders=[
                contender(name, self.expected[name].member, self.tasks, made[name], self.score) for name in names
            ],
            original=self.original,
            benchmark=self.benchmark,
            hard=self.hard,
        )


def tasks_of_size(count: int) -> list[Task]:
    """Returns tasks of which nothing is known but their number."""
    return [Task(id=str(number), input=[Message(role="user", content="")]) for number in range(count)]


def running(setting: Setting, generator: Generator) -> Setting:
    """Returns the setting with the models that will run: of a suite that climbs, those up to the tier that suffices."""
    tiers = sorted({one.member.tier for one in setting.expected.values()})
    for tier in tiers[:-1] if setting.suite.tiers == "climb" else ():
        lower = setting.of(name for name, one in setting.expected.items() if one.member.tier <= tier)
        made = [lower.facts(lower.draw(generator, dict.fromkeys(lower.expected, 1))) for _ in range(11)]
        if sum(clears_floor(one.contenders, setting.chance, setting.suite.order) for one in made) > len(made) / 2:
            return lower
    return setting


def needs(
    setting: Setting, rule: GateRule, names: Sequence[str], start: Mapping[str, int], trials: int, generator: Generator
) -> dict[str, int]:
    """Returns the fewest repeats of these models with which the gate lets a sound benchmark pass.

    Where none are enough, they are the fewest that were tried: more would be of no use.
    """
    most = max(2, MOST_ROLLOUTS // len(setting.tasks))
    for k in (k for k in REPEATS if k <= most):
        repeats = {**start} | {name: max(k, start[name]) for name in names}
        if judged(setting, (rule,), repeats, trials, generator, least=TARGET):
            return repeats
    return {**start}


def judged(
    setting: Setting,
    rules: Sequence[GateRule],
    repeats: Mapping[str, int],
    trials: int,
    generator: Generator,
    *,
    least: float = 0.0,
) -> list[dict[str, Gate]]:
    """Returns what these gates say of each of some simulated profiles, by name.

    Empty as soon as fewer than the share `least` of the profiles can pass them all.
    """
    made: list[dict[str, Gate]] = []
    lost = 0
    for _ in range(trials):
        facts = setting.facts(setting.draw(generator, repeats))
        made.append({rule.name: rule.of_facts(facts) for rule in rules if rule.of_facts})
        lost += any(gate.verdict != "pass" for gate in made[-1].values())
        if lost > (1 - least) * trials:
            return []
    return made


def trials_for(setting: Setting, repeats: Mapping[str, int], most: int) -> int:
    """Returns the number of profiles to simulate: fewer of a large benchmark, whose scores vary less."""
    rollouts = len(setting.tasks) * sum(repeats[name] for name in setting.expected)
    return min(most, max(20, SCORES // rollouts))


def forecast(setting: Setting, *, repeats: int | None = None, trials: int = TRIALS, seed: int = 0) -> Forecast:
    """Returns what the gates will say of a sound benchmark in this setting, and what that takes.

    With `repeats`, each model gets so many. Else each gate gets the fewest repeats of the models that it looks at with
    which it lets a sound benchmark pass in 97 %; then all are simulated together, with the most that any gate needs.
    """
    generator = np.random.default_rng(seed)
    setting = running(setting, generator)
    looks_at = _looks_at(setting, generator)
    rules = [rule for rule in GATES if looks_at.get(rule.name)]
    least = setting.score.attempts
    start = dict.fromkeys(setting.expected, least) | dict.fromkeys(looks_at["repeats"], max(2, least))
    alone = dict.fromkeys(looks_at, dict.fromkeys(setting.expected, repeats or least))
    if repeats is None:
        trials = trials_for(setting, start, trials)
        alone = {rule.name: needs(setting, rule, looks_at[rule.name], start, trials, generator) for rule in rules}
    else:
        trials = trials_for(setting, alone["kinds"], QUICK_TRIALS)
    planned = {name: max(needed[name] for needed in alone.values()) for name in setting.expected}
    made = judged(setting, rules, planned, trials, generator)
    models = {name: _model(one, planned[name], len(setting.tasks)) for name, one in setting.expected.items()}
    gates: list[GateForecast] = []
    for rule in rules:
        mine = {name: alone[rule.name][name] for name in looks_at[rule.name]}
        found = [one[rule.name] for one in made]
        gates.append(_gate(rule.name, found, mine, spent(models, mine, len(setting.tasks))))
    return Forecast(
        tasks=len(setting.tasks),
        trials=trials,
        models=models,
        gates=gates,
        passes=sum(all(gate.verdict == "pass" for gate in one.values()) for one in made) / trials,
        minutes=0.0,
        **spent(models, planned, len(setting.tasks)),
    )


def _gate(name: str, found: Sequence[Gate], repeats: dict[str, int], sums: dict[str, Any]) -> GateForecast:
    """Returns the forecast of a gate of which this was found on simulated profiles."""
    verdicts = Counter(gate.verdict for gate in found)
    passes = verdicts["pass"] / len(found)
    other = next((gate for gate in found if gate.verdict != "pass"), None)
    return GateForecast(
        name=name,
        passes=passes,
        fails=verdicts["fail"] / len(found),
        repeats=repeats,
        **sums,
        unseen=found[-1].unseen,
        note="" if other is None or passes > UNLIKELY else f"Not likely at this size. {other.verdict}: {other.reason}",
    )


def _model(one: Expected, repeats: int, tasks: int) -> ModelForecast:
    return ModelForecast(
        score=one.score,
        score_from=one.score_from,
        repeats=repeats,
        rollouts=repeats * tasks,
        tokens_a_rollout=round(one.input_tokens + one.output_tokens),
        tokens_from=one.tokens_from,
        usd_a_rollout=one.usd,
    )


def spent(models: Mapping[str, ModelForecast], repeats: Mapping[str, int], tasks: int) -> dict[str, Any]:
    """Returns the rollouts, the tokens and the US dollars of these repeats, those of models with prices."""
    made = [(models[name], k * tasks) for name, k in repeats.items()]
    priced = [(one.usd_a_rollout, rollouts) for one, rollouts in made if one.usd_a_rollout is not None]
    return {
        "rollouts": sum(rollouts for _, rollouts in made),
        "tokens": sum(one.tokens_a_rollout * rollouts for one, rollouts in made),
        "usd": sum(usd * rollouts for usd, rollouts in priced) if priced else None,
    }


def _looks_at(setting: Setting, generator: Generator) -> dict[str, list[str]]:
    """Returns the models whose rollouts each gate looks at, by gate."""
    shown = setting.facts(setting.draw(generator, dict.fromkeys(setting.expected, 8))).contenders
    order = setting.suite.order
    opened = strongest(of_role(shown, "open"), order)
    closed = strongest(of_role(shown, "closed"), order)
    best = [one.name for one in (*opened[:1], *closed[:1])]
    pairs = [name for pair in order if setting.expected.keys() >= {*pair} for name in pair]
    return {
        "range": [one.name for one in of_role(shown, "open", "closed")],
        "order": [*dict.fromkeys([*pairs, *best])],
        "kinds": [*setting.expected],
        "repeats": [one.name for one in opened[:1]],
    }

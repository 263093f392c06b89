"""The forecast: simulates profiles of a sound benchmark, which the gates judge."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from assay.config import Suite
from assay.fidelity.forecast import original
from assay.fidelity.forecast.expectation import Expectation
from assay.fidelity.forecast.labels import COUNTS, JUDGE, labelling_minutes, simulate_labels
from assay.fidelity.forecast.reading import read_through
from assay.fidelity.forecast.simulation import Bools, Generator, Rollouts, contender, simulate
from assay.fidelity.gates import GATES, judge
from assay.fidelity.gates.range import clears_floor
from assay.fidelity.gates.rule import Facts, GateRule
from assay.fidelity.results.contender import of_role, strongest
from assay.fidelity.results.score import layout_of
from assay.fidelity.schema.forecast import Forecast, GateForecast, ModelForecast
from assay.fidelity.schema.profile import Gate
from assay.score import Mean, ScoreRule
from assay.stats.sample import Layout
from assay.types import Message, Task

TARGET = 0.97
"""The probability with which each gate has to pass a sound benchmark."""
ORIGINAL = 0.95
"""The same for a gate that compares with published scores: its margin lets equal scores pass in about 97 %, for any
number of repeats."""
TOGETHER = 0.95
"""The same for all gates together, if more repeats can help."""
HELPS = 0.03
"""The least gain in probability for which more repeats are made."""
REPEATS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""The numbers of repeats to try, in order."""
MOST_ROLLOUTS = 20_000
"""The most rollouts of one model. More repeats are not tried beyond two."""
TRIALS, QUICK_TRIALS = 100, 20
UNLIKELY = 0.8
"""A gate with a lower probability has a note that says why."""
READ = ("read", "judge")
"""The gates that need a person's reading. They need no rollouts of their own."""
SCORES = 2_000_000
"""About the most simulated rollouts for one number of repeats. A large benchmark gets fewer trials, because its scores
vary less."""


Wrong = Mapping[str, Bools]
"""By model, which rewards are wrong."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is known of a benchmark and a suite before anything runs."""

    suite: Suite
    expected: Mapping[str, Expectation]
    """The models that are measured, by name."""
    tasks: Sequence[Task]
    score: ScoreRule = field(default_factory=Mean)
    """The score that the benchmark declares; the mean in place of maj@k, because answers can't be simulated."""
    chance: float = 0.0
    benchmark: str = ""
    hard: str = ""
    original: bool = False
    registers: bool = True
    """Whether the benchmark has the address of the original code, so that margins of comparisons with it are
    registered."""
    judged: bool = False
    """Whether a judge scores answers."""
    compared: str = ""
    """The model that runs in the original code for `parity`; empty if none does."""
    labels: int = 0
    """The labels that a person gives for `judge`."""

    @cached_property
    def _listed(self) -> list[Task]:
        return [*self.tasks]

    @cached_property
    def layout(self) -> Layout:
        """How the tasks make up the score."""
        return layout_of(self.score, self.tasks)

    def of(self, names: Iterable[str]) -> "Setting":
        """Returns the setting with only these models."""
        kept = {*names}
        return replace(self, expected={name: one for name, one in self.expected.items() if name in kept})

    def draw(self, generator: Generator, repeats: Mapping[str, int]) -> dict[str, Rollouts]:
        """Returns simulated rollouts of each model on a sound benchmark."""
        return simulate(generator, self.expected, len(self.tasks), repeats)

    def facts(
        self, made: Mapping[str, Rollouts], generator: Generator, *, wrong: Wrong | None = None, away: float = 0.0
    ) -> Facts:
        """Returns the facts for the gates, with these rollouts, read by a careful reader.

        `wrong` says which rewards are wrong, and `away` by how much published scores are off.
        """
        names = made.keys()
        repeats = {name: one.rewards_TK.shape[1] for name, one in made.items()}
        margins = original.margins(self.expected, len(self.tasks), repeats)
        wrong = wrong or {name: np.zeros(one.rewards_TK.shape, np.bool_) for name, one in made.items()}
        return Facts(
            suite=self.suite,
            chance=self.chance,
            contenders=[
                contender(name, self.expected[name].member, self._listed, made[name], self.score, self.layout)
                for name in names
            ],
            review=read_through(generator, made, wrong),
            reproduced=original.compare_published(generator, self.expected, made, margins["reproduced"], away=away),
            parities={self.compared: original.parity(generator, made[self.compared], margins["parity"])}
            if self.compared
            else {},
            judge=JUDGE if self.judged else None,
            judging=simulate_labels(generator, made, self.labels) if self.labels else None,
            original=self.original,
            margins=margins,
            benchmark=self.benchmark,
            hard=self.hard,
        )


def tasks_of_size(count: int) -> list[Task]:
    """Returns this number of tasks without content."""
    return [Task(id=str(number), input=[Message(role="user", content="")]) for number in range(count)]


def running(setting: Setting, generator: Generator) -> Setting:
    """Returns the setting with the models that will run: in a suite that climbs, those up to the sufficient tier."""
    tiers = sorted({one.member.tier for one in setting.expected.values()})
    for tier in tiers[:-1] if setting.suite.tiers == "climb" else ():
        lower = setting.of(name for name, one in setting.expected.items() if one.member.tier <= tier)
        made = [lower.facts(lower.draw(generator, dict.fromkeys(lower.expected, 1)), generator) for _ in range(11)]
        if sum(clears_floor(one.contenders, setting.chance, setting.suite.order) for one in made) > len(made) / 2:
            return lower
    return setting


def needs(
    setting: Setting, rule: GateRule, names: Sequence[str], start: Mapping[str, int], trials: int, generator: Generator
) -> dict[str, int]:
    """Returns the fewest repeats of these models with which the gate passes a sound benchmark.

    If none are enough, these are the fewest that were tried, because more would not help.
    """
    most = max(2, MOST_ROLLOUTS // len(setting.tasks))
    for k in (k for k in REPEATS if k <= most):
        repeats = {**start} | {name: max(k, start[name]) for name in names}
        if judge_profiles(
            setting, (rule,), repeats, trials, generator, least=ORIGINAL if rule.compares_with_original else TARGET
        ):
            return repeats
    return {**start}


def judge_profiles(
    setting: Setting,
    rules: Sequence[GateRule],
    repeats: Mapping[str, int],
    trials: int,
    generator: Generator,
    *,
    least: float = 0.0,
) -> list[dict[str, Gate]]:
    """Returns these gates of each simulated profile, by name.

    Empty as soon as fewer than the share `least` of the profiles can pass them all.
    """
    made: list[dict[str, Gate]] = []
    lost = 0
    for _ in range(trials):
        facts = setting.facts(setting.draw(generator, repeats), generator)
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
    """Returns the forecast of the gates for a sound benchmark in this setting, and its cost.

    With `repeats`, each model gets that many. Else each gate gets the fewest repeats with which it passes a sound
    benchmark with 97 %; then all gates are simulated together, with the most repeats that any gate needs.
    """
    generator = np.random.default_rng(seed)
    setting = running(setting, generator)
    looks_at = _looks_at(setting, generator)
    rules = [rule for rule in GATES if looks_at.get(rule.name)]
    least = setting.score.attempts
    start = dict.fromkeys(setting.expected, least) | dict.fromkeys(looks_at["repeats"], max(2, least))
    alone = dict.fromkeys(looks_at, dict.fromkeys(setting.expected, repeats or least))
    fixed = repeats is not None
    trials = trials_for(setting, alone["kinds"] if fixed else start, QUICK_TRIALS if fixed else trials)
    if not fixed:
        alone = {rule.name: needs(setting, rule, looks_at[rule.name], start, trials, generator) for rule in rules}
    setting, looks_at = _with_persons(setting, looks_at, alone, trials, generator, fixed=fixed)
    rules = [rule for rule in GATES if looks_at.get(rule.name)]
    planned, made = _together(setting, rules, alone, looks_at, trials, generator, fixed=fixed)
    models = {name: _model(one, planned[name], len(setting.tasks)) for name, one in setting.expected.items()}
    gates: list[GateForecast] = []
    for rule in GATES:
        if rule in rules:
            mine = {name: alone[rule.name][name] for name in looks_at[rule.name] if rule.name not in READ}
            sums = costs(models, mine, len(setting.tasks))
            gates.append(_gate(rule, [one[rule.name] for one in made], mine, sums, setting))
        else:
            gates.append(_without_simulation(rule, setting))
    return Forecast(
        tasks=len(setting.tasks),
        trials=trials,
        models=models,
        gates=gates,
        passes=sum(all(gate.verdict == "pass" for gate in one.values()) for one in made) / trials,
        minutes=sum(gate.minutes for gate in gates),
        **costs(models, planned, len(setting.tasks)),
    )


def _with_persons(
    setting: Setting,
    looks_at: dict[str, list[str]],
    alone: dict[str, dict[str, int]],
    trials: int,
    generator: Generator,
    *,
    fixed: bool,
) -> tuple[Setting, dict[str, list[str]]]:
    """Returns the setting with the model of the original code's run for parity, and with a person's labels for a judge.

    `alone` gets the repeats of these gates: those of parity are for one model and the first look.
    """
    if setting.registers and not setting.original:
        planned = _most(alone, setting)
        name, repeats = original.cheapest(setting.expected, len(setting.tasks), planned)
        setting, looks_at = replace(setting, compared=name), {**looks_at, "parity": [name]}
        alone["parity"] = planned if fixed else {**planned, name: max(repeats, setting.score.attempts)}
    if setting.judged:
        for labels in COUNTS:
            setting = replace(setting, labels=labels)
            if judge_profiles(setting, (judge.GATE,), _most(alone, setting), trials, generator, least=TARGET):
                break
        alone["judge"], looks_at = alone["kinds"], {**looks_at, "judge": [*setting.expected]}
    return setting, looks_at


def _most(alone: Mapping[str, Mapping[str, int]], setting: Setting) -> dict[str, int]:
    """Returns each model's repeats, the most that any gate needs."""
    return {name: max(needed[name] for needed in alone.values()) for name in setting.expected}


def _together(
    setting: Setting,
    rules: Sequence[GateRule],
    alone: dict[str, dict[str, int]],
    looks_at: Mapping[str, Sequence[str]],
    trials: int,
    generator: Generator,
    *,
    fixed: bool,
) -> tuple[dict[str, int], list[dict[str, Gate]]]:
    """Returns each model's repeats, and the gates of profiles with them.

    Even if each gate alone has enough repeats, all together may pass too rarely. Then the gate that passes least often
    gets more, which are added to `alone`, as long as that may help.
    """
    best: tuple[float, dict[str, int], list[dict[str, Gate]]] | None = None
    while True:
        planned = _most(alone, setting)
        made = judge_profiles(setting, rules, planned, trials, generator)
        share = {rule.name: sum(one[rule.name].verdict == "pass" for one in made) / trials for rule in rules}
        likely = [name for name in share if share[name] > UNLIKELY]
        all_pass = sum(all(one[name].verdict == "pass" for name in likely) for one in made) / trials
        # .91 + .03 is more than .94 in binary.
        if best is not None and all_pass < best[0] + HELPS - 1e-9:
            return best[1:]
        best = all_pass, planned, made
        raised = [name for name in likely if share[name] < 1 and name not in READ]
        if fixed or all_pass >= TOGETHER or not raised:
            return planned, made
        worst = min(raised, key=lambda name: share[name])
        names = looks_at[worst]
        more = next((k for k in REPEATS if k > min(planned[name] for name in names)), None)
        if more is None or more > max(2, MOST_ROLLOUTS // len(setting.tasks)):
            return planned, made
        alone[worst] = {**planned} | {name: max(more, planned[name]) for name in names}


def _gate(
    rule: GateRule, found: Sequence[Gate], repeats: dict[str, int], sums: dict[str, Any], setting: Setting
) -> GateForecast:
    """Returns the forecast of a gate from its results on simulated profiles."""
    verdicts = Counter(gate.verdict for gate in found)
    passes = verdicts["pass"] / len(found)
    other = next((gate for gate in found if gate.verdict != "pass"), None)
    labels, minutes = setting.labels if rule.name == "judge" else 0, 0.0
    if rule.name in READ:
        read = [float(gate.numbers["minutes"]) for gate in found] if not labels else []
        minutes = labelling_minutes(setting.expected, labels) if labels else float(np.mean(read))
    note = "" if other is None or passes > UNLIKELY else f"Not likely at this size. {other.verdict}: {other.reason}"
    there = "The original code makes as many rollouts. " if rule.compares_with_original else ""
    return GateForecast(
        name=rule.name,
        passes=passes,
        fails=verdicts["fail"] / len(found),
        repeats=repeats,
        **sums,
        labels=labels,
        minutes=minutes,
        unseen=found[-1].unseen,
        note=f"{there}{note}".strip(),
    )


def _without_simulation(rule: GateRule, setting: Setting) -> GateForecast:
    """Returns the forecast of a gate that does not depend on simulated rollouts."""
    if rule.of_benchmark:
        return GateForecast(name=rule.name, passes=1.0, note="It runs the benchmark alone: no chance, no rollouts.")
    if rule.compares_with_original and setting.original:
        return GateForecast(name=rule.name, passes=None, note="Does not apply: the benchmark is the original.")
    if rule.name == "reproduced":
        note = "Can't pass: no score is published for these models (`published` in the suite, and published.toml)."
        return GateForecast(name=rule.name, passes=0.0, note=note)
    if rule.name == "parity":
        note = "Can't pass: published.toml does not name the original code, so that no margin is registered."
        return GateForecast(name=rule.name, passes=0.0, note=note)
    return GateForecast(name=rule.name, passes=None, note="Does not apply: no judge is known to score answers.")


def _model(one: Expectation, repeats: int, tasks: int) -> ModelForecast:
    return ModelForecast(
        score=one.score,
        score_from=one.score_from,
        repeats=repeats,
        rollouts=repeats * tasks,
        tokens_a_rollout=round(one.input_tokens + one.output_tokens),
        tokens_from=one.tokens_from,
        usd_a_rollout=one.usd,
    )


def costs(models: Mapping[str, ModelForecast], repeats: Mapping[str, int], tasks: int) -> dict[str, Any]:
    """Returns the rollouts, the tokens, and the US dollars for models with prices, of these repeats."""
    made = [(models[name], k * tasks) for name, k in repeats.items()]
    priced = [(one.usd_a_rollout, rollouts) for one, rollouts in made if one.usd_a_rollout is not None]
    return {
        "rollouts": sum(rollouts for _, rollouts in made),
        "tokens": sum(one.tokens_a_rollout * rollouts for one, rollouts in made),
        "usd": sum(usd * rollouts for usd, rollouts in priced) if priced else None,
    }


def _looks_at(setting: Setting, generator: Generator) -> dict[str, list[str]]:
    """Returns the models whose rollouts each gate uses, by gate."""
    shown = setting.facts(setting.draw(generator, dict.fromkeys(setting.expected, 8)), generator).contenders
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
        "read": [*setting.expected],
        "reproduced": [name for name, one in setting.expected.items() if original.is_sampled(one.published)],
    }

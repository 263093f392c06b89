"""Does the F test tell runs that drift from runs that vary by sampling alone?"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from assay.fidelity.gates.repeats import alone, of_servers, within_shares
from assay.fidelity.results.independence import DRIFT
from assay.stats.estimates import estimate
from assay.stats.repeats import run_effect
from assay.stats.sample import sample
from studies.draw import ENDS, EVEN, NEAR_ONE, Floats, generator_of, move, runs
from studies.faults import Runs, repeat_answers
from studies.gate_detection import MODELS, SIZES, setting_of
from studies.row import UNCLAIMED, Row, at_least, at_most, ratio, share


def run_effects(trials: int) -> Iterator[Row]:
    """The F test of the run effect, at the level that the gate uses, .005."""
    for tasks, repeats, kind in ((30, 2, EVEN), (30, 8, EVEN), (198, 4, ENDS), (500, 2, ENDS), (198, 4, NEAR_ONE)):
        where = f"{tasks} tasks × {repeats}, {kind.name}"
        effects = [
            run_effect(rewards_TK) for _, rewards_TK in runs(generator_of(where), kind, tasks, repeats, 2 * trials)
        ]
        found = [effect for effect in effects if effect]
        yield share(f"independent runs said to drift: {where}", [e.p_high < DRIFT for e in found], at_most(DRIFT))
        yield share(f"independent runs said to be tied: {where}", [e.p_low < DRIFT for e in found], at_most(DRIFT))
    yield from _drifting(trials)
    yield from _tie(max(20, trials // 2))


def _drifting(trials: int) -> Iterator[Row]:
    """Each run's true score is off by chance, with an SD of so many points."""
    for tasks, repeats in ((198, 8), (500, 4), (1319, 4)):
        for points in (1, 2, 3):
            where = f"{tasks:,} tasks × {repeats}, runs' true scores with an SD of {points} point{'s' * (points > 1)}"
            generator = generator_of(where)
            found, plain, squares = [], [], []
            for _ in range(trials):
                rates_T = ENDS.rates(generator, tasks)
                drift_K = np.clip(generator.normal(0, points / 100, (repeats, 1)), -0.06, 0.06)
                rates_KT = move(rates_T, drift_K)
                rewards_TK = (generator.random(rates_KT.shape) < rates_KT).T.astype(float)
                effect, off = run_effect(rewards_TK), abs(float(rewards_TK.mean() - rates_T.mean()))
                if effect is None:
                    continue
                found.append(effect.p_high < DRIFT)
                plain.append(off <= 1.96 * (estimate(sample(rewards_TK)).se_run or 0.0))
                squares.append((effect.se**2, off**2))
            yield share(f"drift found: {where}", found)
            if points == 2:
                yield share(f"for contrast, SE_run's interval covers: {where}", plain)
                counted, true = zip(*squares, strict=True)
                yield ratio(f"MS_run / (T k) over the true variance: {where}", counted, true, (0.9, 1.1))


def siblings(trials: int) -> Iterator[Row]:
    """What the repeats gate finds in the variance within tasks, model by model and server by server."""
    for size in SIZES:
        if size.tasks > 1000:
            continue
        repeats = dict.fromkeys(MODELS, 8 if size.tasks < 100 else 4)
        setting = setting_of(size)
        faults = {
            "no fault": None,
            "50 % of tasks cached": repeat_answers(0.5),
            "80 % of tasks cached": repeat_answers(0.8),
        }
        for what, fault in faults.items():
            generator, by_model, by_server = generator_of(f"siblings {what} {size}"), [], []
            for _ in range(trials // 2):
                made = Runs.sound(setting.draw(generator, repeats))
                made = fault(made, generator) if fault else made
                shown = setting.facts(made.rollouts, generator).contenders
                shares = within_shares([replace(one, server=one.name.split("-")[0]) for one in shown])
                by_model.append(bool(alone(shares)))
                by_server.append(bool(of_servers(shares)))
            where = f"{size}, {what} on the server of four of seven models"
            claim = UNCLAIMED if fault else at_most(0.05)
            where = where if fault else f"{size}, {what}"
            yield share(f"a model varies far less than the others: {where}", by_model, claim)
            yield share(f"a server's models vary far less than those elsewhere: {where}", by_server, claim)


def _tie(trials: int) -> Iterator[Row]:
    """Runs that are more alike than sampling allows, and copies, which F cannot see."""
    generator = generator_of("tied")
    equal, copied, whole = [], [], []
    for _ in range(trials):
        rates_T = EVEN.rates(generator, 198)
        effect = run_effect(_equal_totals(generator, rates_T, 4))
        equal.append(effect is not None and effect.p_low < DRIFT)
        rewards_TK = EVEN.rewards(generator, rates_T, 4)
        whole.append(run_effect(np.repeat(rewards_TK[:, :1], 4, axis=1)) is None)
        rewards_TK[:160] = rewards_TK[:160, :1]
        effect = run_effect(rewards_TK)
        copied.append(effect is not None and effect.p_low < DRIFT)
    yield share("found: 198 tasks × 4, each run gets as many right as the others, to within one", equal, at_least(0.5))
    yield share("all repeats copied, 198 tasks × 4: no F, W = 0", whole, (1.0, 1.0))
    yield share("not seen by F: 198 tasks × 4, 160 of them copied in all runs", copied, at_most(0.02))


def _equal_totals(generator: np.random.Generator, rates_T: Floats, repeats: int) -> Floats:
    """Systematic sampling: each task is right at its rate, each run's total is the same to within one."""
    ends_T = np.concatenate(([0.0], np.cumsum(rates_T)))
    starts_K = generator.random(repeats)
    return np.diff(np.floor(ends_T[:, None] + starts_K), axis=0)

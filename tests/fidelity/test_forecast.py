"""The forecast of a profile: what is expected of models, simulated rollouts, and what gates need at common sizes."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from assay.config import Suite, load_suite
from assay.errors import InputError, UnknownName, UsageError
from assay.fidelity.forecast import Setting, expect, forecast, tasks_of_size
from assay.fidelity.forecast.expectation import SOUND, Expectation, Rates
from assay.fidelity.forecast.labels import simulate_labels
from assay.fidelity.forecast.original import parity
from assay.fidelity.forecast.rates import solve_rates, spread_of
from assay.fidelity.forecast.simulation import Rollouts, contender, simulate_model
from assay.fidelity.original.published import Origin, Published, PublishedScore
from assay.fidelity.results.columns import Cell
from assay.fidelity.results.results import Results
from assay.fidelity.results.score import layout_of
from assay.fidelity.schema.forecast import Forecast
from assay.score import Mean
from tests.fidelity.made import made_run

SEVEN = (
    "policy",
    "gpt-5-nano",
    "gpt-5",
    "qwen3-30b-instruct",
    "qwen3-30b-thinking",
    "qwen3-235b-instruct",
    "qwen3-235b-thinking",
)
BEST = SEVEN[-1]
AIME = (0.60, 0.85, 0.945, 0.61, 0.85, 0.70, 0.92)
GPQA = (0.60, 0.71, 0.86, 0.70, 0.73, 0.775, 0.81)
IFEVAL = (0.80, 0.88, 0.93, 0.85, 0.89, 0.885, 0.88)


def shipped() -> Suite:
    suite = load_suite("gym-2026-02")
    return structs.replace(suite, tiers="all", models={name: suite.models[name] for name in SEVEN})


def of_size(tasks: int, scores: tuple[float, ...], chance: float = 0.0) -> Forecast:
    suite, listed = shipped(), tasks_of_size(tasks)
    expected = expect(suite, listed, None, guesses=dict(zip(SEVEN, scores, strict=True)))
    return forecast(Setting(suite=suite, expected=expected, tasks=listed, chance=chance))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tasks", "scores", "chance", "repeats", "rollouts"),
    [
        pytest.param(30, AIME, 0.0, (24, 48), (1_500, 3_500), id="AIME", marks=pytest.mark.slow),
        pytest.param(198, GPQA, 0.25, (4, 8), (2_400, 5_000), id="GPQA", marks=pytest.mark.slow),
        pytest.param(541, IFEVAL, 0.0, (2, 3), (4_000, 7_600), id="IFEval"),
    ],
)
def test_a_sound_benchmark_of_a_common_size_passes_at_a_cost_that_can_be_paid(tasks, scores, chance, repeats, rollouts):
    made = of_size(tasks, scores, chance)
    assert repeats[0] <= made.repeats[BEST] <= repeats[1]
    assert rollouts[0] <= made.rollouts <= rollouts[1] and made.rollouts < tasks * sum([made.repeats[BEST]] * 7)
    assert made.rollouts == sum(tasks * k for k in made.repeats.values())
    assert made.passes >= 0.9


@pytest.mark.heavy
def test_parity_takes_the_model_that_costs_least_and_a_judge_takes_labels():
    suite, tasks = shipped(), tasks_of_size(198)
    expected = expect(suite, tasks, None, guesses=dict(zip(SEVEN, GPQA, strict=True)))
    port = Setting(suite=suite, expected=expected, tasks=tasks, judged=True)
    made = forecast(port, trials=20)
    assert 4 <= made.repeats[BEST] <= 8 and 2_000 <= made.rollouts <= 5_000
    gates = {gate.name: gate for gate in made.gates}
    parity, judge = gates["parity"], gates["judge"]
    # W is about .08: 2 W / T (3.605 / 5 points)^2 repeats a side show it at the first look in nine of ten.
    assert list(parity.repeats) == [BEST] and 2 <= parity.repeats[BEST] <= 8
    assert parity.passes is not None and parity.passes >= 0.9 and "original code makes as many" in parity.note
    assert parity.rollouts == 198 * parity.repeats[BEST] and not parity.labels
    assert judge.passes is not None and judge.passes >= 0.8 and 60 <= judge.labels <= 100 < judge.minutes
    assert not judge.rollouts and judge.repeats == {}

    gates = {
        gate.name: gate for gate in forecast(dataclasses.replace(port, original=True, judged=False), repeats=1).gates
    }
    assert gates["parity"].passes is None and "original" in gates["parity"].note
    assert gates["judge"].passes is None and "no judge" in gates["judge"].note
    unnamed = dataclasses.replace(port, registers=False)
    gates = {gate.name: gate for gate in forecast(unnamed, repeats=1).gates}
    assert gates["parity"].passes == 0.0 and "published.toml" in gates["parity"].note


def test_simulated_parity_and_judging_follow_what_is_true():
    generator = np.random.default_rng(0)
    member = shipped().models["policy"]
    rates_T = generator.random(300)
    made = simulate_model(generator, rates_T, 8, Expectation(member=member, score=0.5))
    verdicts = [parity(generator, made, 0.05).verdict for _ in range(20)]
    assert verdicts.count("equivalent") >= 17 and "different" not in verdicts
    elsewhere = dataclasses.replace(made, rates_T=rates_T * 0.8)
    assert "equivalent" not in [parity(generator, elsewhere, 0.05).verdict for _ in range(10)]
    judging = simulate_labels(generator, {"policy": made}, 80)
    assert len(judging.panel.answers) == 100 and len(judging.labels) == 80
    assert sum(one.passes for one in judging.panel.answers) == 50
    agree = [judging.labels[one.content].right == one.passes for one in judging.panel.answers[:80]]
    assert 0.8 < sum(agree) / 80 < 1


def test_a_gate_that_cannot_pass_says_why():
    suite, tasks = shipped(), tasks_of_size(30)
    low = expect(suite, tasks, None, guesses={"": 0.2})
    made = forecast(Setting(suite=suite, expected=low, tasks=tasks), trials=20, repeats=2)
    gate = next(gate for gate in made.gates if gate.name == "range")
    assert gate.passes == 0.0 and "30" in gate.note and set(made.repeats.values()) == {2}


def test_a_suite_that_climbs_runs_the_tiers_that_it_needs():
    suite, tasks = load_suite("gym-2026-02"), tasks_of_size(198)
    clear = Setting(suite=suite, expected=expect(suite, tasks, None, guesses={"": 0.8}), tasks=tasks)
    hard = Setting(suite=suite, expected=expect(suite, tasks, None, guesses={"": 0.1}), tasks=tasks)
    assert "qwen3-235b-thinking" not in forecast(clear, trials=10, repeats=1).models
    assert forecast(hard, trials=10, repeats=1).models.keys() == suite.models.keys()


def test_solve_rates_have_the_scores_exactly_and_models_agree_on_what_is_hard():
    generator = np.random.default_rng(0)
    rates_MT = solve_rates(generator, [0.5, 0.9, 0.5], 2000)
    assert rates_MT.mean(axis=1) == pytest.approx([0.5, 0.9, 0.5], abs=1e-4)
    assert 0.5 < float(np.corrcoef(rates_MT[0], rates_MT[2]).min()) < 0.95
    assert spread_of(0.8, 0.16) == pytest.approx(0.0, abs=0.2)
    assert spread_of(0.8, 0.03) > 4 > spread_of(0.8, 0.1)


def test_simulated_results_give_what_cells_give():
    generator = np.random.default_rng(1)
    member, tasks = load_suite("embedded").models["policy"], tasks_of_size(40)
    expected = Expectation(member=member, score=0.5, rates=Rates(0.1, 0.1, 0.1), output_tokens=300)
    made = simulate_model(generator, generator.random(40), 3, expected)
    simulated = contender("m", member, tasks, made, Mean(), layout_of(Mean(), tasks)).results
    real = Results(tasks, made.rewards_TK, cells(made), {}, 0.0)
    for metric in ("score", "failures", "token_cap", "no_answer", "output_tokens"):
        np.testing.assert_array_equal(simulated.figures_TK(metric), real.figures_TK(metric))
    same = [(one.texts_KT[:, :, None] == one.texts_KT[:, None, :]).tolist() for one in (simulated, real)]
    assert same[0] == same[1]
    assert simulated.independence == real.independence and bool(simulated.scored) and not simulated.owed


def cells(made: Rollouts) -> list[Cell]:
    return [
        Cell(
            task=task,
            repeat=repeat,
            reward=None if np.isnan(made.rewards_TK[task, repeat]) else float(made.rewards_TK[task, repeat]),
            answer=None if made.silent_TK[task, repeat] else "x",
            stop="token_cap" if made.capped_TK[task, repeat] else "completed",
            output_tokens=300,
            text=int(made.texts_TK[task, repeat]),
        )
        for task, repeat in np.ndindex(made.rewards_TK.shape)
    ]


def test_a_guess_goes_before_a_published_score_and_a_pilot_before_both(tmp_path: Path):
    suite, tasks = shipped(), tasks_of_size(20)
    score = PublishedScore(
        model="GPT-5", score="85.7", subset="test", source="a card", date="2025-08-07", confidence="card"
    )
    stated = Published(origin=Origin(repository="https://example.org", commit="c"), scores=[score])
    assert expect(suite, tasks, stated)["gpt-5"].score == pytest.approx(0.857)
    guessed = expect(suite, tasks, stated, guesses={"gpt-5": 0.9, "thinking": 0.7}, tokens={"instruct": 300})
    assert (guessed["gpt-5"].score, guessed["gpt-5"].score_from) == (0.9, "guess")
    assert guessed["gpt-5-nano"].score == 0.7 and guessed["policy"].score_from == "assumed"
    assert guessed["policy"].output_tokens == 300 and guessed["policy"].tokens_from == "guess"

    run = made_run(tmp_path / "run", [[1, 0], [1, 1], [0, None], [1, 1]], model="gpt-5", tokens=40)
    piloted = expect(suite, tasks, stated, guesses={"gpt-5": 0.9}, pilot=run)["gpt-5"]
    assert (piloted.score, piloted.score_from, piloted.tokens_from) == (0.625, "pilot", "pilot")
    assert piloted.output_tokens == 40 and piloted.rates.failed == pytest.approx(1.5 / 9)
    assert piloted.rates.capped == SOUND.capped


def test_assumed_scores_follow_the_stated_order():
    suite = shipped()
    assumed = expect(suite, tasks_of_size(5), None)
    for stronger, weaker in suite.order:
        assert assumed[stronger].score > assumed[weaker].score


def test_a_name_that_is_not_there_and_a_pilot_of_something_else_are_refused(tmp_path: Path):
    suite, tasks = shipped(), tasks_of_size(5)
    with pytest.raises(UnknownName, match="gpt-6"):
        expect(suite, tasks, None, guesses={"gpt-6": 0.5})
    run = made_run(tmp_path / "run", [[1, 0], [1, 1]], model="stranger")
    with pytest.raises(UsageError, match="stranger"):
        expect(suite, tasks, None, pilot=run)
    with pytest.raises(UsageError, match="neither a run's directory nor a profile's"):
        expect(suite, tasks, None, pilot=tmp_path)
    (run / "rollouts.jsonl").write_text("{}\n")
    with pytest.raises((InputError, UsageError)):
        expect(suite, tasks, None, pilot=run)


def test_the_cost_of_a_rollout_follows_from_the_prices():
    member = shipped().models["gpt-5"]
    assert Expectation(member=member, score=0.5, input_tokens=1e6, output_tokens=1e6).usd == pytest.approx(11.25)
    assert Expectation(member=shipped().models["policy"], score=0.5).usd is None

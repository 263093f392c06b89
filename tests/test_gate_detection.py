"""The faults of the study of gates: each is stopped by the gate that looks for it."""

import numpy as np
import pytest

from assay.fidelity.forecast.reading import read_through
from assay.fidelity.gates.read import read_gate
from studies import faults
from studies.broken import BROKEN, SOUND, failing, stopped_by
from studies.faults import Runs
from studies.gate_detection import FAULTS, MODELS, SIMULATIONS, SIZES, setting_of

GPQA = next(size for size in SIZES if size.name == "GPQA")
REPEATS = dict.fromkeys(MODELS, 4)
STOPPED = {
    "5 % wrong labels": "read",
    "parser drops 10 % of one model's answers": "kinds",
    "15 % of one model's outputs cut at the token cap": "kinds",
    "all tasks cached, of one server": "repeats",
    "half of the tasks cached, of one server": "repeats",
    "rewards of one server locked to the seed": "repeats",
    "aggregation 4 points from the paper's": "reproduced",
}


@pytest.mark.parametrize(
    ("name", "gate"),
    [
        ("thinking scored as answer", "verifier"),
        ("substring verifier", "gold"),
        ("verifier accepts anything", "gold"),
        ("reward for the format alone", "gold"),
        ("gold leaked into the prompt", "tasks"),
        ("options not shuffled", "gold"),
    ],
)
def test_a_broken_benchmark_is_stopped_by_the_gate_that_runs_it(name: str, gate: str):
    assert gate in stopped_by(name)


def test_the_same_tasks_with_a_right_verifier_pass():
    assert [failing(benchmark) for benchmark in SOUND] == [()] * len(SOUND)
    assert {name for name in BROKEN if not stopped_by(name)} == set()


@pytest.mark.parametrize("name", STOPPED)
def test_a_fault_in_simulated_rollouts_is_stopped_by_the_gate_that_looks_for_it(name: str):
    setting, generator = setting_of(GPQA), np.random.default_rng(0)
    made = FAULTS[name](Runs.sound(setting.draw(generator, REPEATS)), generator)
    facts = setting.facts(made.rollouts, generator, wrong=made.wrong, away=made.published)
    gate = next(rule for rule in SIMULATIONS if rule.name == STOPPED[name])
    assert gate.of_facts and gate.of_facts(facts).verdict != "pass"


def test_misread_answers_of_one_model_are_mostly_seen_by_the_reader():
    setting, generator = setting_of(GPQA), np.random.default_rng(1)
    verdicts: list[str] = []
    for _ in range(20):
        made = faults.misread(Runs.sound(setting.draw(generator, REPEATS)), generator)
        verdicts.append(read_gate(read_through(generator, made.rollouts, made.wrong)).verdict)
    assert verdicts.count("fail") >= 16


def test_a_reader_of_a_sound_benchmark_reads_what_review_draws_and_passes_it():
    setting, generator = setting_of(GPQA), np.random.default_rng(2)
    made = Runs.sound(setting.draw(generator, REPEATS))
    review = read_through(generator, made.rollouts, made.wrong)
    assert read_gate(review).verdict == "pass"
    # 72 at random and each model's quota, of which most are among these; twelve are planted.
    assert review.sample == 72 and 72 + 12 <= review.readers["reader"].read <= 72 + 12 + 7 * 15
    few = Runs.sound(setting.of(["gpt-5"]).draw(generator, {"gpt-5": 1}))
    assert 20 < read_through(generator, few.rollouts, few.wrong).readers["reader"].read <= 72 + 12 + 15

"""Golden answers: what has to score, and what must not."""

from pathlib import Path

import pytest

from assay.benchmark.catalog import load
from assay.fidelity.check.rehearsal import rehearse

BENCHMARK = load(str(Path(__file__).parent))


@pytest.mark.parametrize("answer", ["oxygen", "Oxygen.", "**oxygen**", "O"])
def test_a_golden_pass(answer: str):
    assert rehearse(BENCHMARK, "oxygen", answer).reward == 1


@pytest.mark.parametrize("answer", ["nitrogen", "oxygen or nitrogen", "not oxygen", ""])
def test_a_golden_fail(answer: str):
    assert rehearse(BENCHMARK, "oxygen", answer).reward == 0

"""Golden answers: what has to score, and what must not."""

from pathlib import Path

import pytest

from assay.benchmark.catalog import load
from assay.fidelity.check.rehearsal import rehearse

BENCHMARK = load(str(Path(__file__).parent))


@pytest.mark.parametrize("answer", ["B", "(B)", "Answer: B", "It isn't the wind.\nAnswer: B", "the Moon"])
def test_a_golden_pass(answer: str):
    assert rehearse(BENCHMARK, "tides", answer).reward == 1


@pytest.mark.parametrize("answer", ["A", "Answer: C", "B or C", "Is it B?", ""])
def test_a_golden_fail(answer: str):
    assert rehearse(BENCHMARK, "tides", answer).reward == 0

"""Golden answers: what has to score, and what must not."""

import asyncio
from pathlib import Path

import pytest

from assay.benchmark.catalog import load
from assay.errors import UsageError
from assay.fidelity.check.rehearsal import rehearse

BENCHMARK = load(str(Path(__file__).parent))
SORTED = "```python\ndef middle(numbers):\n    import statistics\n    return statistics.median(numbers)\n```"
WRONG = "```python\ndef middle(numbers):\n    return sorted(numbers)[len(numbers) // 2]\n```"
ENDLESS = "```python\ndef middle(numbers):\n    while True: pass\n```"


@pytest.fixture(scope="module", autouse=True)
def _a_sandbox():
    try:
        asyncio.run(BENCHMARK.environment.ready())
    except UsageError as error:
        pytest.skip(str(error))


def test_a_golden_pass():
    assert rehearse(BENCHMARK, "middle", SORTED).reward == 1


@pytest.mark.parametrize("answer", [WRONG, ENDLESS, "def middle(numbers", "import os; os._exit(0)", ""])
def test_a_golden_fail(answer: str):
    assert rehearse(BENCHMARK, "middle", answer).reward == 0

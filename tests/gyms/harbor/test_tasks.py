"""Five tasks in a Debian root: a file, a service, a C program, data with a verifier of its own, two steps."""

import shutil
from pathlib import Path

import pytest

from assay.benchmark.catalog import load
from assay.types import Score
from tests.gyms.harbor.made import NOP, ORACLE, play

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not shutil.which("mmdebstrap"), reason="needs mmdebstrap"),
]
TASKS = Path(__file__).parent / "tasks"


@pytest.mark.parametrize("id", [path.parent.name for path in sorted(TASKS.glob("*/task.toml"))])
def test_the_solution_gets_1_and_nothing_gets_0(id: str):
    benchmark = load(f"harbor:{TASKS}")
    for agent, reward in ((ORACLE, 1), (NOP, 0)):
        outcome = play(benchmark, agent, id)
        assert isinstance(outcome, Score) and outcome.reward == reward

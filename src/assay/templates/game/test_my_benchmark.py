"""Golden games: what has to score, and what must not."""

from pathlib import Path

from assay.benchmark.catalog import load
from assay.fidelity.check.rehearsal import rehearse

BENCHMARK = load(str(Path(__file__).parent))
TASK = next(task for task in BENCHMARK.environment.tasks() if task.tags["level"] == "up-to-100")
SECRET: int = TASK.data["secret"]


def test_a_golden_pass():
    assert rehearse(BENCHMARK, TASK.id, "1", "100", f"**{SECRET}**").reward == 1


def test_a_golden_fail():
    assert rehearse(BENCHMARK, TASK.id, *["It might be anything."] * 7).reward == 0
    assert rehearse(BENCHMARK, TASK.id, *["1000"] * 7, str(SECRET)).reward == 0


def test_a_near_guess_is_no_answer():
    score = rehearse(BENCHMARK, TASK.id, *[str(SECRET + 1)] * 7)
    assert (score.reward, score.metrics["off"]) == (0, 1)
    assert rehearse(BENCHMARK, TASK.id, *[f"-{SECRET}"] * 7).answer is None

"""Golden calls: what has to score, and what must not."""

from pathlib import Path

from assay.benchmark.catalog import load
from assay.fidelity.check.rehearsal import rehearse
from assay.model.builtin.function import FunctionModel

BENCHMARK = load(str(Path(__file__).parent))
RIGHT = '{"number": "PX-2090", "sender": "Hale and Sons"}'


def test_a_golden_pass():
    score = rehearse(BENCHMARK, "late-books", "May I have the number?", "And who is the sender?", f"So:\n{RIGHT}")
    assert score.reward == 1


def test_a_golden_fail():
    assert rehearse(BENCHMARK, "late-books", "Who are you?", '{"number": "PX-2090"}').metrics == {"share": 0.5}
    assert rehearse(BENCHMARK, "late-books", '{"number": "PX-2090"}').reward == 0
    assert rehearse(BENCHMARK, "late-books", *["Hello?"] * 20).answer is None


def test_another_user_may_take_the_call():
    silent = FunctionModel(lambda _: "…")
    assert rehearse(BENCHMARK, "late-books", "The number?", RIGHT, roles={"user": silent}).reward == 1

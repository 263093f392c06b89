"""Golden answers: what has to score, and what must not. The judge is a rule here, so that no model is needed."""

from pathlib import Path

import msgspec

from assay.benchmark.catalog import load
from assay.fidelity.check.rehearsal import rehearse
from assay.model.builtin.function import FunctionModel
from assay.types import Message, Request

BENCHMARK = load(str(Path(__file__).parent))
RIGHT = "When prices rise in general, that is inflation."


def verdict(request: Request) -> str:
    """Finds every criterion met where the answer says that prices rise."""
    asked = request.input[-1]
    assert isinstance(asked, Message)
    data = msgspec.json.decode(asked.text)
    said = {"reason": "by the rule", "met": "prices rise" in data["answer"]}
    return msgspec.json.encode(dict.fromkeys(data["criteria"], said)).decode()


def test_a_golden_pass():
    assert rehearse(BENCHMARK, "inflation", RIGHT, roles={"judge": FunctionModel(verdict)}).reward == 1


def test_a_golden_fail():
    assert rehearse(BENCHMARK, "inflation", "Bread is dear.", roles={"judge": FunctionModel(verdict)}).reward == 0


def test_silence_is_not_worth_a_judge():
    assert rehearse(BENCHMARK, "inflation", "", roles={}).reward == 0

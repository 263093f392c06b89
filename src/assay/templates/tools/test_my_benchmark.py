"""Golden rollouts: what has to score, and what must not."""

from pathlib import Path

import pytest

from assay.benchmark import Call
from assay.benchmark.catalog import load
from assay.fidelity.check.rehearsal import rehearse

BENCHMARK = load(str(Path(__file__).parent))


def test_a_golden_pass():
    right = Call("lend", {"book": "b2", "member": "m1"})
    assert rehearse(BENCHMARK, "lend-by-title", right, "It is done.").reward == 1


@pytest.mark.parametrize(
    "steps",
    [
        ["It is done."],
        [Call("lend", {"book": "b2", "member": "m2"})],
        [Call("lend", {"book": "b1", "member": "m1"})],
        [Call("lend", {"book": "b2", "member": "m1"}), Call("take_back", {"book": "b3"})],
    ],
    ids=["says so only", "the other Ines", "the copy that is out", "more than was asked"],
)
def test_a_golden_fail(steps: list[Call | str]):
    assert rehearse(BENCHMARK, "lend-by-title", *steps).reward == 0

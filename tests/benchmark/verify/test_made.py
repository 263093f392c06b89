"""Both error rates of the verifiers, over answers that are made by construction."""

import asyncio

import pytest

from bench.verifiers import VERIFIERS, errors

ALLOWED = {"maths": 0.005}


def judge_many(name: str, count: int, seed: int) -> None:
    if name == "maths":
        pytest.importorskip("math_verify", reason="the extra `maths` is not installed")
    found = asyncio.run(errors(name, count, seed))
    allowed = ALLOWED.get(name, 0.001)
    assert min(found.right, found.wrong) > count / 5
    assert len(found.accepted) <= allowed * found.wrong, found.accepted[:20]
    assert len(found.refused) <= allowed * found.right, found.refused[:20]


@pytest.mark.parametrize("name", VERIFIERS)
def test_made_answers_are_judged_rightly(name: str):
    judge_many(name, 1_000, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", VERIFIERS)
def test_many_made_answers_are_judged_rightly(name: str):
    judge_many(name, 20_000, seed=2)

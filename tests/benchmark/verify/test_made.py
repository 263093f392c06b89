"""Both error rates of the verifiers, over answers that are made by construction."""

import asyncio

import pytest

from bench.verifiers import VERIFIERS, errors

ALLOWED = 0.001
NAMES = [name for name in VERIFIERS if name != "maths"]
"""The maths verifier judges many at once in a test of its own."""


def judge_many(name: str, count: int, seed: int) -> None:
    found = asyncio.run(errors(name, count, seed))
    assert min(found.right, found.wrong) > count / 5
    assert len(found.accepted) <= ALLOWED * found.wrong, found.accepted[:20]
    assert len(found.refused) <= ALLOWED * found.right, found.refused[:20]


@pytest.mark.parametrize("name", NAMES)
def test_made_answers_are_judged_rightly(name: str):
    judge_many(name, 300, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_many_made_answers_are_judged_rightly(name: str):
    judge_many(name, 20_000, seed=2)

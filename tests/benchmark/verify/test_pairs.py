"""Generated messages, judged: what is right by construction scores 1, and what only looks like it scores 0."""

import asyncio
from collections.abc import Callable, Iterator
from itertools import islice
from random import Random
from typing import Any

import pytest

from assay.benchmark.verify.code import code_in
from assay.benchmark.verify.judge import judge
from assay.benchmark.verify.schema import conforms
from assay.errors import ModelError
from assay.model.builtin.fixed import Fixed
from assay.types import Message, Response
from bench.verifiers import code, schema
from bench.verifiers import judge as judges


def of_json(reference: dict[str, Any], text: str) -> float:
    return conforms(Response(output=[Message(role="assistant", content=text)]), reference).reward


def of_code(name: str, text: str) -> float:
    """By running it here: all of it was written by the generator."""
    names: dict[str, Any] = {"__name__": "solution"}
    try:
        exec(code_in(text, name), names)
        return float(names[name](2, 3) == 5 and names[name](-1, 1) == 0)
    except (SyntaxError, NameError, KeyError, TypeError):
        return 0.0


def of_judge(answer: str, reply: str) -> float:
    try:
        return asyncio.run(judge(Fixed(lambda _: reply), question="Q", reference="R", answer=answer)).reward
    except ModelError:
        return 0.0


@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", [1000, pytest.param(20_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("pairs", "reward"),
    [(schema.pairs, of_json), (code.pairs, of_code), (judges.pairs, of_judge)],
    ids=lambda one: one.__module__,
)
def test_of_generated_pairs_fewer_than_one_in_a_thousand_is_judged_wrongly(
    pairs: Callable[[Random], Iterator[tuple[Any, str, bool]]], reward: Callable[[Any, str], float], count: int
):
    made = list(islice(pairs(Random(0)), count))
    wrong = [(text, right) for reference, text, right in made if reward(reference, text) != right]
    for side in (False, True):
        assert sum(right is side for _, right in wrong) < 0.001 * sum(right is side for *_, right in made), wrong[:10]

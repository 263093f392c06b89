"""No text makes a verifier slower than linear: hostile repetitions, by process time."""

import asyncio
import gc
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from assay.benchmark.verify.choice import chosen
from assay.benchmark.verify.code import code_in
from assay.benchmark.verify.integer import read_integer
from assay.benchmark.verify.judge import judge
from assay.benchmark.verify.maths.reading import stated_formula
from assay.benchmark.verify.number import number
from assay.benchmark.verify.schema import conforms
from assay.benchmark.verify.text import normalise
from assay.errors import ModelError
from assay.model.builtin.function import FunctionModel
from assay.types import Message, Response, Score

ANSWERS = [
    *("a", " ", "\n", "1", "1,", "1,111", " 111", "1 1/", "1/", "1.", "-1", "(", "{", "[", '"', "\\", "**", "_", "'"),
    *("####", "\\boxed{", "\\frac{1}", "\\text{", "answer is ", "answer: 1\n", "Answer: A or ", "(A) ", "A. "),
    *("```json\n", "{'a':", '{"a":', "= ", "=-", "10^", "1e", "½", "²", "\u0301\u0327", "\u0f71\u0f72", "\u200b"),
    *("the ", "A is correct", "option ", "1 or ", "not ", "minus ", "- ", "答案", "是A或", "only A is ", "the the "),
    *("__1", "\\frac{", "^{1", "2:00", "\\text{{"),
]
"""Pieces of texts that a careless pattern takes minutes over: each text is one of them, over and over."""
MATHS = [
    *("a", "1", " ", "*", "_", "`", "$", "{", "~", ".", ":", "\n", "\\boxed{", "\\text{", "answer is ", "is ", ": "),
    *("√", "½", "²", "1:", "1e9 ", "<answer>", "$ ", "\\,"),
]
CODE = [
    *("`", "```\n", "~~~ `\n", " ", "\n ", "def ", "async def add", "```python\ndef add", "```\n'''\n", '"""\n```\n'),
    *("a```\n", "``` x", "import add, ", "add = ", "from a.", "```\n\\\\", "'\"", "{ ", "#`"),
]
REPLIES = [
    *('{"1":', '{"1": ', "{", '{"1": {"reason": "', '{"1": [', "```json\n"),
    '{"1": {"reason": "It is.", "met": true}} ',
]


def read_payload(text: str) -> Score:
    """The judgement of a message that should be a JSON object."""
    return conforms(Response(output=[Message(role="assistant", content=text)]), {"type": "object"})


def read_reply(text: str) -> None:
    """The verdict of a judge that replies this."""
    with suppress(ModelError):
        asyncio.run(judge(FunctionModel(lambda _: text), question="The capital?", reference="Paris", answer="Lyon"))


VERIFIERS: dict[str, tuple[Callable[[str], object], list[str]]] = {
    "number": (number, ANSWERS),
    "integer": (read_integer, ANSWERS),
    "text": (normalise, ANSWERS),
    "choice": (lambda text: chosen(text, ["Rome", "Berlin", "Paris", "E. coli"]), ANSWERS),
    "schema": (read_payload, ANSWERS),
    "maths": (stated_formula, MATHS),
    "code": (lambda text: code_in(text, "add"), CODE),
    "judge": (read_reply, REPLIES),
}


def took_s(function: Callable[[str], object], piece: str, size: int) -> float:
    text = piece * (size // len(piece)) + "x/"
    gc.disable()  # a collection of all that a test process holds takes longer than the call
    try:
        started = time.process_time()
        function(text)
        return time.process_time() - started
    finally:
        gc.enable()


@pytest.mark.heavy
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("size", [30_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", VERIFIERS)
def test_long_texts_take_as_many_times_longer_as_they_are_longer(name: str, size: int):
    function, pieces = VERIFIERS[name]
    for piece in pieces:
        # 16 times the text takes 16 times as long if linear and 256 times if quadratic.
        assert took_s(function, piece, size) < 48 * max(took_s(function, piece, size // 16), 0.005), piece

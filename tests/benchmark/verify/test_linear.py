"""No text makes a verifier slower than linear: hostile repetitions of up to a million characters, by process time."""

import time
from collections.abc import Callable

import pytest

from assay.benchmark.verify.choice import chosen
from assay.benchmark.verify.integer import read_integer
from assay.benchmark.verify.number import number
from assay.benchmark.verify.text import normalise
from tests.benchmark.verify.hostile import PIECES

VERIFIERS: dict[str, Callable[[str], object]] = {
    "number": number,
    "integer": read_integer,
    "text": normalise,
    "choice": lambda text: chosen(text, ["Rome", "Berlin", "Paris", "E. coli"]),
}
MORE = [
    "1 or ",
    "not ",
    "minus ",
    "- ",
    "答案",
    "是A或",
    "only A is ",
    "the the ",
    "__1",
    "\\frac{",
    "^{1",
    "2:00",
    "\\text{{",
]
SMALL, LARGE = 62_500, 1_000_000


def took_s(function: Callable[[str], object], piece: str, size: int) -> float:
    text = piece * (size // len(piece)) + "x/"
    started = time.process_time()
    function(text)
    return time.process_time() - started


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", VERIFIERS)
def test_a_million_characters_take_as_many_times_longer_as_they_are_more(name: str):
    function = VERIFIERS[name]
    for piece in (*PIECES, *MORE):
        # 16 times the text takes 16 times as long if linear and 256 times if quadratic.
        assert took_s(function, piece, LARGE) < 48 * max(took_s(function, piece, SMALL), 0.02), piece

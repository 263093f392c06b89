"""Integers in a message."""

import re

from assay.benchmark.verify.number import Number, number
from assay.types import Response, Score


def read_integer(text: str) -> int | None:
    """Returns the integer that a message gives as its answer, found and read as `number` does it.

    None if it gives no number, or one that is no integer: 3.5 is not read as 5.
    """
    return _whole(number(text))


def integer(response: Response, gold: int) -> Score:
    """Returns 1 if the message's integer is the gold one, else 0. Reasoning is not read.

    `metrics["undecided"]` is 1 if there are digits and no number could be read as the answer.
    """
    value = number(response.text)
    answer = _whole(value)
    metrics = {"undecided": 1.0} if value is None and re.search(r"\d", response.text) else {}
    return Score(reward=float(answer == gold), metrics=metrics, answer=None if answer is None else str(answer))


def _whole(value: Number | None) -> int | None:
    return int(value) if value is not None and value == int(value) else None

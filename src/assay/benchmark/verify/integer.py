"""Integers in a message."""

from assay.benchmark.verify.number import number
from assay.types import Response, Score


def read_integer(text: str) -> int | None:
    """Returns the integer that a message gives as its answer, found and read as `number` does it.

    None where it gives no number, or one that is no integer: 3.5 is not read as 5.
    """
    value = number(text)
    return int(value) if value is not None and value == int(value) else None


def integer(response: Response, gold: int) -> Score:
    """Returns 1 where the message's integer is the gold one, else 0. Reasoning is not looked at."""
    answer = read_integer(response.text)
    return Score(reward=float(answer == gold), answer=None if answer is None else str(answer))

"""Integers in a message."""

import re

from assay.types import Response, Score

_INTEGER = r"[-−]?\d{1,3}(?:,\d{3})+(?!,?\d)|[-−]?\d+"
_BOXED = re.compile(r"\\boxed\{\s*(" + _INTEGER + r")\s*\}")
# A point or comma inside a number makes it another number: 3.5 is not the integer 5.
_ALONE = re.compile(r"(?<![\d.,\w])(" + _INTEGER + r")(?![\d\w]|[.,]\d)")


def read_integer(text: str) -> int | None:
    """The integer that a message gives as its answer: the last one in a `\\boxed{}`, else the last one standing alone.

    Thousands may be separated by commas. `None` where there is none.
    """
    found = _BOXED.findall(text) or _ALONE.findall(text)
    # int() refuses strings over 4,300 digits, which only a looping model writes.
    if not found or len(found[-1]) > 4000:
        return None
    return int(found[-1].replace(",", "").replace("−", "-"))


def integer(response: Response, gold: int) -> Score:
    """1 where the message's integer is the gold one, else 0. Reasoning is not looked at."""
    answer = read_integer(response.text)
    return Score(reward=float(answer == gold), answer=None if answer is None else str(answer))

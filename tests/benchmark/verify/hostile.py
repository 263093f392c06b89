"""Long texts that a careless pattern takes minutes over: each is one short piece, over and over."""

import time
from collections.abc import Callable

PIECES = [
    *("a", " ", "\n", "1", "1,", "1,111", " 111", "1 1/", "1/", "1.", "-1", "(", "{", "[", '"', "\\", "**", "_", "'"),
    *("####", "\\boxed{", "\\frac{1}", "\\text{", "answer is ", "answer: 1\n", "Answer: A or ", "(A) ", "A. "),
    *("```json\n", "{'a':", '{"a":', "= ", "=-", "10^", "1e", "½", "²", "\u0301\u0327", "\u0f71\u0f72", "\u200b"),
    *("the ", "A is correct", "option "),
]


def judge_all(function: Callable[[str], object], size: int = 100_000, limit_s: float = 3.0) -> None:
    """Fails where the function takes longer than `limit_s` for a text of that many characters."""
    for piece in PIECES:
        for end in ("", "x/"):
            started = time.process_time()
            function(piece * (size // len(piece)) + end)
            took_s = time.process_time() - started
            assert took_s < limit_s, f"{took_s:.1f} s for {size} characters of {piece!r}, ending in {end!r}"

"""The model's answers: a function of the prompt and the seed, so that every score is known beforehand."""

import hashlib
import re

CODE = "```python\ndef answer():\n    return {}\n```"
FORMS = {"quiz": "{}", "sums": r"So it is \boxed{{{}}}.", "boxed": CODE}
"""The form of an answer, by benchmark."""
_NUMBER = re.compile(r"(\w+): what is (\d+) times seven\?")


def question(benchmark: str, number: int) -> str:
    return f"{benchmark}: what is {number} times seven?"


def gold(number: int) -> str:
    return str(7 * number)


def is_right(prompt: str, seed: int) -> bool:
    """Whether the model solves the task: about two times in three."""
    return hashlib.blake2b(f"{prompt}/{seed}".encode()).digest()[0] % 3 != 0


def says(prompt: str, seed: int) -> str:
    """Returns the model's message."""
    found = _NUMBER.search(prompt)
    assert found, f"no prompt of ours: {prompt!r}"
    number = int(found[2])
    return FORMS[found[1]].format(7 * number if is_right(prompt, seed) else 7 * number + 1)

"""Solutions of `plus` by construction, right and wrong, and the ways in which models hand code over."""

from collections.abc import Iterator
from random import Random
from typing import Any

from assay.benchmark.verify.code import code_in
from assay.types import Score

NAME = "plus"
FORMS = [
    "def plus(a, b):\n    return %\n",
    "def plus(a, b):\n  return %\n",
    "plus = lambda a, b: %\n",
    "from operator import add, sub\n\ndef plus(a, b):\n    c = %\n    return c\n",
    "import sys\n\nif sys.version_info > (3,):\n    def plus(a, b):\n        return %\n",
    "class Plus:\n    def __call__(self, a, b):\n        return %\n\nplus = Plus()\n",
    'def plus(a, b):\n    """Add.\n\n    ```\n    plus(1, 2)\n    ```\n    """\n    return %\n',
    'HELP = """\n```text\nplus A B\n```\n"""\n\ndef plus(a, b):\n    return %\n',
    'def plus(a, b):\n    """It\'s #1.\n\n```\nplus(1, 2)\n```\n"""\n    return %\n',
    "def helper(x):\n    return x\n\n\ndef plus(a: int, b: int) -> int:\n    # ``` is no fence\n    return helper(%)\n",
]
FRAMES = [
    "%",
    "\ufeff%",
    "%```",
    "%```\nThis adds the numbers.",
    "%```\nExample:\n```python\nprint(plus(1, 2))\n```",
    "```python\n%```",
    "```py\n%```",
    "```\n%```",
    "~~~python\n%~~~",
    "````python\n%````",
    "```python\n%",
    "Sure: ```python\n%```",
    "\ufeff```python\n%```",
    "Here you are.\n\n```python\n%```\n\nIt adds `a` and `b`.",
    "```python\n%```\nOutput:\n```\n5\n```",
    "```python\n%```\nTry it:\n```python\nprint(plus(2, 3))\n```",
    "```python\n%```\nOr:\n```python\nfrom solution import plus\nprint(plus(2, 3))\n```",
    "```python\ndef plus(a, b):\n    return None\n```\nFixed:\n```python\n%```",
    "```sh\nls\n```\n```python\n%```",
    "```python\n%```python\nprint(plus(1, 2))\n```",
]


def pairs(rng: Random) -> Iterator[tuple[str, str, bool]]:
    """(the function's name, message, whether its code adds), without end."""
    while True:
        right = rng.random() < 0.5
        body = rng.choice(("a + b", "b + a", "(a + b)") if right else ("a - b", "a + b + 1", "None", "a * b"))
        yield NAME, rng.choice(FRAMES).replace("%", rng.choice(FORMS).replace("%", body)), right


def verify(name: str, text: str) -> Score:
    """1 where the code that is read out of the message adds. It runs here, for all of it was written above."""
    names: dict[str, Any] = {"__name__": "solution"}
    try:
        exec(code_in(text, name), names)
        right = names[name](2, 3) == 5 and names[name](-1, 1) == 0
    except (SyntaxError, NameError, KeyError, TypeError):
        right = False
    return Score(reward=float(right))

"""The process that judges maths answers for `maths`: a question a line, an answer a line. It may be killed at any time.

Run as a script and by its path, so that it imports nothing of this package: math-verify alone takes a second.
"""

import importlib
import itertools
import json
import os
import re
import resource
import signal
import sys
from typing import Any

MEMORY_BYTES = 4 << 30
_DELIMITED = re.compile(r"\$|\\\(|\\\[|\\boxed")
_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{3,}")
_BOLD = re.compile(r"(?<![\w)*])\*\*([^*\n]{1,200})\*\*(?![\w(*])")
_TERM = re.compile(r"(?<!\S)(\S*[\\^]\S*?)([.,;]?)(?!\S)")


def main() -> None:
    """Answers until its input ends."""
    # What the libraries print would be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    try:
        library = importlib.import_module("math_verify")
    except ImportError as error:
        print(json.dumps({"error": "import", "message": str(error)}), file=answers, flush=True)
        return
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        # Where nobody is left to kill this process, the kernel does.
        signal.setitimer(signal.ITIMER_REAL, question["deadline_s"] + 5)
        answer = _judge(library, question["gold"], question["text"])
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps(answer), file=answers, flush=True)


def _judge(library: Any, gold: str, text: str) -> dict[str, Any]:
    try:
        expected = library.parse(_boxed(gold), parsing_timeout=None)
        if not expected:
            return {"error": "gold", "message": f"the gold answer {gold[:200]!r} can't be read as maths"}
        got = library.parse(_delimited(text), parsing_timeout=None)
        right = any(_same(library, one, other) for one, other in itertools.product(expected, got))
    except (MemoryError, RecursionError) as error:
        return {"error": "resources", "message": f"the answer takes too much to judge: {type(error).__name__}"}
    said = next((part for part in got if isinstance(part, str)), None)
    return {"right": right, "answer": said if said is None else said[:1000]}


def _same(library: Any, gold: Any, got: Any) -> bool:
    try:
        return library.verify(gold, got, timeout_seconds=None, raise_on_error=True)
    except (MemoryError, RecursionError):
        raise
    except Exception:
        # The library compares what need not be comparable, such as a set and a number: then they are not the same.
        return False


def _boxed(gold: str) -> str:
    return gold if _DELIMITED.search(gold) else f"\\boxed{{{gold.strip()}}}"


def _delimited(text: str) -> str:
    """The text without Markdown's bold, and with its LaTeX in dollars: 2^{10} in bare prose would be read as 2."""
    text = _BOLD.sub(r"\1", text)
    if _DELIMITED.search(text) or not text.strip():
        return text
    if not _WORD.search(text) and "\n" not in text.strip():
        return f"\\boxed{{{text.strip()}}}"
    return _TERM.sub(r"$\1$\2", text)


if __name__ == "__main__":
    main()

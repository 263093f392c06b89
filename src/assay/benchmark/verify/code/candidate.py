"""The process that runs a solution: run from its source, in a sandbox, by `checker.py`.

It takes calls on its standard input and answers on its standard output, and has nothing to hide from the solution:
neither the tests nor what the verdict is told by are in it.
"""

import os
import pickle
import sys
import types
from io import BytesIO
from typing import Any, BinaryIO

PLAIN = (int, float, complex, str, bytes, tuple, list, set, frozenset, dict)


class Plain(pickle.Pickler):
    """Writes what is derived from a built-in type as that type: the checker takes no others."""

    def reducer_override(self, obj: Any, /) -> Any:
        for kind in PLAIN:
            if isinstance(obj, kind):
                return kind, (kind(obj),)  # type: ignore[arg-type]
        return NotImplemented


def main() -> None:
    calls, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    function: Any = None
    while (call := receive(calls)) is not None:
        try:
            if function is None:
                function = defined(**call)
                send(answers, ("returned", None))
            else:
                send(answers, ("returned", function(*call[0], **call[1])))
        except BaseException as error:
            send(answers, ("raised", type(error).__name__))


def defined(readings: list[list[str]], entry_point: str) -> Any:
    """The function that the solution defines, by the first of its readings that is Python."""
    module = types.ModuleType("solution")
    sys.modules["solution"] = module
    for number, pieces in enumerate(readings, 1):
        try:
            compiled = [compile(piece, "solution.py", "exec") for piece in pieces]
        except (SyntaxError, ValueError):
            if number == len(readings):
                raise
            continue
        for piece in compiled:
            exec(piece, module.__dict__)
        break
    return getattr(module, entry_point)


def receive(source: BinaryIO) -> Any:
    """What was sent; `None` at the end."""
    size = source.read(4)
    return pickle.loads(source.read(int.from_bytes(size, "big"))) if len(size) == 4 else None


def send(to: BinaryIO, what: Any) -> None:
    written = BytesIO()
    Plain(written).dump(what)
    to.write(len(written.getbuffer()).to_bytes(4, "big") + written.getbuffer())
    to.flush()


if __name__ == "__main__":
    main()

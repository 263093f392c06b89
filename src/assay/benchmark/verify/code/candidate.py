"""The process that runs a solution: run from its source, in a sandbox, by `checker.py`.

It takes calls on its standard input and answers on its standard output, and has nothing to hide from the solution:
neither the tests nor the verdict are in it.
"""

import os
import pickle
import sys
import types
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import islice
from typing import Any, BinaryIO, cast

PLAIN: dict[type, Callable[[Any], Any]] = {
    # What a subclass says of itself, as an enumeration does, is not what it is compared by.
    int: int.__int__,
    float: float.__float__,
    complex: complex.__complex__,
    str: str.__str__,
    **{kind: kind for kind in (bytes, tuple, list, set, frozenset, dict)},
}
WRITTEN: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("fractions.Fraction", "decimal.Decimal"), str),
    **dict.fromkeys(("datetime.datetime", "datetime.date", "datetime.time"), lambda value: value.isoformat()),
    "collections.deque": list,
}
"""Other types that the checker takes, and what it makes a value of."""
MOST_ITEMS = 1_000_000
"""Of an iterator, which the checker gets as one over a list."""


class Plain(pickle.Pickler):
    """Writes what is derived from a type that the checker takes as that type."""

    def reducer_override(self, obj: Any, /) -> Any:
        for kind in type(obj).__mro__:
            if kind in PLAIN:
                return kind, (PLAIN[kind](obj),)
            if (name := f"{kind.__module__}.{kind.__qualname__}") in WRITTEN:
                return kind, (WRITTEN[name](obj),)
        if isinstance(obj, Iterator):
            return iter, (list(islice(cast(Iterator[Any], obj), MOST_ITEMS)),)
        return NotImplemented


def main() -> None:
    calls, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    function: Any = None
    while (call := receive(calls)) is not None:
        try:
            value: Any = None
            if function is None:
                function = find_function(**call)
            else:
                value = function(*call[0], **call[1])
        except BaseException as error:
            send(answers, ("raised", type(error).__name__))
        else:
            answer(answers, value)


def find_function(readings: list[list[str]], entry_point: str) -> Any:
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


def answer(to: BinaryIO, value: Any) -> None:
    """Sends what the function returned, or the name of its type where that can't be written."""
    try:
        send(to, ("returned", value))
    except BaseException:
        send(to, ("incomparable", type(value).__name__))


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

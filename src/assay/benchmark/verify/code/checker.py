"""The process that runs the tests of a solution: run from its source, in a sandbox.

The solution runs in a process of its own, and what it returns comes here as plain values. So a test compares values
that it can trust to be what they seem: nothing that a solution does to its own interpreter, to `assert` or to the
comparison of its objects reaches the tests. This process alone holds the pipe that the verdict is written to, and makes
itself unreadable to others of its user before the solution starts. Besides, "started", "passed" and
"failed" each have a secret word.
"""

import ctypes
import importlib
import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from typing import Any

MOST_BYTES = 64 * 2**20
"""Of one value that a solution returns."""
TYPES = {
    **{("builtins", kind.__name__): kind for kind in (int, float, complex, str, bytes, bytearray, range)},
    **{("builtins", kind.__name__): kind for kind in (tuple, list, set, frozenset, dict)},
}
MADE = {
    **dict.fromkeys((("fractions", "Fraction"), ("decimal", "Decimal"), ("collections", "deque")), "__call__"),
    **dict.fromkeys((("datetime", "datetime"), ("datetime", "date"), ("datetime", "time")), "fromisoformat"),
    ("builtins", "iter"): "__call__",
}
"""What makes values of other types. The types themselves are never given: a pickle may change one written in Python."""
PR_SET_DUMPABLE = 4


class SolutionError(Exception):
    """The solution raised, ended, or returned what can't be compared: how, in the words of the verdict."""


class Values(pickle.Unpickler):
    """Reads plain values, and nothing that could do anything."""

    def __init__(self, data: bytes) -> None:
        super().__init__(BytesIO(data))
        self._data, self._makes = data, False

    def value(self) -> Any:
        """Returns what was written. Raises Raised where it holds anything but plain values."""
        value = self.load()
        # A pickle may set the fields of a value after it was made: a fraction of 0/0 lies between any two numbers.
        if self._makes and any(step.name == "BUILD" for step, *_ in _steps(self._data)):
            raise SolutionError("incomparable: a value whose fields were set")
        return value

    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) in TYPES:
            return TYPES[module, name]
        if (module, name) not in MADE:
            raise SolutionError(f"incomparable {name}")
        self._makes = True
        make: Callable[[Any], Any] = getattr(getattr(importlib.import_module(module), name), MADE[module, name])

        def construct(value: Any) -> Any:
            return make(value)

        return construct


def _steps(data: bytes) -> Any:
    """The steps of a pickle. The module is slow to import, and most values need none."""
    return importlib.import_module("pickletools").genops(data)


class Candidate:
    """The solution's function, called in its own process. What it does to its arguments is not seen here."""

    def __init__(self, source: str, readings: list[list[str]], entry_point: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", source],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._ask({"readings": readings, "entry_point": entry_point})

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._ask((arguments, named))

    def _ask(self, what: Any) -> Any:
        call = pickle.dumps(what)
        calls, answers = self._process.stdin, self._process.stdout
        assert calls is not None
        assert answers is not None
        try:
            calls.write(len(call).to_bytes(4, "big") + call)
            calls.flush()
            size = int.from_bytes(answers.read(4), "big")
        except BrokenPipeError:
            size = 0
        if not 0 < size <= MOST_BYTES:
            raise SolutionError(self._ending())
        how, value = Values(answers.read(size)).value()
        if how == "returned":
            return value
        raise SolutionError(f"{'incomparable' if how == 'incomparable' else 'raised'} {value}")

    def _ending(self) -> str:
        """How the solution ended by itself, which may not be told apart from its having closed what it answers by."""
        try:
            return "cpu" if self._process.wait(1) == -signal.SIGXCPU else "raised Exit"
        except subprocess.TimeoutExpired:
            return "raised Exit"


def main() -> None:
    asked = json.load(sys.stdin)
    verdict = os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(2):
        os.dup2(nothing, descriptor)
    if ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        sys.exit("the checker could not be hidden from the solution")
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # which ends this process, or, as the first of its sandbox, is ignored
    words = asked["words"]
    print(words["started"], file=verdict, flush=True)
    try:
        names: dict[str, Any] = {"__name__": "tests"}
        candidate = Candidate(asked["candidate"], asked["readings"], asked["entry_point"])
        exec(asked["setup"], names)
        names[asked["entry_point"]] = candidate  # HumanEval/33 tests the function by its name
        exec(asked["tests"], names)
        names["check"](candidate)
        said = "passed"
    except SolutionError as error:
        said = str(error)
    except AssertionError:
        said = "wrong"
    except BaseException as error:
        said = f"failed {type(error).__name__}: {error}"
    print(words["passed" if said == "passed" else "failed"], " ".join(said.split())[:300], file=verdict, flush=True)
    os._exit(0)  # without waiting for the solution


if __name__ == "__main__":
    main()

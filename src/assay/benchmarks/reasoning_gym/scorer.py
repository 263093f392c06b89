"""The library's data sets and scorers, each data set in a process of its own."""

import atexit
import os
import re
import subprocess
import sys
import threading
from functools import cached_property
from pathlib import Path

import msgspec
from msgspec import Struct

DEADLINE_S = 20.0
"""For one answer."""
EVALUATED = frozenset(
    {
        "binary_matrix",
        "countdown",
        "intermediate_integration",
        "n_queens",
        "polynomial_multiplication",
        "puzzle24",
        "simple_integration",
        "spiral_matrix",
        "string_insertion",
    }
)
"""The data sets whose scorer evaluates the answer as Python, itself or by sympy's `parse_expr`."""
NAMES = frozenset(
    {
        "pi",
        "sqrt",
        "exp",
        "log",
        "ln",
        "sin",
        "cos",
        "tan",
        "sec",
        "csc",
        "cot",
        "asin",
        "acos",
        "atan",
        "Abs",
        "Integral",
    }
)


class Problem(Struct, frozen=True, array_like=True):
    """A question of the library's, and its answer where it gives one."""

    question: str
    answer: str | None


class _Made(Struct, frozen=True):
    version: str
    problems: list[Problem]


class _Scored(Struct, frozen=True):
    score: float | None = None
    error: str | None = None


class Dataset:
    """One of the library's data sets by its name. Its process is started when it is first used."""

    def __init__(self, name: str, *, seed: int, size: int, deadline_s: float = DEADLINE_S) -> None:
        self._name = name
        self._arguments = [name, str(seed), str(size), str(deadline_s)]
        self._lock = threading.Lock()

    @property
    def problems(self) -> list[Problem]:
        """The same on every machine that has the same version of the library."""
        return self._is_ready[1].problems

    def score(self, index: int, answer: str) -> float:
        """What the library's scorer gives. Raises RuntimeError with what the scorer raised."""
        if self._name in EVALUATED and not is_expression(answer):
            return 0.0
        process, _ = self._is_ready
        assert process.stdin
        assert process.stdout
        with self._lock:
            process.stdin.write(msgspec.json.encode({"index": index, "answer": answer}) + b"\n")
            process.stdin.flush()
            said = process.stdout.readline()
        if not said:
            raise RuntimeError(f"the process that holds {self._name} has ended")
        scored = msgspec.json.decode(said, type=_Scored)
        if scored.score is None:
            raise RuntimeError(f"reasoning_gym's scorer of {self._name} raised {scored.error}")
        return scored.score

    @cached_property
    def _is_ready(self) -> "tuple[subprocess.Popen[bytes], _Made]":
        # Some data sets are made in the order of a set of texts, which changes with the hash seed.
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("worker.py")), *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.defpath, "PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        atexit.register(_end, process)
        assert process.stdout
        said = process.stdout.readline()
        if not said:
            raise RuntimeError(f"reasoning_gym could not make its data set {self._name}")
        return process, msgspec.json.decode(said, type=_Made)


def is_expression(answer: str) -> bool:
    """Whether an answer is numbers, single letters, empty squares (_), operators, lists and functions of mathematics.

    It then has no names by which a Python expression could reach anything.
    """
    if re.fullmatch(r"[A-Za-z]*", answer):
        return True  # a name alone does nothing
    if len(answer) > 2000 or not re.fullmatch(r"[\s\w+\-*/^().,=\[\]'\"]*", answer, re.ASCII):
        return False
    if re.search(r"\.\s*[A-Za-z_]|\w_|_\w", answer):
        return False
    return all(len(word) == 1 or word in NAMES for word in re.findall(r"[A-Za-z]+", answer))


def _end(process: "subprocess.Popen[bytes]") -> None:
    with process:
        process.kill()

"""The package bfcl-eval, held by a process of its own."""

import asyncio
import atexit
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from assay.benchmark.data import Source, prepared
from assay.benchmark.verify.process import Process
from assay.errors import UsageError, VerifierError
from assay.types import Tool

START_S = 120.0
DEADLINE_S = 20.0
"""For one question. It takes some milliseconds; arguments such as a precision of a billion digits take for ever."""
Called = tuple[str, dict[str, Any]]


class Said(Struct, frozen=True):
    """A message of a task."""

    role: str
    content: str


class Row(Struct, frozen=True):
    """A task of the package."""

    id: str
    category: str
    turns: list[list[Said]]
    tools: list[Tool]
    added: dict[str, list[Tool]]
    """By turn, the tools that are offered from it on."""
    solution: list[list[Called]]
    """The calls of each turn."""


class Package:
    """The tasks and checkers of a wheel of bfcl-eval. Its process is started when it is first used."""

    def __init__(self, benchmark: str, wheel: Source) -> None:
        self._wheel = benchmark, wheel
        self._process: Process | None = None
        self._lock = threading.Lock()
        atexit.register(self._close)

    @cached_property
    def rows(self) -> dict[str, Row]:
        """The tasks by their ids. Raises UsageError where the wheel or a package that it needs is missing."""
        with self._lock:
            rows = msgspec.convert(self._start().ready["tasks"], list[Row])
        return {row.id: row for row in rows}

    async def play(self, task: str, calls: Sequence[Called]) -> list[str]:
        """Returns what each call of a conversation says. Raises VerifierError where that can't be found out."""
        return (await asyncio.to_thread(self._ask, {"task": task, "play": calls}))["outputs"]

    async def judge(self, task: str, turns: Sequence[Sequence[Sequence[Called]]]) -> tuple[bool, str]:
        """Returns whether the calls of each turn, by response, are right, and what is wrong with them."""
        answer = await asyncio.to_thread(self._ask, {"task": task, "judge": turns})
        return answer["valid"], answer["error"]

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            try:
                answer = self._start().ask(question, DEADLINE_S)
            except BaseException:
                self._close()
                raise
        if "raised" in answer:
            raise VerifierError("bfcl_raised", f"bfcl-eval raised {answer['raised']}")
        return answer

    def _start(self) -> Process:
        if self._process is None:
            path = prepared(*self._wheel)
            process = Process("bfcl", Path(__file__).with_name("worker.py"), str(path), start_s=START_S)
            if "error" in process.ready:
                process.close()
                raise UsageError(f"bfcl needs packages: {process.ready['message']}\n  pip install 'assay[bfcl]'")
            self._process = process
        return self._process

    def _close(self) -> None:
        if self._process is not None:
            with suppress(Exception):
                self._process.close()
            self._process = None

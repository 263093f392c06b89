"""Deadlines: for one thing after another, with one timer for all of them; and for what never gives the loop back."""

import asyncio
import math
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import CodeType, FrameType, TracebackType
from typing import Self


class Deadline:
    """What `asyncio.timeout` is, for one task that does many things in turn: TimeoutError where one takes too long.

    A timer a rollout, set and taken back, costs a third of all that a single-turn rollout does here. This one is set
    once: when it fires and what it was set for has long ended, it is set again for what runs then.
    """

    __slots__ = ("_cancelling", "_expired", "_loop", "_task", "_timer", "_until", "seconds")

    def __init__(self, seconds: float) -> None:
        """For the task that makes it. `close` takes the timer back."""
        task = asyncio.current_task()
        assert task is not None, "a deadline is made within the task that it may end"
        self._task = task
        self._loop = asyncio.get_running_loop()
        self.seconds = seconds
        self._until = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._expired = False
        self._cancelling = 0

    def __enter__(self) -> Self:
        self._until = self._loop.time() + self.seconds
        self._cancelling = self._task.cancelling()
        if self._timer is None:
            self._timer = self._loop.call_at(self._until, self._fire)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._until = math.inf
        if self._expired:
            self._expired = False
            # Somebody else may have cancelled it too, which then passes.
            if self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
                raise TimeoutError from error

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        if self._until <= self._loop.time():
            self._expired = True
            self._task.cancel()
        elif self._until < math.inf:
            self._timer = self._loop.call_at(self._until, self._fire)


class Stalled(BaseException):
    """Raised in code that keeps the event loop for itself. No Exception: a verifier that takes each of those for a
    wrong answer would make a score of it."""


@contextmanager
def unstalled(seconds: float, within: CodeType) -> Generator[None]:
    """While it lasts, what runs `within` this code may keep the event loop for so long; then Stalled is raised in it.

    By an alarm of the kernel's, which the loop puts off for as long as it goes on: in Python, and in what looks after
    signals, such as `re`. C code that does not is beyond reach. Without effect outside of the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()

    def ring(_: int, rung: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        frame = rung
        while rung and frame:
            if frame.f_code is within:
                place = f"{rung.f_code.co_filename.rpartition('/')[2]}, line {rung.f_lineno}"
                raise Stalled(f"the event loop was not given back for {seconds:g} s ({place})")
            frame = frame.f_back

    def put_off() -> None:
        nonlocal timer
        signal.setitimer(signal.ITIMER_REAL, seconds)
        timer = loop.call_later(seconds / 4, put_off)

    before = signal.signal(signal.SIGALRM, ring)
    left_s, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    timer = loop.call_later(seconds / 4, put_off)
    try:
        yield
    finally:
        timer.cancel()
        signal.setitimer(signal.ITIMER_REAL, left_s)
        signal.signal(signal.SIGALRM, before)

"""Deadlines for many steps with one timer, and an alarm for code that blocks the event loop."""

import asyncio
import math
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import CodeType, FrameType, TracebackType
from typing import Self


class Deadline:
    """As `asyncio.timeout`, for one task that does many things in turn: TimeoutError if one takes too long.

    To set and cancel a timer for each rollout costs a third of a single-turn rollout's CPU here. This one is set once:
    if it fires when its step has long ended, it is set again for the step that runs then.
    """

    __slots__ = ("_cancelling", "_expired", "_loop", "_task", "_timer", "_until", "seconds")

    def __init__(self, seconds: float) -> None:
        """For the task that makes it. `close` cancels the timer."""
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
            # If somebody else cancelled the task too, that cancellation passes.
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


class StallError(BaseException):
    """Raised in code that blocks the event loop. It is no Exception, because a verifier may take any Exception for a
    wrong answer, which would be a score."""


@contextmanager
def stall_alarm(seconds: float, within: CodeType) -> Generator[None]:
    """A context in which a call of the code `within` may block the event loop for `seconds`; then StallError is raised.

    The kernel's alarm does it, which the loop postpones as long as it runs. It interrupts Python, and C code that
    checks for signals, such as `re`, but no other C code. It has no effect outside the main thread.
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
                raise StallError(f"the event loop was not given back for {seconds:g} s ({place})")
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

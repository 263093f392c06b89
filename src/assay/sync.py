"""The functions of `assay` without `await`: the same arguments, and each returns its result when it is done.

They also work if an event loop already runs, as in a notebook: each call has a thread and a loop of its own.
"""

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

import uvloop

from assay.library import collecting, evidence
from assay.library import profile as _profile
from assay.library import sweep as _sweep
from assay.library.names import load

__all__ = ["check", "compare", "load", "profile", "rollouts", "run", "sweep", "verify"]

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        work = _Work(function(*args, **kwargs))
        work.start()
        try:
            work.join()
        except BaseException:
            # Ctrl-C or a notebook's stop: finished rollouts are kept, and no work goes on in the background.
            work.cancel()
            work.join()
            raise
        return work.result()

    return call


class _Work(threading.Thread):
    """A thread that runs a coroutine to its end in a loop of its own."""

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        super().__init__(name="assay", daemon=True)
        self._work = work
        self._loop = uvloop.new_event_loop()
        self._task: asyncio.Task[Any] | None = None
        self._cancelled = False
        self._result: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                self._result = runner.run(self._main())
            except BaseException as error:
                self._error = error

    async def _main(self) -> Any:
        self._task = asyncio.ensure_future(self._work)
        if self._cancelled:
            self._task.cancel()
        return await self._task

    def cancel(self) -> None:
        self._cancelled = True
        if self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._result


run = _blocking(collecting.run)
rollouts = _blocking(collecting.rollouts)
sweep = _blocking(_sweep.sweep)
profile = _blocking(_profile.profile)
check = _blocking(evidence.check)
compare = _blocking(evidence.compare)
verify = _blocking(evidence.verify)

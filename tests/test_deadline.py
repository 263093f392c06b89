import asyncio
import re
import signal
import time
from contextlib import closing

import pytest
import uvloop

from assay.collect.deadline import Deadline, StallError, stall_alarm

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])


def run(loop, work):
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(work)


@LOOPS
def test_what_takes_too_long_is_a_timeout_and_what_does_not_is_none(loop):
    async def work() -> list[str]:
        ended = []
        with closing(Deadline(0.1)) as deadline:
            for seconds in (0.0, 0.06, 0.06, 5.0, 0.0, 0.06, 5.0, 0.01):
                try:
                    with deadline:
                        await asyncio.sleep(seconds)
                    ended.append("whole")
                except TimeoutError:
                    ended.append("late")
            await asyncio.sleep(0.25)  # nothing runs: the timer has nobody to end
        return ended

    assert run(loop, work()) == ["whole", "whole", "whole", "late", "whole", "whole", "late", "whole"]


@LOOPS
def test_each_has_the_whole_time_and_no_more(loop):
    async def work() -> float:
        clock = asyncio.get_running_loop().time
        with closing(Deadline(0.2)) as deadline:
            with deadline:
                await asyncio.sleep(0.15)
            started = clock()
            with pytest.raises(TimeoutError), deadline:
                await asyncio.sleep(5)
            return clock() - started

    assert run(loop, work()) == pytest.approx(0.2, abs=0.08)


def test_a_cancellation_from_outside_passes():
    async def work() -> None:
        with closing(Deadline(5)) as deadline, deadline:
            await asyncio.sleep(5)

    async def main() -> bool:
        task = asyncio.create_task(work())
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(main())


def test_an_error_that_is_raised_in_time_passes():
    async def work() -> None:
        with closing(Deadline(5)) as deadline, deadline:
            raise KeyError("mine")

    with pytest.raises(KeyError):
        asyncio.run(work())


def test_a_longer_deadline_around_it_is_not_taken_for_its_own():
    async def work() -> str:
        with closing(Deadline(0.2)) as inner:
            try:
                async with asyncio.timeout(0.05):
                    with inner:
                        await asyncio.sleep(5)
            except TimeoutError:
                pass
            with inner:
                await asyncio.sleep(0.01)
        return "goes on"

    assert asyncio.run(work()) == "goes on"


def spin() -> str:
    """Takes every error for its own, as verifiers do."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            sum(range(1000))
        except Exception:
            return "caught"
    return "ended"


def backtrack() -> str:
    """Never comes back from `re`."""
    return str(re.fullmatch(r"(a|aa)+b", "a" * 60))


async def call(what) -> str:
    try:
        return what()
    except StallError as error:
        return str(error)


async def elsewhere() -> None:
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        sum(range(1000))


@LOOPS
@pytest.mark.parametrize("what", [spin, backtrack])
def test_what_never_gives_the_loop_back_is_ended_where_it_was_called_and_nowhere_else(loop, what):
    async def work() -> list[str]:
        with stall_alarm(0.2, within=call.__code__):
            await elsewhere()
            await asyncio.sleep(0.5)
            return [await call(what), await call(what), await call(lambda: "quick")]

    before = signal.getsignal(signal.SIGALRM)
    first, second, quick = run(loop, work())
    assert quick == "quick"
    for told in (first, second):
        assert re.fullmatch(r"the event loop was not given back for 0.2 s \(\w+.py, line \d+\)", told)
    assert signal.getsignal(signal.SIGALRM) is before

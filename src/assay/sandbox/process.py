"""One command, carried through: fed, read, watched, and stopped at the first limit that it reaches."""

import asyncio
import time
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from assay.errors import SandboxError
from assay.sandbox import Finished, Limit

GRACE_S = 10.0
"""How long what was killed may take to be gone."""
_CHUNK = 2**16


class LimitReached(Exception):
    """Ends a command. A watcher raises it, and a reader that has read enough."""

    def __init__(self, limit: Limit) -> None:
        self.limit: Limit = limit


Watch = Callable[[Process], Awaitable[None]]
"""Looks after a command until it is cancelled. Raises LimitReached."""
Kill = Callable[[Process], Awaitable[None]]
"""Kills a command and all that it began. Called again where nothing is left, it does nothing."""


async def unwatched(process: Process) -> None:
    """The watch where nothing can be watched."""


async def carry_through(
    command: Sequence[str],
    *,
    stdin: bytes,
    timeout_s: float,
    output_bytes: int,
    environment: dict[str, str],
    kill: Kill,
    watch: Watch = unwatched,
    cwd: str | None = None,
    descriptors: Sequence[int] = (),
) -> Finished:
    """How the command ended. It and what it began are gone then, also where this is cancelled.

    A command that can't be started for what it says has exit code 126. Raises SandboxError where killing doesn't help.
    """
    started = time.monotonic()
    try:
        process = await _start(command, kill, env=environment, cwd=cwd, pass_fds=descriptors)
    except (ValueError, OSError) as error:  # a NUL in an argument, or arguments that are too long
        return Finished(exit_code=126, stdout=b"", stderr=f"{error}".encode())
    kept = Output(output_bytes)
    stopped_by: Limit | None = None
    try:
        async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as group:
            watching = group.create_task(_watch(watch, process))
            feeding = group.create_task(_feed(process, stdin))
            reading = [group.create_task(kept.read(stream, which)) for which, stream in enumerate(_streams(process))]
            await process.wait()
            await kill(process)
            await asyncio.wait(reading)
            watching.cancel()
            feeding.cancel()
    except* LimitReached as reached:
        stopped_by = _first(reached)
    except* TimeoutError:
        stopped_by = "time"
    finally:
        await _end(process, kill)
    assert process.returncode is not None
    code = process.returncode
    return Finished(
        exit_code=code if code >= 0 else 128 - code,
        stdout=bytes(kept.parts[0]),
        stderr=bytes(kept.parts[1]),
        stopped_by=stopped_by,
        wall_s=round(time.monotonic() - started, 6),
    )


async def _start(command: Sequence[str], kill: Kill, **options: Any) -> Process:
    """The process, ended by `kill` where this is cancelled: asyncio knows nothing of what the process began."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), asyncio.subprocess.PIPE)
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(*command, **pipes, **options, start_new_session=True)
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with suppress(ValueError, OSError):
            await _end(await starting, kill)
        raise


class Output:
    """The beginning of what a command writes, of both streams together."""

    def __init__(self, at_most: int) -> None:
        self.parts = (bytearray(), bytearray())
        self._left = at_most

    async def read(self, stream: asyncio.StreamReader, which: int) -> None:
        while chunk := await stream.read(_CHUNK):
            self.parts[which].extend(chunk[: self._left])
            self._left -= len(chunk)
            if self._left < 0:
                self._left = 0
                raise LimitReached("output")


def _streams(process: Process) -> tuple[asyncio.StreamReader, asyncio.StreamReader]:
    assert process.stdout is not None
    assert process.stderr is not None
    return process.stdout, process.stderr


async def _watch(watch: Watch, process: Process) -> None:
    await watch(process)


async def _feed(process: Process, content: bytes) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError, ConnectionResetError):  # a program need not read what it is given
        if content and not process.stdin.is_closing():
            process.stdin.write(content)
            await process.stdin.drain()
        process.stdin.close()


def _first(group: ExceptionGroup[LimitReached]) -> Limit:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    assert isinstance(error, LimitReached)
    return error.limit


async def _end(process: Process, kill: Kill) -> None:
    try:
        async with asyncio.timeout(GRACE_S):
            await kill(process)
            # Output that nobody takes would keep the pipes, and with them the process, from being closed.
            await asyncio.gather(process.wait(), *(_drain(stream) for stream in _streams(process)))
    except TimeoutError:
        what = f"process {process.pid}, or what it began,"
        raise SandboxError(f"{what} still runs or holds its output {GRACE_S:g} s after it was killed") from None


async def _drain(stream: asyncio.StreamReader) -> None:
    while await stream.read(_CHUNK):
        pass

"""Workers that are processes on this machine.

Messages go through the worker's standard input and output, each after its length. A worker ends as soon as its input
ends, so none is left behind however the process that started it ends.
"""

import asyncio
import os
import signal
import struct
import sys
import threading
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO

import msgspec
import uvloop

from assay.collect.workers import Call, LostWorker, Reply, Worker, make_service, reply_to

LENGTH = struct.Struct("<Q")
"""The length of a message in bytes, which stands before it."""
BUFFER = 2**21
"""Bytes that are read ahead of a worker."""
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""The environment variables that set the number of threads of linear algebra."""
PROGRAM = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); sys.path[:] = {path!r}; "
    "from assay.collect.workers.process import work; work({service!r})"
)
Order = tuple[Call, bytes]


@dataclass(frozen=True, slots=True)
class Processes:
    """Starts workers that share the cores of this machine. `count` is their number."""

    count: int = 1
    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    """Environment variables that differ from those of this process."""
    quiet: bool = False
    """Whether the output of workers is dropped."""
    noun: str = "process"
    env: Sequence[str] = ()
    alike: bool = True

    def start(self, service: str) -> Worker:
        """Returns a new worker, whose process starts with its first call."""
        threads = dict.fromkeys(THREADS, str(max(1, cores() // self.count)))
        return ProcessWorker(service, threads | os.environ | dict(self.variables), quiet=self.quiet)


class ProcessWorker:
    """A process that runs one service."""

    node = ""

    def __init__(self, service: str, env: Mapping[str, str], *, quiet: bool) -> None:
        self._program = PROGRAM.format(path=[os.path.realpath(path) for path in sys.path if path], service=service)
        self._env = env
        self._quiet = quiet
        self._process: Process | None = None
        self._waiting: dict[Call, asyncio.Future[bytes]] = {}
        self._listening: asyncio.Task[None] | None = None

    async def begin(self, request: bytes) -> bytes:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-c", self._program),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL if self._quiet else None,
            env=self._env,
            limit=BUFFER,
        )
        self._listening = asyncio.create_task(self._listen(self._process))
        return await self._ask("begin", request)

    async def exchange(self, work: bytes) -> bytes:
        return await self._ask("exchange", work)

    async def close(self) -> None:
        if self._process:
            await self._ask("close", b"")

    async def end(self) -> None:
        if self._process and self._listening:
            with suppress(ProcessLookupError):
                self._process.kill()
            await asyncio.wait((self._listening,))

    async def _ask(self, call: Call, data: bytes) -> bytes:
        process = self._process
        assert process
        assert process.stdin
        assert self._listening
        if self._listening.done():
            raise LostWorker(_death(process.returncode))
        self._waiting[call] = asyncio.get_running_loop().create_future()
        message = msgspec.msgpack.encode((call, data))
        process.stdin.write(LENGTH.pack(len(message)) + message)
        return await self._waiting[call]

    async def _listen(self, process: Process) -> None:
        """Passes each reply to its caller, until the process has ended."""
        stdout = process.stdout
        assert stdout
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                (length,) = LENGTH.unpack(await stdout.readexactly(LENGTH.size))
                reply = msgspec.msgpack.decode(await stdout.readexactly(length), type=Reply)
                waiting = self._waiting.pop(reply.call)
                if waiting.done():
                    continue  # the caller was cancelled
                try:
                    waiting.set_result(reply.result())
                except Exception as error:
                    waiting.set_exception(error)
        code = await process.wait()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(LostWorker(_death(code)))


def _death(code: int | None) -> str:
    return f"killed by {signal.Signals(-code).name}" if code and code < 0 else f"it ended with exit code {code}"


def cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def work(service: str) -> None:
    """Runs a service in this process: reads calls from standard input, and writes replies to standard output."""
    calls, replies = os.fdopen(os.dup(0), "rb"), os.dup(1)
    # A benchmark's own output goes to the terminal, not among the replies.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(service, calls, replies))


async def _work(name: str, calls: BinaryIO, replies: int) -> None:
    loop, closed = asyncio.get_running_loop(), asyncio.Event()
    service = make_service(name)
    lock = asyncio.Lock()
    tasks: set[asyncio.Task[None]] = set()

    async def answer(call: Call, data: bytes) -> None:
        reply = await reply_to(service, call, data)
        async with lock:
            await asyncio.to_thread(_write, replies, reply)
        if call == "close":
            closed.set()

    def begin(order: Order) -> None:
        tasks.add(task := loop.create_task(answer(*order)))
        task.add_done_callback(tasks.discard)

    def read() -> None:
        # In a thread, because a verifier may block the event loop when the parent process dies.
        while len(head := calls.read(LENGTH.size)) == LENGTH.size:
            (length,) = LENGTH.unpack(head)
            order = msgspec.msgpack.decode(calls.read(length), type=Order)
            loop.call_soon_threadsafe(begin, order)
        os._exit(1)

    loop.add_signal_handler(signal.SIGTERM, service.stop)
    threading.Thread(target=read, daemon=True).start()
    await closed.wait()


def _write(file: int, message: bytes) -> None:
    left = memoryview(LENGTH.pack(len(message)) + message)
    while left:
        left = left[os.write(file, left) :]

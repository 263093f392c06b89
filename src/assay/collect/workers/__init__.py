"""Workers: processes on this machine or actors on a Ray cluster.

A worker takes three calls, with bytes in and out, so a pipe and a cluster carry the same messages. The work itself is a
service, given as `module:Class`.
"""

import importlib
import socket
import traceback
from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec
from msgspec import Struct, structs

from assay.errors import AssayError, BudgetSpent, DigestMismatch, StoppedEarly, UsageError, of_system

Call = Literal["begin", "exchange", "close"]
WORDS = 2000
"""Characters of a message that are sent. The rollout has the whole message."""
ERRORS = {kind.__name__: kind for kind in (AssayError, UsageError, DigestMismatch, StoppedEarly, BudgetSpent)}


class Service(Protocol):
    """The work of a worker. Its methods raise AssayError if they can't do it."""

    async def begin(self, request: bytes) -> bytes:
        """Opens what the work needs. Called once, first."""
        ...

    async def exchange(self, work: bytes) -> bytes:
        """Takes more work, and returns results. There is one exchange at a time."""
        ...

    async def close(self) -> None:
        """Abandons unfinished work, and closes what was opened. May be called during an exchange."""
        ...

    def stop(self) -> None:
        """Begins no more work: this worker's process got SIGTERM."""
        ...


class Worker(Protocol):
    """A service in another process. Its calls raise what the service raises, and LostWorker if the worker died."""

    @property
    def node(self) -> str:
        """The name of the worker's machine; empty if it is this one, or not known yet."""
        ...

    async def begin(self, request: bytes) -> bytes: ...

    async def exchange(self, work: bytes) -> bytes: ...

    async def close(self) -> None: ...

    async def end(self) -> None:
        """Kills the worker, and returns once it is gone."""
        ...


class Workers(Protocol):
    """Starts workers."""

    @property
    def noun(self) -> str:
        """The word for one worker in messages."""
        ...

    @property
    def env(self) -> Sequence[str]:
        """The names of environment variables that workers need beside the models' keys."""
        ...

    @property
    def alike(self) -> bool:
        """Whether all workers have the same files and packages, as on one machine."""
        ...

    def start(self, service: str) -> Worker:
        """Returns a new worker for a service, `module:Class`. On a cluster it may wait for room before it begins."""
        ...


class LostWorker(Exception):
    """A worker died or can't be reached."""


class Reply(Struct, frozen=True, array_like=True):
    """The result of a call."""

    call: Call
    data: bytes = b""
    error: str = ""
    """One of ERRORS; empty where there is none."""
    message: str = ""
    node: str = ""
    """The name of the worker's machine."""

    def result(self) -> bytes:
        """Returns the data. Raises the error if there is one."""
        if self.error:
            raise ERRORS[self.error](self.message)
        return self.data


def make_service(name: str) -> Service:
    """Returns a new service from `module:Class`."""
    module, _, kind = name.partition(":")
    return getattr(importlib.import_module(module), kind)()


async def reply_to(service: Service, call: Call, data: bytes) -> bytes:
    """Returns the service's encoded Reply to a call. Here every error becomes text."""
    try:
        match call:
            case "begin":
                reply = Reply(call, await service.begin(data))
            case "exchange":
                reply = Reply(call, await service.exchange(data))
            case "close":
                await service.close()
                reply = Reply(call)
    except Exception as error:
        known = error if isinstance(error, AssayError) else of_system(error) if isinstance(error, OSError) else None
        if known is None:
            traceback.print_exc()
            known = AssayError(f"{type(error).__name__}: {error}")
        kind = next(kind.__name__ for kind in type(known).__mro__ if kind.__name__ in ERRORS)
        reply = Reply(call, error=kind, message=plain(str(known)))
    return msgspec.msgpack.encode(structs.replace(reply, node=socket.gethostname()))


def plain(text: str) -> str:
    """Returns the text in a form that can be sent: short, and without lone surrogates, which have no UTF-8."""
    return text[:WORDS].encode("utf-8", "replace").decode()

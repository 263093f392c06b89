"""Workers: processes on this machine or actors on a cluster, which do what one process alone would take long for.

All that is said to a worker are three calls, and all that is carried is bytes: so a pipe and a cluster carry the same,
and a worker does the same wherever it is. What it does is a service, named by its module and class.
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
"""Characters of a message that are sent; the rollout has them all."""
ERRORS = {kind.__name__: kind for kind in (AssayError, UsageError, DigestMismatch, StoppedEarly, BudgetSpent)}


class Service(Protocol):
    """What a worker does. Raises AssayError where it can't."""

    async def begin(self, request: bytes) -> bytes:
        """Open what the work needs. Called once, first."""
        ...

    async def exchange(self, work: bytes) -> bytes:
        """Take more work, and return what is done. One exchange is under way at a time."""
        ...

    async def close(self) -> None:
        """Give up what is not done, and close what was opened. May be called during an exchange."""
        ...

    def stop(self) -> None:
        """Begin nothing more: the worker's process alone was asked to end, by SIGTERM."""
        ...


class Worker(Protocol):
    """A service elsewhere. Its calls raise what the service raises, and LostWorker where the worker has died."""

    @property
    def node(self) -> str:
        """The machine where it is; empty where that is this one, or not known yet."""
        ...

    async def begin(self, request: bytes) -> bytes: ...

    async def exchange(self, work: bytes) -> bytes: ...

    async def close(self) -> None: ...

    async def end(self) -> None:
        """Kill it, whatever it does, and return once it is gone."""
        ...


class Workers(Protocol):
    """Where workers come from."""

    @property
    def noun(self) -> str:
        """What one of them is called in messages."""
        ...

    @property
    def env(self) -> Sequence[str]:
        """The environment variables that workers need beside the models' keys."""
        ...

    @property
    def alike(self) -> bool:
        """Whether what one worker lacks all lack, as on one machine."""
        ...

    def start(self, service: str) -> Worker:
        """Returns a new worker for a service, `module:Class`. It may have to wait for room until it begins."""
        ...


class LostWorker(Exception):
    """A worker died, or can't be reached any more."""


class Reply(Struct, frozen=True, array_like=True):
    """What a call came to."""

    call: Call
    data: bytes = b""
    error: str = ""
    """One of ERRORS; empty where there is none."""
    message: str = ""
    node: str = ""
    """The worker's machine."""

    def result(self) -> bytes:
        """Returns the data. Raises the error."""
        if self.error:
            raise ERRORS[self.error](self.message)
        return self.data


def service_named(name: str) -> Service:
    """Returns a new service from `module:Class`."""
    module, _, kind = name.partition(":")
    return getattr(importlib.import_module(module), kind)()


async def reply_to(service: Service, call: Call, data: bytes) -> bytes:
    """Returns what the service's answer to a call is, encoded: the boundary at which every error becomes text."""
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
    """Returns the text as it can be sent: not endless, and without lone surrogates, which have no UTF-8."""
    return text[:WORDS].encode("utf-8", "replace").decode()

"""The recording gateway: the rollouts of agents that know of Assay nothing but a base URL, a file each.

A file holds one call a line, as soon as the call ends. What calls share is stored once: a turn holds the items that are
new, `assay.model.wrappers.record.conversation` gives the rest, and settings are written only where they change.
"""

import asyncio
import errno
import fcntl
import functools
import itertools
import os
import re
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, structs

from assay.errors import InputError, ModelError, UsageError
from assay.model import Model
from assay.model.dialects.serving import BadRequest, Recorded, with_id
from assay.model.wrappers.record import Conversations, conversation
from assay.types import Failure, Format, Item, Request, Response, Sampling, Tool, ToolChoice, Turn

_NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,128}")


class CallSettings(Struct, frozen=True, omit_defaults=True):
    """What the agent asked for beside the conversation."""

    sampling: Sampling = Sampling()
    tools: list[Tool] = []
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool | None = None
    format: Format | None = None


class _Line(Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """A call of the model."""

    at: float
    """When the call came: seconds since 1970."""
    asked: CallSettings | int
    """In full where it is new in this rollout, or else the number of the line, from 0, that has it in full."""
    seed: int | None = None


class AnsweredCall(_Line, frozen=True, kw_only=True, tag="turn", omit_defaults=True):
    """A call that the model answered. Turns are counted without the calls that failed."""

    turn: Turn


class FailedCall(_Line, frozen=True, kw_only=True, tag="failure", omit_defaults=True):
    """A call without an answer."""

    input: list[Item]
    """The items that are new."""
    follows: int
    """The turn whose conversation the others are; -1 where all are new."""
    failure: Failure
    wall_s: float


Call = AnsweredCall | FailedCall


class Gateway:
    """Serves one model under many names, and records the calls of each. It alone writes to its folder."""

    def __init__(self, model: Model, folder: Path, *, idle_s: float = 3600.0) -> None:
        """Raises UsageError if the folder can't be made or opened, or another gateway records there.

        A rollout without a call for `idle_s` is forgotten here. Its file has all of it, and is read at the next.
        """
        self._model = model
        self._idle_s = idle_s
        self._folder = folder
        self._rollouts: dict[str, _Rollout] = {}  # the one that was idle longest comes first
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise UsageError(f"{folder} can't hold recorded rollouts: {error.strerror}") from None
        self._release = weakref.finalize(self, os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._release()
            raise UsageError(f"another gateway records into {folder}; choose another folder") from None

    def model(self, rollout: str) -> Model:
        """The model, each call of which is recorded into a rollout. Raises BadRequest for what is no rollout's name."""
        self._path(rollout)
        return _RolloutModel(self, rollout)

    def turns(self, rollout: str) -> list[Call]:
        """Returns the calls of a rollout that have ended. Raises BadRequest (404) where there are none."""
        path = self._path(rollout)
        if not path.exists():
            message = f"no call of rollout {rollout} is recorded here"
            raise BadRequest(message, param="rollout", code="rollout_not_found", status=404)
        return list(calls_of(path))

    def items(self, rollout: str) -> Recorded:
        """Returns what gives the items of a rollout by their ids. Raises BadRequest for what is no rollout's name."""
        path = self._path(rollout)

        @functools.cache
        def by_id() -> dict[str, Item]:
            items = itertools.chain.from_iterable(_items(call) for call in calls_of(path)) if path.exists() else ()
            return {item.id: item for item in items if item.id}

        return lambda name: by_id().get(name)

    async def respond(self, rollout: str, request: Request) -> Response:
        """Returns the model's response, once it is in the rollout's file. Raises what the model raises."""
        self._forget_idle()
        state = self._rollouts.pop(rollout, None) or _Rollout(self._path(rollout))
        self._rollouts[rollout] = state
        return await state.respond(self._model, request)

    def _forget_idle(self) -> None:
        for name, rollout in list(self._rollouts.items()):
            if rollout.idle_s < self._idle_s:
                break
            del self._rollouts[name]

    def _path(self, rollout: str) -> Path:
        if not _NAME.fullmatch(rollout):
            message = f"rollout {rollout[:200]!r}: expected 1 to 128 of A-Z a-z 0-9 . _ -, not beginning with a dot"
            raise BadRequest(message, param="rollout", code="invalid_rollout")
        return self._folder / f"{rollout}.jsonl"

    def close(self) -> None:
        """Let another process record into the folder."""
        self._release()


class _RolloutModel:
    """The model as the agent of one rollout sees it."""

    def __init__(self, gateway: Gateway, rollout: str) -> None:
        self._gateway = gateway
        self._rollout = rollout

    async def respond(self, request: Request) -> Response:
        return await self._gateway.respond(self._rollout, request)


class _Rollout:
    """A rollout's file, and what is needed to go on with it."""

    def __init__(self, path: Path) -> None:
        """Goes on with the file that is there: a last line without its end is cut off. Raises InputError."""
        self._path = path
        self._conversations = Conversations()
        self._turns = 0
        self._lines = 0
        self._size = 0
        self._began: float | None = None
        self._line_of_settings: dict[bytes, int] = {}
        self._in_flight = 0
        self._last_call = time.monotonic()
        if path.exists():
            self._restore(list(calls_of(path)))

    def _restore(self, calls: list[Call]) -> None:
        turns = [call.turn for call in calls if isinstance(call, AnsweredCall)]
        for index, turn in enumerate(turns):
            self._conversations.add(conversation(turns, index), turn.response.output)
        for number, call in enumerate(calls):
            if isinstance(call.asked, CallSettings):
                self._line_of_settings[msgspec.json.encode(call.asked)] = number
        first = calls[0] if calls else None
        self._began = first and first.at - (first.turn.started_s if isinstance(first, AnsweredCall) else 0.0)
        self._turns, self._lines = len(turns), len(calls)
        self._size = self._path.read_bytes().rfind(b"\n") + 1
        os.truncate(self._path, self._size)

    @property
    def idle_s(self) -> float:
        """Seconds since the last call ended; none while one is in flight."""
        return 0.0 if self._in_flight else time.monotonic() - self._last_call

    async def respond(self, model: Model, request: Request) -> Response:
        at, started = time.time(), time.monotonic()
        self._began = at if self._began is None else self._began
        request_in_turn = structs.replace(request, turn=self._turns + self._in_flight)
        self._in_flight += 1
        try:
            answer = await model.respond(request_in_turn)
            # Agents may send an item back by its id alone.
            response = structs.replace(answer, output=[with_id(item) for item in answer.output])
        except (Exception, asyncio.CancelledError) as error:
            self._write(request, _failure(error), at=at, wall_s=time.monotonic() - started)
            raise
        finally:
            self._in_flight -= 1
            self._last_call = time.monotonic()
        self._write(request, response, at=at, wall_s=time.monotonic() - started)
        return response

    def _write(self, request: Request, outcome: Response | Failure, *, at: float, wall_s: float) -> None:
        """Nothing but the line changes until it is in the file: where the disk is full, the call never was."""
        settings = CallSettings(
            sampling=request.sampling,
            tools=request.tools,
            tool_choice=request.tool_choice,
            parallel_tool_calls=request.parallel_tool_calls,
            format=request.format,
        )
        key = msgspec.json.encode(settings)
        new, follows = self._conversations.split(request.input)
        head: dict[str, Any] = {"at": at, "asked": self._line_of_settings.get(key, settings), "seed": request.seed}
        if isinstance(outcome, Failure):
            self._append(FailedCall(**head, input=new, follows=follows, failure=outcome, wall_s=wall_s))
        else:
            before = None if follows == self._turns - 1 else follows
            started_s = at - (self._began or at)
            turn = Turn(input=new, response=outcome, follows=before, started_s=started_s, wall_s=wall_s)
            self._append(AnsweredCall(**head, turn=turn))
            self._conversations.add(request.input, outcome.output)
            self._turns += 1
        self._line_of_settings.setdefault(key, self._lines)
        self._lines += 1

    def _append(self, call: Call) -> None:
        line = msgspec.json.encode(call) + b"\n"
        with self._path.open("ab", buffering=0) as file:
            if file.write(line) != len(line):
                file.truncate(self._size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        self._size += len(line)


def _failure(error: BaseException) -> Failure:
    if isinstance(error, ModelError):
        return Failure(where="model", kind=error.kind, message=str(error), retryable=error.retryable)
    if isinstance(error, asyncio.CancelledError):
        return Failure(where="agent", kind="cancelled", message="the caller went away", retryable=True)
    return Failure(where="model", kind="exception", message=f"{type(error).__name__}: {error}", retryable=False)


def _items(call: Call) -> list[Item]:
    return call.input if isinstance(call, FailedCall) else call.turn.input + call.turn.response.output


def calls_of(path: Path) -> Iterator[Call]:
    """Yields the calls in a rollout's file, but a last line that has no end. Raises InputError for a damaged line."""
    decode = msgspec.json.Decoder(Call).decode
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.endswith(b"\n"):
                try:
                    yield decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise InputError(path, number, str(error), "a recorded call as one JSON object") from None

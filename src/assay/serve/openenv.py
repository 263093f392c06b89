"""An environment by OpenEnv's routes: an episode is one rollout, and who calls is its model.

GET  /health, /metadata, /schema
WS   /ws      {"type": "reset" | "step" | "state" | "close", "data": {…}}; one episode after another
POST /reset   {"episode_id", "seed", "task"}; begins an episode, of the task named or of the one that the seed chooses
POST /step    {"episode_id", "action"}
GET  /state?episode_id=…

An action is a message, `{"message": "The answer is 4."}`, or a tool's call as OpenEnv writes it:
`{"type": "call_tool", "tool_name": "add", "arguments": {"a": 2}}`. An episode that failed has no reward: the answer is
an error.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import closing, suppress
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request as HttpRequest
from starlette.responses import Response as HttpResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from assay.agent.loop import ToolLoop
from assay.benchmark import Benchmark
from assay.collect.deadline import Deadline
from assay.collect.plan import Planned
from assay.collect.roll import roll
from assay.digest import task_digest
from assay.errors import AssayError
from assay.input import BROKEN
from assay.model.dialects.chat.client import messages
from assay.serve.http import read_body
from assay.serve.rows import health
from assay.types import (
    Failure,
    FunctionCall,
    FunctionCallOutput,
    Item,
    Message,
    Request,
    Response,
    Rollout,
    Task,
    Text,
    Tool,
)

DEADLINE_S = 7200.0
"""What one episode may take."""
Reply = dict[str, Any]
T = TypeVar("T")
_encode = msgspec.json.Encoder().encode


class Reset(Struct, frozen=True):
    """What begins an episode."""

    episode_id: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    seed: Annotated[int, Meta(ge=0)] | None = None
    task: str | None = None
    """A task's id. Without it, it is the task whose place is the seed, counted round and round."""


class Action(Struct, frozen=True):
    """What the model does: a message, or a call of a tool. `list_tools` is no step of the episode."""

    type: Literal["message", "call_tool", "list_tools"] | None = None
    message: str | None = None
    tool_name: str | None = None
    arguments: dict[str, Any] = {}


class Step(Struct, frozen=True):
    """What goes on with an episode."""

    action: Action
    episode_id: str | None = None


class EpisodeError(AssayError):
    """An episode can't go on, or failed, so that there is no reward. `code` is one of OpenEnv's."""

    def __init__(self, message: str, code: str = "EXECUTION_ERROR", status: int = 500) -> None:
        super().__init__(message)
        self.code, self.status = code, status


class Episode:
    """A rollout of the tool loop. Its model is who calls `step`."""

    def __init__(self, benchmark: Benchmark, task: Task, seed: int, id: str, deadline_s: float) -> None:
        self.id = id
        self._task, self._tools = task, task.tools
        self._steps = self._shown = 0
        self._called: str | None = None
        self._requests: asyncio.Queue[Request] = asyncio.Queue()
        self._responses: asyncio.Queue[Response] = asyncio.Queue()
        self._rollout = asyncio.create_task(self._roll(benchmark, seed, deadline_s))

    async def _roll(self, benchmark: Benchmark, seed: int, deadline_s: float) -> Rollout:
        item = Planned(self._task, task_digest(self._task), 0, 0, seed)
        with closing(Deadline(deadline_s)) as deadline:
            return await roll(benchmark, ToolLoop(), self, item, deadline=deadline)

    async def respond(self, request: Request) -> Response:
        """The model's side: shows what is new, and waits for an action."""
        self._requests.put_nowait(request)
        return await self._responses.get()

    @property
    def has_ended(self) -> bool:
        return self._rollout.done()

    @property
    def state(self) -> Reply:
        return {"episode_id": self.id, "step_count": self._steps, "task": self._task.id}

    async def observe(self) -> Reply:
        """Returns what the environment says next, or the reward. Raises EpisodeError where the rollout failed."""
        asked = asyncio.create_task(self._requests.get())
        try:
            await asyncio.wait([asked, self._rollout], return_when=asyncio.FIRST_COMPLETED)
            return self._observation(asked.result()) if asked.done() else self._ending(self._rollout.result())
        finally:
            asked.cancel()

    async def step(self, action: Action) -> Reply:
        """Carries out an action, and returns what `observe` does. Raises EpisodeError."""
        if action.type == "list_tools":
            return _observed({"tools": [_tool_row(tool) for tool in self._tools]})
        if self.has_ended:
            raise EpisodeError("the episode has ended; begin another one by reset", "SESSION_ERROR", 409)
        response = _response(action)
        self._steps += 1
        self._shown += len(response.output)
        self._called = action.tool_name
        self._responses.put_nowait(response)
        return await self.observe()

    async def close(self) -> None:
        """End the rollout, wherever it is."""
        self._rollout.cancel()
        await asyncio.wait([self._rollout])

    def _observation(self, request: Request) -> Reply:
        new = request.input[self._shown :]
        self._shown, self._tools = len(request.input), request.tools
        return _observed({"episode_id": self.id, "messages": messages(new), **self._result(new)})

    def _ending(self, rollout: Rollout) -> Reply:
        outcome = rollout.outcome
        if isinstance(outcome, Failure):
            raise EpisodeError(f"the episode failed in the {outcome.where} ({outcome.kind}): {outcome.message}")
        ending: Reply = {"episode_id": self.id, "metrics": outcome.metrics, "stop": rollout.stop}
        return _observed(ending | self._result(()), outcome.reward)

    def _result(self, new: Sequence[Item]) -> Reply:
        """What a tool answered, as OpenEnv's CallToolObservation has it; nothing after a message."""
        if self._called is None:
            return {}
        said = [item.text for item in new if isinstance(item, FunctionCallOutput)]
        return {"tool_name": self._called, "result": said[0] if said else None, "error": None}


class OpenEnv:
    """A benchmark's environment by OpenEnv's routes."""

    def __init__(
        self, benchmark: Benchmark, tasks: Mapping[str, Task], *, most: int, deadline_s: float = DEADLINE_S
    ) -> None:
        """`most` episodes may be open at once."""
        self._benchmark, self._tasks, self._most, self._deadline_s = benchmark, tasks, most, deadline_s
        self._ids = list(tasks)
        self._open: dict[str, Episode] = {}

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/health", health),
            Route("/metadata", self._metadata),
            Route("/schema", self._schema),
            Route("/reset", _with_errors(self._reset), methods=["POST"]),
            Route("/step", _with_errors(self._step), methods=["POST"]),
            Route("/state", _with_errors(self._state)),
            WebSocketRoute("/ws", self._socket),
        ]

    async def _metadata(self, request: HttpRequest) -> HttpResponse:
        environment = self._benchmark.environment
        said = f"{len(self._ids)} tasks of {environment.name}, a benchmark of Assay"
        return _json({"name": environment.name, "description": said, "version": environment.version})

    async def _schema(self, request: HttpRequest) -> HttpResponse:
        return _json({"action": _ACTION, "observation": _OBSERVATION, "state": _STATE})

    async def _begin(self, asked: Reset) -> Episode:
        """Returns an episode that has begun. Raises EpisodeError."""
        if len(self._open) >= self._most:
            message = f"{self._most} episodes are open, the most (--most-sessions); end some, or wait"
            raise EpisodeError(message, "CAPACITY_REACHED", 503)
        seed = secrets.randbits(32) if asked.seed is None else asked.seed
        id = self._ids[seed % len(self._ids)] if asked.task is None else asked.task
        if id not in self._tasks:
            raise EpisodeError(f"there is no task '{id}', such as '{self._ids[0]}'", "VALIDATION_ERROR", 422)
        name = asked.episode_id or secrets.token_urlsafe(16)
        if name in self._open:
            raise EpisodeError(f"episode '{name}' is open already", "VALIDATION_ERROR", 409)
        episode = self._open[name] = Episode(self._benchmark, self._tasks[id], seed, name, self._deadline_s)
        return episode

    async def _end(self, episode: Episode | None) -> None:
        if episode and self._open.pop(episode.id, None):
            await episode.close()

    async def _reset(self, request: HttpRequest) -> Reply:
        episode = await self._begin(_read(await read_body(request) or b"{}", Reset))
        return await self._answer(episode, episode.observe())

    async def _step(self, request: HttpRequest) -> Reply:
        step = _read(await read_body(request), Step)
        episode = self._episode(step.episode_id)
        return await self._answer(episode, episode.step(step.action))

    async def _state(self, request: HttpRequest) -> Reply:
        return self._episode(request.query_params.get("episode_id")).state

    def _episode(self, id: str | None) -> Episode:
        if (episode := self._open.get(id or "")) is None:
            message = f"no episode '{id}' is open; name the episode_id that reset was given"
            raise EpisodeError(message, "SESSION_ERROR", 409)
        return episode

    async def _answer(self, episode: Episode, answer: Awaitable[Reply]) -> Reply:
        """Returns the answer, and forgets an episode that ended with it."""
        try:
            return await answer
        finally:
            if episode.has_ended:
                await self._end(episode)

    async def _socket(self, socket: WebSocket) -> None:
        """One connection: an episode after another, until it is closed."""
        await socket.accept()
        episode: Episode | None = None
        try:
            while True:
                try:
                    sent = _read((await socket.receive_text()).encode(), _Sent)
                    if sent.type == "close":
                        return
                    if sent.type == "reset":
                        await self._end(episode)
                        episode = None
                        episode = await self._begin(_converted(sent.data, Reset))
                    reply = await _reply_to(episode, sent)
                except EpisodeError as error:
                    reply = {"type": "error", "data": {"message": str(error), "code": error.code}}
                await socket.send_text(_encode(reply).decode())
        except WebSocketDisconnect:
            pass
        finally:
            await self._end(episode)
            with suppress(RuntimeError, WebSocketDisconnect):  # it was closed from the other side
                await socket.close()


class _Sent(Struct, frozen=True):
    type: Literal["reset", "step", "state", "close"]
    data: dict[str, Any] = {}


async def _reply_to(episode: Episode | None, sent: _Sent) -> Reply:
    if episode is None:
        raise EpisodeError("no episode has begun; send reset first", "SESSION_ERROR")
    if sent.type == "state":
        return {"type": "state", "data": episode.state}
    said = episode.observe() if sent.type == "reset" else episode.step(_converted(sent.data, Action))
    return {"type": "observation", "data": await said}


def _response(action: Action) -> Response:
    """Returns what the model did. Raises EpisodeError where an action is none, or two."""
    if (action.message is None) == (action.tool_name is None):
        raise EpisodeError("an action has either a message or a tool_name", "VALIDATION_ERROR", 422)
    if action.tool_name is None:
        return Response(output=[Message("assistant", [Text(action.message or "")])])
    arguments = _encode(action.arguments).decode()
    return Response(output=[FunctionCall(f"call_{secrets.token_hex(8)}", action.tool_name, arguments)])


def _observed(said: Reply, reward: float | None = None) -> Reply:
    return {"observation": said, "reward": reward, "done": reward is not None}


def _tool_row(tool: Tool) -> Reply:
    return {"name": tool.name, "description": tool.description or "", "input_schema": tool.parameters}


def _read(content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        raise EpisodeError(str(error), "VALIDATION_ERROR", 422) from None
    except BROKEN as error:
        raise EpisodeError(f"this is no JSON ({error})", "INVALID_JSON", 422) from None


def _converted(data: Reply, kind: type[T]) -> T:
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise EpisodeError(str(error), "VALIDATION_ERROR", 422) from None


def _json(said: Reply) -> HttpResponse:
    return HttpResponse(_encode(said), media_type="application/json")


def _with_errors(answer: Callable[[HttpRequest], Awaitable[Reply]]) -> Callable[[HttpRequest], Awaitable[HttpResponse]]:
    async def endpoint(request: HttpRequest) -> HttpResponse:
        try:
            return _json(await answer(request))
        except EpisodeError as error:
            return HttpResponse(_encode({"detail": str(error)}), error.status, media_type="application/json")

    return endpoint


_ACTION = msgspec.json.schema_components([Action])[1]["Action"]
_STATE = {
    "type": "object",
    "properties": {
        "episode_id": {"type": "string"},
        "step_count": {"type": "integer"},
        "task": {"type": "string", "description": "The task's id."},
    },
}
_OBSERVATION = {
    "type": "object",
    "properties": {
        "messages": {"type": "array", "description": "Chat messages that are new to the model."},
        "tool_name": {"type": "string"},
        "result": {"description": "What the tool answered."},
        "metrics": {"type": "object", "description": "At the end: numbers of the verifier beside the reward."},
        "stop": {"type": "string", "description": "At the end: why."},
        "tools": {"type": "array", "description": "Only after list_tools."},
    },
}

"""An environment by OpenEnv's routes: an episode is one rollout, and who calls is its model.

GET  /health, /metadata, /schema
WS   /ws      {"type": "reset" | "step" | "state" | "close", "data": {…}}; one episode after another
POST /reset   {"episode_id", "seed", "task"}; begins an episode, of the task current or of the one that the seed chooses
POST /step    {"episode_id", "action"}
GET  /state?episode_id=…

An action is a message, `{"message": "The answer is 4."}`, or a tool's call as OpenEnv writes it:
`{"type": "call_tool", "tool_name": "add", "arguments": {"a": 2}}`. An episode that failed has no reward: the answer is
an error.
"""

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request as HttpRequest
from starlette.responses import Response as HttpResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from assay.benchmark import Benchmark
from assay.input import BROKEN
from assay.model.dialects.chat.client import messages
from assay.serve.episode import Ending, Episode, EpisodeError, Episodes
from assay.serve.http import read_body
from assay.serve.rows import health
from assay.types import FunctionCall, FunctionCallOutput, Item, Message, Response, Task, Text, Tool

Reply = dict[str, Any]
T = TypeVar("T")
_encode = msgspec.json.Encoder().encode


class Reset(Struct, frozen=True):
    """What begins an episode."""

    episode_id: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    seed: Annotated[int, Meta(ge=0)] | None = None
    task: str | None = None
    """A task's id. Default: the task at the place `seed` modulo the number of tasks."""


class Action(Struct, frozen=True):
    """What the model does: a message, or a call of a tool. `list_tools` is no step of the episode."""

    type: Literal["message", "call_tool", "list_tools"] | None = None
    message: str | None = None
    tool_name: str | None = None
    arguments: dict[str, Any] = {}


class Step(Struct, frozen=True):
    """A step of an episode."""

    action: Action
    episode_id: str | None = None


class OpenEnv:
    """A benchmark's environment by OpenEnv's routes."""

    def __init__(self, benchmark: Benchmark, tasks: Mapping[str, Task], *, most: int) -> None:
        """`most` episodes may be open at once."""
        self._environment, self._tasks, self._ids = benchmark.environment, tasks, list(tasks)
        self._episodes = Episodes(benchmark, most=most)

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
        environment = self._environment
        description = f"{len(self._ids)} tasks of {environment.name}, a benchmark of Assay"
        return _json({"name": environment.name, "description": description, "version": environment.version})

    async def _schema(self, request: HttpRequest) -> HttpResponse:
        return _json({"action": _ACTION, "observation": _OBSERVATION, "state": _STATE})

    def _begin(self, reset: Reset) -> "_NamedEpisode":
        """Returns an episode that has begun. Raises EpisodeError."""
        seed = secrets.randbits(32) if reset.seed is None else reset.seed
        id = self._ids[seed % len(self._ids)] if reset.task is None else reset.task
        if id not in self._tasks:
            raise EpisodeError(f"there is no task '{id}', such as '{self._ids[0]}'", "VALIDATION_ERROR", 422)
        name = reset.episode_id or secrets.token_urlsafe(16)
        return _NamedEpisode(name, self._episodes.begin(name, self._tasks[id], seed))

    async def _reset(self, request: HttpRequest) -> Reply:
        return await self._begin(_read(await read_body(request) or b"{}", Reset)).begin()

    async def _step(self, request: HttpRequest) -> Reply:
        step = _read(await read_body(request), Step)
        return await self._episode(step.episode_id).step(step.action)

    async def _state(self, request: HttpRequest) -> Reply:
        return self._episode(request.query_params.get("episode_id")).state

    def _episode(self, name: str | None) -> "_NamedEpisode":
        if (episode := self._episodes.get(name)) is None:
            message = f"no episode '{name}' is open; name the episode_id that reset was given"
            raise EpisodeError(message, "SESSION_ERROR", 409)
        return _NamedEpisode(name or "", episode)

    async def _socket(self, socket: WebSocket) -> None:
        """One connection: an episode after another, until it is closed."""
        await socket.accept()
        current: _NamedEpisode | None = None
        try:
            while True:
                try:
                    frame = _read((await socket.receive_text()).encode(), _Frame)
                    if frame.type == "close":
                        return
                    if frame.type == "reset":
                        if current:
                            await current.episode.close()
                        current = None
                        current = self._begin(_convert(frame.data, Reset))
                    reply = await _reply_to(current, frame)
                except EpisodeError as error:
                    reply = {"type": "error", "data": {"message": str(error), "code": error.code}}
                await socket.send_text(_encode(reply).decode())
        except WebSocketDisconnect:
            pass
        finally:
            if current:
                await current.episode.close()
            with suppress(RuntimeError, WebSocketDisconnect):  # it was closed from the other side
                await socket.close()


class _NamedEpisode(Struct, frozen=True):
    """An episode by its name, in OpenEnv's terms."""

    name: str
    episode: Episode

    @property
    def state(self) -> Reply:
        return {"episode_id": self.name, "step_count": self.episode.steps, "task": self.episode.task.id}

    async def begin(self) -> Reply:
        """Returns what the model is asked. Raises EpisodeError."""
        return self._observation(await self.episode.begin(), None)

    async def step(self, action: Action) -> Reply:
        """Returns what is observed after an action, with the reward at the end. Raises EpisodeError."""
        if action.type == "list_tools":
            return _reply({"tools": [_tool_row(tool) for tool in self.episode.tools]})
        new = await self.episode.step(_response(action))
        if not isinstance(new, Ending):
            return self._observation(new, action.tool_name)
        ending: Reply = {"episode_id": self.name, "metrics": new.score.metrics, "stop": new.stop}
        return _reply(ending | _result(action.tool_name, ()), new.score.reward)

    def _observation(self, new: list[Item], tool_name: str | None) -> Reply:
        return _reply({"episode_id": self.name, "messages": messages(new), **_result(tool_name, new)})


def _result(tool_name: str | None, new: Sequence[Item]) -> Reply:
    """Returns what a tool answered, as OpenEnv's CallToolObservation has it; nothing after a message."""
    if tool_name is None:
        return {}
    outputs = [item.text for item in new if isinstance(item, FunctionCallOutput)]
    return {"tool_name": tool_name, "result": outputs[0] if outputs else None, "error": None}


class _Frame(Struct, frozen=True):
    type: Literal["reset", "step", "state", "close"]
    data: dict[str, Any] = {}


async def _reply_to(current: _NamedEpisode | None, frame: _Frame) -> Reply:
    if current is None:
        raise EpisodeError("no episode has begun; send reset first", "SESSION_ERROR")
    if frame.type == "state":
        return {"type": "state", "data": current.state}
    observation = current.begin() if frame.type == "reset" else current.step(_convert(frame.data, Action))
    return {"type": "observation", "data": await observation}


def _response(action: Action) -> Response:
    """Returns what the model did. Raises EpisodeError where an action is none, or two."""
    if (action.message is None) == (action.tool_name is None):
        raise EpisodeError("an action has either a message or a tool_name", "VALIDATION_ERROR", 422)
    if action.tool_name is None:
        return Response(output=[Message("assistant", [Text(action.message or "")])])
    arguments = _encode(action.arguments).decode()
    return Response(output=[FunctionCall(f"call_{secrets.token_hex(8)}", action.tool_name, arguments)])


def _reply(observation: Reply, reward: float | None = None) -> Reply:
    return {"observation": observation, "reward": reward, "done": reward is not None}


def _tool_row(tool: Tool) -> Reply:
    return {"name": tool.name, "description": tool.description or "", "input_schema": tool.parameters}


def _read(content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        raise EpisodeError(str(error), "VALIDATION_ERROR", 422) from None
    except BROKEN as error:
        raise EpisodeError(f"this is no JSON ({error})", "INVALID_JSON", 422) from None


def _convert(data: Reply, kind: type[T]) -> T:
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise EpisodeError(str(error), "VALIDATION_ERROR", 422) from None


def _json(reply: Reply) -> HttpResponse:
    return HttpResponse(_encode(reply), media_type="application/json")


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

"""Environments of OpenEnv as benchmarks: episodes of a running server, by its WebSocket.

A task is a seed: `reset` gets it, and what the server then observes is the first message. The model acts by tools: the
server's own where it lists some, else one tool, `step`, whose arguments are the server's action. With `,text=FIELD`,
the model's message is an action too, as that field of it, and what is observed then is said to it next. The reward is
the sum of those of all steps.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.request import urlopen

import msgspec
from msgspec import Struct

from assay.benchmark import Benchmark, Ended, Environment
from assay.benchmark.catalog import divide
from assay.errors import RemoteError, UsageError
from assay.gyms import require
from assay.input import BROKEN
from assay.types import Item, Message, Response, Score, Task, Tool, Turn

PACKAGES = False
GOLD_FIELD = False
EPISODES = 100
TIMEOUT_S = 600.0
"""What the answer to a step may take."""
CONNECT_S = 10.0
LARGEST = 64 * 2**20
"""Bytes of a message."""
_STEP = "step"


def load(name: str) -> Benchmark:
    """The environment of the server at a URL, such as `http://localhost:8000`. Raises UsageError.

    `,episodes=COUNT` says how many seeds are its tasks (default: 100), from 0 on; `,text=FIELD` that the model's
    message is that field of an action. One repeat.
    """
    url, stated = divide(name)
    field, episodes = stated.pop("text", None), stated.pop("episodes", str(EPISODES))
    if stated:
        raise UsageError(f"openenv:{name}: there is no setting '{next(iter(stated))}'; expected episodes=, text=")
    if not episodes.isdecimal() or not int(episodes):
        raise UsageError(f"openenv:{name}: episodes={episodes}; expected a number from 1 on")
    if not url.startswith(("http://", "https://")):
        raise UsageError(
            f"openenv:{name}: the URL is {url}; expected http:// or https://, as in openenv:http://HOST:PORT"
        )
    server = _Server(url.rstrip("/"))
    return Benchmark(environment=OpenEnv(server, int(episodes), field), repeats=1)


class OpenEnv(Environment):
    """Episodes of one server."""

    def __init__(self, server: "_Server", episodes: int, field: str | None) -> None:
        """Raises UsageError where the server does not answer, or its actions have no such field."""
        metadata = server.get("/metadata")
        self.name = f"openenv:{metadata.get('name') or server.url}"
        self.version = str(metadata.get("version") or "1")
        self._server, self._episodes, self._field = server, episodes, field
        action: dict[str, Any] = server.get("/schema").get("action", {})
        fields: dict[str, Any] = action.get("properties", {})
        self._lists = {"tool_name", "arguments"} <= fields.keys()
        if field is not None and field not in fields:
            raise UsageError(f"{self.name} has no field {field} in an action; expected one of {', '.join(fields)}")
        self._tools = server.tools() if self._lists else [] if field else [_step_tool(action)]

    def tasks(self) -> Iterable[Task]:
        return [
            Task(id=f"seed-{seed}", input=[], data={"seed": seed}, tools=self._tools) for seed in range(self._episodes)
        ]

    @asynccontextmanager
    async def open(self, task: Task, seed: int) -> AsyncGenerator["_Episode"]:
        """An episode of its own connection. Where a task was run before, it has the same seed."""
        async with self._server.connected() as line:
            kind = _Dialogue if self._field else _Episode
            yield kind(line, await line.send("reset", {"seed": task.data["seed"]}), self._field, lists=self._lists)


class _Observed(Struct, frozen=True):
    """What a step gives."""

    observation: dict[str, Any] = {}
    reward: float | bool | None = None
    done: bool = False

    @property
    def items(self) -> list[Item]:
        """What is said to a model: chat messages, if there are some, else all that is observed as the user's."""
        try:
            said = msgspec.convert(self.observation.get("messages"), list[_Chat])
        except msgspec.ValidationError:
            said = []
        return [Message(one.role, one.content) for one in said] or [Message("user", self.text)]

    @property
    def text(self) -> str:
        """What a tool's call observed: the only text that there is, else all of it as JSON."""
        said = {key: value for key, value in self.observation.items() if value not in (None, "", [], {})}
        if "tool_name" in said:
            return _tool_text(said)
        texts = [value for value in said.values() if isinstance(value, str)]
        return texts[0] if len(texts) == len(said) == 1 else msgspec.json.encode(said).decode()


class _Chat(Struct, frozen=True):
    role: str
    content: str


def _tool_text(said: dict[str, Any]) -> str:
    """What a tool answered. MCP has a list of parts, of which the texts are read."""
    if error := said.get("error"):
        return f"error: {error}"
    result = said.get("result", "")
    try:
        parts = msgspec.convert(result, _Parts).content
    except msgspec.ValidationError:
        parts = []
    texts = [part.text for part in parts if part.text is not None]
    return "\n".join(texts) if texts else result if isinstance(result, str) else msgspec.json.encode(result).decode()


class _Part(Struct, frozen=True):
    text: str | None = None


class _Parts(Struct, frozen=True):
    content: list[_Part]


class _Episode:
    """One episode, whose actions are calls of tools."""

    def __init__(self, line: "_Line", first: _Observed, field: str | None, *, lists: bool) -> None:
        self._line, self._first, self._field, self._lists = line, first, field, lists
        self._rewards: list[float] = []
        self._done = False
        self._take(first)

    async def begin(self) -> list[Item]:
        return self._first.items

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """What the environment observes. Raises Ended where the episode ends with it."""
        action = {"type": "call_tool", "tool_name": name, "arguments": arguments} if self._lists else arguments
        if not self._lists and name != _STEP:
            return f"there is no tool '{name}' here"
        observed = await self._act(action)
        if self._done:
            raise Ended
        return observed.text

    async def score(self, turns: Sequence[Turn]) -> Score:
        """The sum of all rewards. Raises RemoteError where the server never gave one: that is no zero."""
        if not self._rewards:
            hint = "" if self._field else "; where an action is a text, name its field: openenv:URL,text=FIELD"
            raise RemoteError(f"{self._line.url} gave no reward in this episode{hint}", retryable=False)
        return Score(reward=math.fsum(self._rewards), metrics={"rewards": len(self._rewards), "done": self._done})

    async def _act(self, action: dict[str, Any]) -> _Observed:
        return self._take(await self._line.send("step", action))

    def _take(self, observed: _Observed) -> _Observed:
        if observed.reward is not None:
            self._rewards.append(float(observed.reward))
        self._done = observed.done
        return observed


class _Dialogue(_Episode):
    """One episode, whose actions are messages."""

    async def reply(self, response: Response) -> list[Item] | None:
        observed = await self._act({str(self._field): response.text})
        return None if self._done else observed.items


class _Server:
    """One server: what it says of itself, and connections to it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._socket = "ws" + url.removeprefix("http") + "/ws"
        self._client = require("websockets.asyncio.client", "openenv")
        self._sync = require("websockets.sync.client", "openenv")
        self._errors = require("websockets.exceptions", "openenv")

    def get(self, path: str) -> dict[str, Any]:
        """Returns what a route says. Raises UsageError where nothing does."""
        try:
            with urlopen(self.url + path, timeout=CONNECT_S) as answer:
                return msgspec.json.decode(answer.read(LARGEST), type=dict[str, Any])
        except (OSError, *BROKEN) as error:
            raise UsageError(f"{self.url}{path}: {error}; is it an OpenEnv server, and does it run?") from None

    def tools(self) -> list[Tool]:
        """Returns the tools that the server lists. Raises UsageError."""
        try:
            with self._sync.connect(self._socket, open_timeout=CONNECT_S, max_size=LARGEST) as socket:
                for sent in ({"type": "reset", "data": {"seed": 0}}, {"type": "step", "data": {"type": "list_tools"}}):
                    socket.send(msgspec.json.encode(sent).decode())
                    observed = _observed(self.url, socket.recv(timeout=TIMEOUT_S))
            listed = msgspec.convert(observed.observation.get("tools"), list[_Listed])
        except (OSError, RemoteError, msgspec.ValidationError, self._errors.WebSocketException) as error:
            raise UsageError(f"{self.url} takes calls of tools and does not list them: {error}") from None
        return [Tool(tool.name, tool.input_schema, tool.description) for tool in listed]

    @asynccontextmanager
    async def connected(self) -> AsyncGenerator["_Line"]:
        try:
            socket = await self._client.connect(self._socket, open_timeout=CONNECT_S, max_size=LARGEST)
        except (OSError, self._errors.WebSocketException) as error:
            raise RemoteError(f"{self._socket}: no connection ({error}); is the server running?") from None
        async with socket:
            yield _Line(self.url, socket, self._errors.WebSocketException)


class _Listed(Struct, frozen=True):
    name: str
    input_schema: dict[str, Any]
    description: str | None = None


class _Line:
    """One connection."""

    def __init__(self, url: str, socket: Any, broken: type[Exception]) -> None:
        self.url, self._socket, self._broken = url, socket, broken

    async def send(self, kind: str, data: dict[str, Any]) -> _Observed:
        """Returns what comes back. Raises RemoteError."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._socket.send(msgspec.json.encode({"type": kind, "data": data}).decode())
                return _observed(self.url, await self._socket.recv())
        except self._broken as error:
            raise RemoteError(f"{self.url}: the connection broke ({error})") from None
        except TimeoutError:
            raise RemoteError(f"{self.url}: no answer to {kind} in {TIMEOUT_S:g} s") from None


class _Answer(Struct, frozen=True):
    type: str
    data: dict[str, Any] = {}


def _observed(url: str, content: str | bytes) -> _Observed:
    """Returns what a message says. Raises RemoteError where it is an error, or not what OpenEnv sends."""
    try:
        answer = msgspec.json.decode(content, type=_Answer)
        if answer.type == "observation":
            return msgspec.convert(answer.data, _Observed)
    except BROKEN as error:
        raise RemoteError(f"{url} sent what OpenEnv does not ({error}): {content[:200]!r}", retryable=False) from None
    code = answer.data.get("code", "error")
    message = f"{url}: {code}: {answer.data.get('message', answer.type)}"
    raise RemoteError(message, retryable=code == "CAPACITY_REACHED")


def _step_tool(action: dict[str, Any]) -> Tool:
    """The server's action as a tool."""
    fields = {name: schema for name, schema in action.get("properties", {}).items() if name != "metadata"}
    described = action.get("description") or "Acts in the environment."
    return Tool(_STEP, {**action, "properties": fields}, described)

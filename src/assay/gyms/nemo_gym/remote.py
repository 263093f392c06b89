"""Environments behind HTTP: a resources server of NeMo Gym, or of `assay serve environment`.

A session is `POST /seed_session`, then `POST /TOOL` for each call, then `POST /verify`. The server keeps the session's
state by a cookie, which it renews with every answer.
"""

import asyncio
import importlib
import math
import os
import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeGuard
from urllib.parse import quote

import msgspec
from msgspec import structs

from assay.benchmark import Environment, Session
from assay.errors import RemoteError, UsageError
from assay.gyms.nemo_gym import kinds
from assay.gyms.nemo_gym.rows import FAILURE_CLASS, OWN, Row, read_rows, reserved, response_object
from assay.gyms.nemo_gym.server import Caller, Server
from assay.types import Score, Task, Turn

READY_S = 10.0
"""How long a server may take to say what it is, before it is taken at its rows' word."""


class RemoteEnvironment(Environment):
    """The environment of a running resources server. Its tasks come from a JSONL file of NeMo Gym's."""

    def __init__(
        self,
        name: str,
        *,
        url: str,
        rows: Path,
        version: str = "1",
        gold: str | None = None,
        timeout_s: float = 600.0,
        api_key_env: str | None = None,
    ) -> None:
        """`timeout_s` is the deadline of each call; `api_key_env` names the variable of a key, sent as bearer token.

        `gold` writes a row's reference answer as a model would, with the row's fields, such as `"{expected_answer}"`;
        without it, or without such a field in a row, there is none. Raises UsageError for a URL that is none.
        """
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"the URL of environment {name} is {url}; expected http:// or https://")
        self.name, self.version = name, version
        self._url = url.rstrip("/")
        self._rows = rows
        self._gold = gold
        self._timeout_s = timeout_s
        self._api_key_env = api_key_env

    def tasks(self) -> Iterable[Task]:
        """The file's tasks. Raises InputError."""
        return [task for task, _ in self._read.values()]

    def open(self, task: Task, seed: int) -> AbstractAsyncContextManager[Session]:
        """Returns a session on the server. Only an environment of Assay gets the seed: NeMo Gym has none."""
        return _RemoteSession(self._server, task, self._row(task, seed))

    async def ready(self) -> None:
        """Raises UsageError where the server is of a kind that a session here can't drive. One that is down is not."""
        reason = self._unfit()
        try:
            async with asyncio.timeout(READY_S):
                reason = reason or await self._unsupported(await self._server.routes())
        except (RemoteError, TimeoutError):
            pass  # each rollout will say so
        if reason:
            raise UsageError(f"environment {self.name}: {self._url} {reason}")

    async def is_gymnasium(self) -> bool:
        """Whether the rows, or else the server if it is up, say that it is driven by `/reset` and `/step`."""
        try:
            async with asyncio.timeout(READY_S):
                paths = await self._server.routes()
        except (RemoteError, TimeoutError):
            paths = []
        return kinds.is_gymnasium(self._read.values(), paths)

    def _row(self, task: Task, seed: int) -> Row:
        _, row = self._read[task.id]
        return row | {OWN: row[OWN] | {"seed": seed}} if OWN in row else row

    def _unfit(self) -> str | None:
        """Why the rows can't be driven, by what they say themselves."""
        rows = self._read.values()
        return kinds.of_rows(rows) or kinds.of_questions(rows)

    async def _unsupported(self, paths: Collection[str]) -> str | None:
        """Why a session here can't drive the server, by its routes and by what it answers to the first row."""
        tools = {tool.name for task, _ in self._read.values() for tool in task.tools}
        if paths and (reason := kinds.of_routes(paths, tools)):
            return reason
        _, row = next(iter(self._read.values()))
        status, content, _ = await self._server.post("seed_session", row, {})
        if status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
            return "has no route /seed_session"
        if status >= HTTPStatus.BAD_REQUEST:
            return None
        if kinds.mcp_of_seed(content):
            mcp_client()
        return kinds.of_seed(content)

    @cached_property
    def _read(self) -> dict[str, tuple[Task, Row]]:
        return {task.id: (self._with_gold(task, row), row) for task, row in read_rows(self._rows)}

    def _with_gold(self, task: Task, row: Row) -> Task:
        if self._gold is None or task.gold is not None:
            return task
        try:
            return structs.replace(task, gold=self._gold.format_map(row))
        except (LookupError, TypeError, AttributeError):
            return task

    @cached_property
    def _server(self) -> Server:
        key = os.environ.get(self._api_key_env) if self._api_key_env else None
        if self._api_key_env and not key:
            raise UsageError(f"the environment variable {self._api_key_env} is not set; {self._url} needs its key")
        return Server(self._url, self._timeout_s, key)


class _RemoteSession:
    """One session, with its cookies."""

    def __init__(self, server: Server, task: Task, row: Row) -> None:
        self._server = server
        self._task = task
        self._row = row
        self._tools = {tool.name for tool in task.tools}
        self._caller = Caller(server)
        self._stack = AsyncExitStack()
        self._mcp: Any = None
        self.tools = task.tools
        """Those that the model may call: a server's MCP tools are known once the session is open."""

    async def __aenter__(self) -> Self:
        status, content = await self._caller.post("seed_session", self._row)
        if status >= HTTPStatus.BAD_REQUEST:
            raise self._caller.refusal("seed_session", status, content)
        if reason := kinds.of_seed(content):
            raise RemoteError(f"{self._server.url} {reason}", retryable=False)
        if server := kinds.mcp_of_seed(content):
            url = f"{self._server.url}{server.url_path}"
            connected = mcp_client().connected(url, server.headers, self._server.timeout_s)
            self._mcp = await self._stack.enter_async_context(connected)
            self.tools = [*self._task.tools, *self._mcp.tools]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None):
        await self._stack.aclose()

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """Returns the server's text, also of an error. Raises RemoteError and TimeoutError where there is none."""
        if self._mcp and name in {tool.name for tool in self._mcp.tools}:
            return await self._mcp.call(name, arguments)
        if name not in self._tools:
            # The server has routes that are no tools: /verify would tell the model its reward.
            return f"there is no tool '{name}' here"
        _, content = await self._caller.post(quote(name, safe=""), arguments)
        return content.decode("utf-8", "replace")

    async def score(self, turns: Sequence[Turn]) -> Score:
        """Returns the server's score. Raises RemoteError and TimeoutError where it gives none."""
        response = response_object(self._task, turns, model="policy", created_s=int(time.time()), tokens=False)
        status, content = await self._caller.post("verify", self._row | {"response": response})
        if status != HTTPStatus.OK:
            raise self._caller.refusal("verify", status, content)
        return read_score(content, self._row)


def mcp_client() -> Any:
    """Returns the module of MCP's client. Raises UsageError where the package mcp is not installed."""
    try:
        return importlib.import_module("assay.gyms.nemo_gym.mcp")
    except ImportError as error:
        raise UsageError(f"tools over MCP need the package mcp: pip install 'assay[mcp]' ({error})") from None


def read_score(content: bytes, row: Row) -> Score:
    """The score that an answer of `/verify` gives; numbers that the row did not have are metrics. Raises RemoteError.

    A verifier of NeMo Gym that failed may say so beside a reward of 0, which then is none.
    """
    try:
        said = msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RemoteError(f"/verify answered no JSON object ({error}); it begins: {content[:200]!r}") from None
    if said.get(FAILURE_CLASS) or said.get("mask_sample"):
        words = [f"{name} {value}" for name, value in said.items() if "failure_" in name and value]
        raise RemoteError(f"the verifier says that it failed: {', '.join(words) or 'mask_sample'}")
    reward = said.get("reward")
    if not is_number(reward) or isinstance(reward, bool):
        raise RemoteError(f"/verify answered the reward {reward!r}; expected a finite number", retryable=False)
    new = {name: value for name, value in said.items() if name not in row and not reserved(name)}
    metrics = {name: float(value) for name, value in new.items() if is_number(value)}
    answer = new.get("extracted_answer")
    return Score(reward=float(reward), metrics=metrics, answer=answer if isinstance(answer, str) else None)


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value of JSON is a finite number; a truth value is 0 or 1."""
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:
        return False

"""A resources server of NeMo Gym, written from how it talks: a counter, kept by a signed cookie that every answer sets.

Its sessions are Starlette's: JSON in base64, a time stamp, a signature. A cookie that it doesn't know begins a session.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import os
import secrets
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from tests.commands import until

COOKIE = "CounterServer___counter"
Behave = Callable[[Request, dict[str, Any]], Awaitable[Response | None]]


@contextlib.contextmanager
def hosting(app: ASGIApp) -> Iterator[str]:
    """The address of an app on loopback, in a thread of its own."""
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)


@dataclass
class Gym:
    """`behave` may answer a route otherwise, or put it off; None leaves it to the server."""

    behave: dict[str, Behave] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    calls: list[tuple[str, Any]] = field(default_factory=list)
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    routes: tuple[str, ...] = ("seed_session", "increment_counter", "get_counter_value", "crash", "verify")

    def app(self) -> Starlette:
        routes = [Route(f"/{name}", self._answer, methods=["POST"]) for name in self.routes]
        return Starlette(routes=routes)

    @contextlib.contextmanager
    def __call__(self) -> Iterator[str]:
        with hosting(self.app()) as url:
            yield url

    async def _answer(self, request: Request) -> Response:
        name, body = request.url.path.strip("/"), await request.json()
        self.calls.append((name, body))
        answer = await self.behave[name](request, body) if name in self.behave else None
        session_id = self._session(request.cookies.get(COOKIE))
        try:
            answer = answer or getattr(self, name)(session_id, body)
        except KeyError as error:
            detail = [{"type": "missing", "loc": ["body", error.args[0]], "msg": "Field required", "input": body}]
            answer = JSONResponse({"detail": detail}, 422)
        answer.headers["set-cookie"] = f"{COOKIE}={self._sign(session_id)}; path=/; httponly; samesite=lax"
        return answer

    def _sign(self, session_id: str) -> str:
        named = base64.b64encode(json.dumps({"session_id": session_id}).encode()).decode()
        signed = f"{named}.{base64.urlsafe_b64encode(time.time_ns().to_bytes(8)).decode().rstrip('=')}"
        return f"{signed}.{hmac.new(self.secret, signed.encode(), hashlib.sha1).hexdigest()}"

    def _session(self, cookie: str | None) -> str:
        signed, _, signature = (cookie or "").rpartition(".")
        if signed and hmac.compare_digest(hmac.new(self.secret, signed.encode(), hashlib.sha1).hexdigest(), signature):
            return json.loads(base64.b64decode(signed.partition(".")[0]))["session_id"]
        return secrets.token_hex(8)

    def seed_session(self, session_id: str, body: dict[str, Any]) -> Response:
        self.counters[session_id] = body["initial_count"]
        return JSONResponse({})

    def increment_counter(self, session_id: str, body: dict[str, Any]) -> Response:
        self.counters[session_id] = self.counters.get(session_id, 0) + body["count"]
        return JSONResponse({"success": True})

    def get_counter_value(self, session_id: str, body: dict[str, Any]) -> Response:
        return JSONResponse({"count": self.counters.get(session_id, 0)})

    def crash(self, session_id: str, body: dict[str, Any]) -> Response:
        return JSONResponse(repr(ZeroDivisionError("division by zero")), 500)

    def verify(self, session_id: str, body: dict[str, Any]) -> Response:
        count = self.counters.get(session_id, 0)
        return JSONResponse({**body, "reward": float(body["expected_count"] == count), "count": count})


@dataclass
class StepGym(Gym):
    """The counter as a gymnasium server. It ends at "stop"; until then a step has a reward of 0.1."""

    routes: tuple[str, ...] = ("reset", "step")

    def reset(self, session_id: str, body: dict[str, Any]) -> Response:
        self.counters[session_id] = body["initial_count"]
        return JSONResponse({"observation": f"The count is {self.counters[session_id]}.", "info": {}})

    def step(self, session_id: str, body: dict[str, Any]) -> Response:
        if session_id not in self.counters:
            return JSONResponse({"detail": "Session not initialized. Call /reset first."}, 400)
        outputs: list[dict[str, str]] = []
        said = "".join(part["text"] for item in body["response"]["output"] for part in item.get("content", ()))
        for item in body["response"]["output"]:
            if item["type"] == "function_call":
                self.counters[session_id] += json.loads(item["arguments"])["count"]
                outputs.append({"call_id": item["call_id"], "output": str(self.counters[session_id])})
        info = {"tool_outputs": outputs, "count": self.counters[session_id]}
        more = {"observation": None if outputs else "Go on.", "reward": 0.1, "terminated": False, "truncated": False}
        if "stop" in said:
            reward = 1.0 if self.counters.pop(session_id) == body["expected_count"] else -1.0
            more = {"observation": None, "reward": reward, "terminated": True, "truncated": False}
        return JSONResponse({**more, "info": info})


def answering(body: Any, status: int = 200) -> Behave:
    """Always the same: text as it is, other things as JSON."""

    async def behave(request: Request, asked: dict[str, Any]) -> Response:
        if isinstance(body, str):
            return PlainTextResponse(body, status)
        return JSONResponse(body, status)

    return behave


async def hang(request: Request, asked: dict[str, Any]) -> Response | None:
    await asyncio.sleep(1.5)
    return None


async def drop(request: Request, asked: dict[str, Any]) -> Response | None:
    async def torn() -> AsyncIterator[bytes]:
        yield b'{"reward": 1'
        raise ConnectionResetError

    return _Torn(torn())


class _Torn(Response):
    """An answer that says more of itself than comes."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        super().__init__(headers={"content-length": "1000"})
        self._pieces = pieces

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})


def tool(name: str, **properties: str) -> dict[str, Any]:
    """A tool as a row has it."""
    schema = {name: {"type": kind} for name, kind in properties.items()}
    parameters = {"type": "object", "properties": schema, "required": [*schema], "additionalProperties": False}
    return {"type": "function", "name": name, "description": "", "parameters": parameters, "strict": True}


def row(index: int, *, initial: int, expected: int, **fields: Any) -> dict[str, Any]:
    """A row for the counter."""
    return {
        "responses_create_params": {
            "input": [{"role": "user", "content": f"{index}: add 2 and tell the count"}],
            "tools": [tool("increment_counter", count="integer"), tool("get_counter_value"), tool("crash")],
        },
        "initial_count": initial,
        "expected_count": expected,
        "agent_ref": {"type": "responses_api_agents", "name": "counter_simple_agent"},
        **fields,
    }


# ---- The real package


PYTHON = os.environ.get("ASSAY_NEMO_GYM_PYTHON")
"""An interpreter with the package nemo-gym and, for two of its servers, gymnasium, gym and gym-sokoban."""
theirs = pytest.mark.skipif(PYTHON is None, reason="ASSAY_NEMO_GYM_PYTHON names no interpreter with nemo-gym")
_AGENT = Path(__file__).parent / "serve/clients/nemo_gym_gymnasium.py"


def free() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        return held.getsockname()[1]


@contextlib.contextmanager
def their_agent(server: str | None, base_url: str, *, max_steps: int, resources: str = "") -> Iterator[tuple[str, str]]:
    """The addresses of their agent and of their gymnasium server, or of `resources`, which runs already."""
    ports = {"resources": int(resources.rpartition(":")[2] or free()), "model": free(), "agent": free()}
    config = {"server": server, "base_url": f"{base_url}/v1", "max_steps": max_steps, **ports}
    with subprocess.Popen([str(PYTHON), str(_AGENT), json.dumps(config)]) as process:
        try:
            for port in ports.values():
                until(lambda port=port: process.poll() is not None or listens(port))
            assert process.poll() is None
            yield f"http://127.0.0.1:{ports['agent']}", f"http://127.0.0.1:{ports['resources']}"
        finally:
            process.terminate()


def listens(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


def ran(agent: str, row: dict[str, Any]) -> dict[str, Any]:
    """What their agent makes of a row. Raises HTTPError."""
    request = urllib.request.Request(f"{agent}/run", json.dumps(row).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)

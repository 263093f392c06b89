"""What all servers here do about HTTP: who may call, how long a request may take to come, and how large it may be."""

import asyncio
import hmac
import ipaddress
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from assay.model.dialects.serving import BadRequest, error_object

LARGEST_BODY = 64 * 2**20
"""Bytes of a request."""
REQUEST_S = 60.0
"""What a request may take to come as a whole, from its first byte, or from the connection where it is the first."""
KEPT_S = 75
"""How long an idle connection is kept. Longer than callers keep one (aiohttp: 15 s), so that none sends while it
closes."""

Sockets = Literal["none", "websockets-sansio"]
"""How uvicorn speaks WebSocket; the second needs the package websockets, an extra."""


def is_loopback(host: str | None) -> bool:
    """Returns whether a host's name is one of this machine's own, which no other machine can have."""
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


async def read_body(request: Request) -> bytes:
    """Raises BadRequest for a body that is too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise BadRequest(f"the body is longer than {LARGEST_BODY} bytes", code="too_large", status=413)
    return bytes(body)


async def read_arguments(request: Request, name: str) -> dict[str, Any]:
    """Returns the arguments in the body of a tool's call. Raises BadRequest where it is no JSON object."""
    try:
        return msgspec.json.decode(await read_body(request) or b"{}", type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the arguments of {name} are not a JSON object ({error})", param="body") from None


def refusal(path: str, error: BadRequest) -> Response:
    """Returns the answer of a route to a request that is refused."""
    content = error_object(path, error.status, error.message, code=error.code, param=error.param)
    return Response(msgspec.json.encode(content), error.status, media_type="application/json")


class Callers:
    """Refuses who may not call: with a key, all who don't send it; without one, the pages that a browser shows.

    A page of any site can send requests to loopback. The browser says whose page it is in `Origin`, and in `Host` by
    which name it found this machine. A body of another type than JSON is what a page can send unasked.
    """

    def __init__(self, app: ASGIApp, key: str | None) -> None:
        self._app = app
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asks = scope["type"] in ("http", "websocket") and scope["path"] != "/health"
        error = self._refusal(scope) if asks else None
        if error is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": error.message})  # before it is open: a 403
        else:
            await refusal(scope["path"], error)(scope, receive, send)

    def _refusal(self, scope: Scope) -> BadRequest | None:
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        if self._key is not None:
            key = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(key.encode(), self._key.encode()):
                message = "this server wants its key: authorization: Bearer KEY, or x-api-key: KEY"
                return BadRequest(message, code="invalid_api_key", status=401)
        else:
            for name, url in (("host", f"//{headers.get('host', '')}"), ("origin", headers.get("origin"))):
                if url is not None and not is_loopback(host_of(url)):
                    message = (
                        f"the {name} {url.removeprefix('//')!r} is not this machine, and no key protects this server"
                    )
                    remedy = "call 127.0.0.1, or start the server with --api-key-env"
                    return BadRequest(f"{message}; {remedy}", code=f"foreign_{name}", status=403)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        empty = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
        if scope.get("method") == "POST" and not empty and not kind.endswith(("/json", "+json")):
            message = f"the body's content-type is {kind or 'missing'}; expected application/json"
            return BadRequest(message, code="unsupported_media_type", status=415)
        return None


def host_of(url: str) -> str | None:
    """Returns the host that a URL names; None where it names none."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


class _Prompt(HttpToolsProtocol):
    """Closes a connection whose request does not come in time. uvicorn waits for ever."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await_request()

    def data_received(self, data: bytes) -> None:
        # Between requests, bytes that begin none keep a connection from being idle.
        if self.cycle is None or self.cycle.response_complete:  # pyright: ignore[reportUnnecessaryComparison]
            self._await_request()
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._await_request()
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._cancel()
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel()
        super().connection_lost(exc)

    def _await_request(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(REQUEST_S, self.transport.close)

    def _cancel(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def settings(app: ASGIApp, *, ws: Sockets = "none") -> uvicorn.Config:
    """Returns how uvicorn serves an app here."""
    return uvicorn.Config(
        app,
        http=_Prompt,
        ws=ws,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=KEPT_S,
    )


class _Quiet(uvicorn.Server):
    """uvicorn in this process's event loop, without signal handlers."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(settings(app))
        self.listens = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listens.set()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@asynccontextmanager
async def serving(app: ASGIApp, listener: socket.socket) -> AsyncGenerator[None]:
    """Serves an app as long as the context lasts."""
    server = _Quiet(app)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await server.listens.wait()
        yield
    finally:
        server.should_exit = True
        await running

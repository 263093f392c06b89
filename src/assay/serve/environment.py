"""An environment on HTTP, by the routes of NeMo Gym's resources servers, so that its agents and trainers use ours.

POST /seed_session       a row that `assay export` wrote; begins a session, kept by a signed cookie
POST /TOOL               a call's arguments; the answer's text is what the model reads
POST /verify             the row and the `response`; answers both with the `reward`, and ends the session
POST /aggregate_metrics  answers of `/verify`; statistics over tasks and repeats
GET  /reverify_mode      whether `/verify` needs a session before it
POST /reset, /step       the same environment as a gymnasium server: `assay.serve.gymnasium`
     /openenv/…          the same environment by OpenEnv's routes: `assay.serve.openenv`
"""

import asyncio
import base64
import hashlib
import hmac
import logging
import math
import os
import re
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from assay.benchmark import Benchmark, Session, has_no_state, reacts, replies, session_of
from assay.collect.plan import seed_of
from assay.errors import ToolError, UsageError
from assay.gyms.nemo_gym.rows import OWN, ROLLOUT_INDEX, Own, Row, score_fields, turns_of
from assay.model.dialects.serving import BadRequest
from assay.model.wrappers.role import InRole
from assay.serve import gymnasium
from assay.serve.episode import EpisodeError, Episodes
from assay.serve.http import Callers, read_arguments, read_body
from assay.serve.openenv import OpenEnv
from assay.serve.rows import aggregate, health, row_in, task_in, unprocessable
from assay.types import Score, Task, Turn

IDLE_S = 3600.0
"""A session that nobody calls for so long is ended; sooner where many are open."""
LEAST_IDLE_S = 600.0
"""How long a session is kept in any case: models think for minutes."""
SESSION_BYTES = 128 * 2**10
"""What a session of a small environment holds in memory (office: 126 kB)."""
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
DEADLINE_S = 600.0
"""What a call of a tool, the opening of a session, and a verification may each take."""
LAST_S = 5.0
"""What the ends of all open sessions may take together when the server ends."""
Answer = Callable[[Request], Awaitable[Response]]
_encode = msgspec.json.Encoder().encode
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _OpenSession:
    """One session that is open, or about to be."""

    task: Task
    last_use: float = field(default_factory=time.monotonic)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Calls of one session follow one another, as they do in a tool loop."""
    session: "asyncio.Future[Session]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    holder: "asyncio.Task[None] | None" = None
    tool_error: Exception | None = None
    """What a tool raised: the rollout then has no score."""


class ServedEnvironment:
    """One environment on HTTP. Every session is one rollout's."""

    def __init__(
        self,
        benchmark: Benchmark,
        *,
        idle_s: float = IDLE_S,
        deadline_s: float = DEADLINE_S,
        most_sessions: int | None = None,
    ) -> None:
        """Raises UsageError where a tool has the name of one of the routes.

        `most_sessions` may be open at once: as many as a quarter of the machine's memory holds, if not given.
        """
        self._most = most_sessions or affordable()
        self._deadline_s = deadline_s
        self._environment = environment = benchmark.environment
        self._roles = benchmark.roles
        self._idle_s = idle_s
        self._tasks = {task.id: task for task in environment.tasks()}
        names = {tool.name for task in self._tasks.values() for tool in task.tools}
        # A tool comes before a gymnasium server's routes: `step` is one of OpenEnv's.
        self._is_gymnasium = names.isdisjoint({"reset", "step"})
        if clashes := names & _ROUTES:
            raise UsageError(
                f"environment {environment.name} has a tool {min(clashes)}, which is a route of its server"
            )
        self._stateless = has_no_state(environment)
        self._secret = secrets.token_bytes(32)
        self._cookie = "assay_" + re.sub(r"[^A-Za-z0-9_-]", "_", environment.name)
        self._sessions: dict[str, _OpenSession] = {}
        self._episodes = Episodes(benchmark, most=self._most)
        self._openenv = OpenEnv(benchmark, self._tasks, most=self._most)

    def app(self, key: str | None = None) -> Starlette:
        """Returns the routes. With a key, all but `/health` want it; without one, no page in a browser may call."""
        rollout = [
            ("/seed_session", self._seed),
            ("/verify", self._verify),
            *([("/reset", self._reset), ("/step", self._step)] if self._is_gymnasium else []),
            ("/{tool}", self._call),
        ]
        routes = [
            Route("/", health),
            Route("/health", health),
            Route("/aggregate_metrics", aggregate, methods=["POST"]),
            Route("/reverify_mode", self._reverify_mode),
            Mount("/openenv", routes=self._openenv.routes()),
        ]
        # Agents that are observed name the rollout in the path.
        for prefix in ("", "/ng-rollout/{rollout}"):
            routes += [Route(prefix + path, self._with_errors(answer), methods=["POST"]) for path, answer in rollout]
        return Starlette(
            routes=routes,
            middleware=[Middleware(Callers, key=key)],
            exception_handlers={BadRequest: unprocessable},
            lifespan=self._lifespan,
        )

    @property
    def sessions(self) -> int:
        """How many sessions are open."""
        return len(self._sessions) + len(self._episodes)

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncGenerator[None]:
        ending = asyncio.create_task(self._end_idle())
        try:
            yield
        finally:
            ending.cancel()
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_S):
                    ends = [_end(entry) for entry in self._sessions.values()]
                    await asyncio.gather(*ends, self._episodes.close(), return_exceptions=True)

    async def _end_idle(self) -> None:
        """End the sessions that nobody calls, for ever. The limit falls to LEAST_IDLE_S as the room for more fills."""
        while True:
            await asyncio.sleep(min(1.0, self._idle_s / 4))
            share = 1 - self.sessions / self._most
            limit_s = max(self._idle_s * share, min(self._idle_s, LEAST_IDLE_S))
            before = time.monotonic() - limit_s
            for entry in self._sessions.values():
                if entry.last_use < before and entry.session.done() and not entry.lock.locked():
                    entry.ending.set()
            for episode in self._episodes:
                if episode.last_use < before and not episode.is_busy:
                    await episode.close()

    async def _seed(self, request: Request) -> Response:
        row = row_in(await read_body(request))
        own, task = task_in(row, self._environment.name, self._tasks)
        session_id = self._new_session()
        entry = _OpenSession(task)
        entry.holder = asyncio.create_task(self._hold(session_id, entry, _seed_in(row, own)))
        self._sessions[session_id] = entry
        await asyncio.shield(entry.session)
        return self._response(_encode({}), session_id)

    async def _reset(self, request: Request) -> Response:
        row = row_in(await read_body(request))
        own, task = task_in(row, self._environment.name, self._tasks)
        if before := self._episodes.get(self._id_in(request)):
            await before.close()
        session_id = self._new_session()
        episode = self._episodes.begin(session_id, task, _seed_in(row, own))
        return self._response(_encode(await gymnasium.begin(episode)), session_id)

    async def _step(self, request: Request) -> Response:
        row = row_in(await read_body(request))
        own, task = task_in(row, self._environment.name, self._tasks)
        session_id = self._id_in(request)
        if (episode := self._episodes.get(session_id)) is None:
            raise HTTPException(409, _NO_SESSION)
        _check_task(episode.task, own)
        turn, *more = _turns_in(row, task)
        if more:
            raise BadRequest("response: it holds what tools answered; expected one response", param="body.response")
        return self._response(_encode(await gymnasium.step(episode, turn.response)), session_id)

    def _new_session(self) -> str:
        """Returns the id of a session that may begin. Raises HTTPException."""
        if self.sessions >= self._most:
            message = f"{self._most} sessions are open, the most (--most-sessions); verify some, or wait"
            raise HTTPException(503, message, {"retry-after": "60"})
        return secrets.token_urlsafe(16)

    async def _hold(self, session_id: str, entry: _OpenSession, seed: int) -> None:
        """Open the session, keep it while it is called, and close it: one task does both, as cancel scopes need it."""
        try:
            async with self._session(entry.task, seed) as session:
                if replies(session) or reacts(session):
                    name = self._environment.name
                    remedy = "NeMo Gym's simple_agent ends with it, and its gymnasium_agent goes on"
                    raise UsageError(f"{name} goes on after the model's answer; {remedy}")
                entry.last_use = time.monotonic()
                entry.session.set_result(session)
                await entry.ending.wait()
        except Exception as error:
            if entry.session.done():
                raise
            entry.session.set_exception(error)
        finally:
            self._sessions.pop(session_id, None)

    def _session(self, task: Task, seed: int) -> AbstractAsyncContextManager[Session]:
        roles = {
            role: InRole(role, model, seed=seed_of(seed, role, 0), task=task.id, repeat=0)
            for role, model in self._roles.items()
        }
        return session_of(self._environment, task, seed, roles)

    async def _call(self, request: Request) -> Response:
        name = request.path_params["tool"]
        arguments = await read_arguments(request, name)
        session_id, entry = self._session_of(request)
        if entry is None:
            raise HTTPException(409, _NO_SESSION)
        async with _using(entry) as session:
            try:
                output = (await session.call(name, arguments)).encode("utf-8", "replace")
            except Exception as error:
                entry.tool_error = entry.tool_error or error
                raise
            except asyncio.CancelledError:
                entry.tool_error = entry.tool_error or ToolError(f"the tool {name} was given up before it answered")
                raise
        return self._response(output, session_id, "text/plain; charset=utf-8")

    async def _verify(self, request: Request) -> Response:
        row = row_in(await read_body(request))
        own, task = task_in(row, self._environment.name, self._tasks)
        session_id, entry = self._session_of(request)
        if entry is None and not self._stateless:
            raise HTTPException(409, _NO_SESSION)
        if entry is not None:
            _check_task(entry.task, own)
        turns = _turns_in(row, task)
        if entry is None:
            async with self._session(task, 0) as session:
                score = await session.score(turns)
        else:
            async with _using(entry) as session:
                try:
                    if entry.tool_error:
                        raise entry.tool_error
                    score = await session.score(turns)
                finally:
                    await _end(entry)
        return self._response(_encode(_with_score(row, score)), session_id)

    async def _reverify_mode(self, request: Request) -> Response:
        return self._response(_encode("stateless" if self._stateless else "unsupported"), None)

    def _session_of(self, request: Request) -> tuple[str | None, _OpenSession | None]:
        """Returns the session that the request's cookie names, where it is still open."""
        session_id = self._id_in(request)
        return session_id, self._sessions.get(session_id or "")

    def _id_in(self, request: Request) -> str | None:
        """Returns the id in the request's cookie, where it is signed here."""
        payload, _, signature = request.cookies.get(self._cookie, "").rpartition(".")
        if not payload or not hmac.compare_digest(signature.encode(), self._sign(payload).encode()):
            return None
        return msgspec.json.decode(base64.urlsafe_b64decode(payload + "=="))["session_id"]

    def _sign(self, payload: str) -> str:
        return hmac.new(self._secret, payload.encode(), hashlib.sha256).hexdigest()

    def _response(
        self,
        content: bytes,
        session_id: str | None,
        media_type: str = "application/json",
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Returns the answer with the session's cookie, which NeMo Gym's agents take from the last answer alone."""
        answer = Response(content, status, headers, media_type)
        if session_id is not None:
            payload = base64.urlsafe_b64encode(_encode({"session_id": session_id})).decode().rstrip("=")
            answer.set_cookie(self._cookie, f"{payload}.{self._sign(payload)}", httponly=True, samesite="lax")
        return answer

    def _with_errors(self, answer: Answer) -> Answer:
        """Returns the endpoint of a route, which reports errors as NeMo Gym's servers do, with the session's cookie.

        An exception that left the app would close the connection too, under the caller's next request.
        """

        async def endpoint(request: Request) -> Response:
            deadline = asyncio.timeout(self._deadline_s)
            headers: Mapping[str, str] | None = None
            try:
                async with deadline:
                    return await answer(request)
            except BadRequest as error:
                refusal = await unprocessable(request, error)
                return self._response(bytes(refusal.body), self._id_in(request), status=refusal.status_code)
            except HTTPException as error:
                content, status, headers = _encode({"detail": error.detail}), error.status_code, error.headers
            except EpisodeError as error:
                content, status = _encode({"detail": str(error)}), error.status
            except ClientDisconnect:
                return Response(status_code=499)
            except Exception as error:
                _log.error("%s failed", request.url.path, exc_info=error)
                late = f"{request.url.path}: no end within {self._deadline_s:g} s, the server's deadline"
                content, status = _encode(late if deadline.expired() else repr(error)), 500
            return self._response(content, self._id_in(request), status=status, headers=headers)

        return endpoint


def affordable() -> int:
    """Returns how many small sessions a quarter of the machine's memory holds, or of the container's."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):  # the file holds "max" where nothing limits the container
        memory = min(memory, int(CONTAINER_LIMIT.read_text()))
    return memory // 4 // SESSION_BYTES


@asynccontextmanager
async def _using(entry: _OpenSession) -> AsyncGenerator[Session]:
    """The session for one call, after those that came before. Raises HTTPException where it has ended."""
    async with entry.lock:
        if entry.ending.is_set():
            raise HTTPException(409, _NO_SESSION)
        entry.last_use = time.monotonic()
        yield await entry.session
        entry.last_use = time.monotonic()


async def _end(entry: _OpenSession) -> None:
    """Close the session. Raises what its end raises."""
    entry.ending.set()
    if entry.holder:
        await asyncio.shield(entry.holder)


def _seed_in(row: Row, own: Own) -> int:
    """Returns the session's seed, which is that of a run's rollout of the same repeat where the row has none."""
    repeat = row.get(ROLLOUT_INDEX)
    return seed_of(0, own.id, repeat if isinstance(repeat, int) else 0) if own.seed is None else own.seed


def _check_task(task: Task, own: Own) -> None:
    """Raises BadRequest where a session is another task's than the row."""
    if task.id != own.id:
        raise BadRequest(f"the session is task {task.id}'s and the row task {own.id}'s", param=f"body.{OWN}")


def _turns_in(row: Row, task: Task) -> list[Turn]:
    """Returns the turns of a row's response. Raises BadRequest for what is none, or failed."""
    try:
        turns = turns_of(task, row.get("response"))
    except (msgspec.ValidationError, AttributeError, TypeError) as error:
        raise BadRequest(f"response: {error}", param="body.response") from None
    status = row["response"].get("status")
    if status not in (None, "completed", "incomplete"):
        message = f"response: its status is {status}, so there is no answer that could be scored"
        raise BadRequest(message, param="body.response.status")
    return turns


_ROUTES = {"seed_session", "verify", "aggregate_metrics", "reverify_mode", "health"}
_NO_SESSION = "no session is open by this cookie: it was never begun here, was verified, or nobody called it for long"


def _with_score(row: Row, score: Score) -> Row:
    """The row with its score. Raises ValueError for what is no finite number, which JSON could not even hold."""
    for name, value in {"reward": score.reward, **score.metrics}.items():
        if not math.isfinite(value):
            raise ValueError(f"the verifier returned the {name} {value!r}; expected a finite number")
    return {**score_fields(score), **row, "reward": float(score.reward)}

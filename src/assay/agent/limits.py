"""Limits: a wrapper `Agent -> Agent` that ends a rollout when a limit of its protocol is reached.

The model is responsible for reaching a limit, so the rollout is scored as it is. It is not for what breaks or hangs by
itself: a tool has its own deadline (`benchmark.tools`) and a rollout has the model server's `deadline_s`, and passing
either is a failure. So a tool's deadline belongs well below the limits, and `deadline_s` well above.
"""

import asyncio
import dataclasses
import math
import time
from typing import Any

from assay.agent import Agent, ProgramEnd
from assay.benchmark import Ended, Session
from assay.errors import AssayError
from assay.model import Model
from assay.types import Request, Response, RolloutLimits, StopReason, Task


class LimitReached(AssayError):
    """The agent's next call is past a limit. The error never leaves the rollout."""


class LimitedAgent:
    """An agent that stops at a benchmark's limits, even if it ignores LimitReached."""

    def __init__(self, agent: Agent, limits: RolloutLimits) -> None:
        self._agent = agent
        self._limits = limits

    async def run(self, task: Task, model: Model, session: Session) -> StopReason | ProgramEnd:
        """Returns the limit that was reached, else why the agent ended. Raises what the agent raises."""
        meter = _Meter(self._limits)
        try:
            ended = await self._agent.run(task, _MeteredModel(model, meter), _meter_session(session, meter))
        except Exception:
            if meter.reached and not meter.failing:
                return meter.reached
            raise
        if meter.reached and isinstance(ended, ProgramEnd):
            return dataclasses.replace(ended, stop=meter.reached)
        return meter.reached or ended


class _Meter:
    """The use of a rollout's limits so far."""

    def __init__(self, limits: RolloutLimits) -> None:
        self.limits = limits
        self.steps = 0
        self.output_tokens = 0
        self.tool_s = 0.0
        self.reached: StopReason | None = None
        self.failing = False
        """Whether the model's last call failed. A limit that errors of its server used up is not its fault."""
        self._until = math.inf if limits.wall_s is None else time.monotonic() + limits.wall_s

    @property
    def wall_left_s(self) -> float:
        return max(0.0, self._until - time.monotonic())

    @property
    def tool_left_s(self) -> float:
        return math.inf if self.limits.tool_s is None else max(0.0, self.limits.tool_s - self.tool_s)

    def stop(self, reason: StopReason) -> LimitReached:
        self.reached = self.reached or reason
        over = self.reached == "completed"
        return LimitReached("the rollout is over" if over else f"the rollout's limit is reached: {self.reached}")


class _MeteredModel:
    """The model, which raises LimitReached once steps, tokens or wall time are used up. One answer may go over.

    A call in flight is never abandoned here: the server may be slow or broken, which has its own deadlines and is a
    failure, not a zero.
    """

    def __init__(self, model: Model, meter: _Meter) -> None:
        self._model = model
        self._meter = meter

    @property
    def wall_left_s(self) -> float:
        """Seconds until the wall-time limit, for an agent that does more than call the model and tools."""
        return self._meter.wall_left_s

    async def respond(self, request: Request) -> Response:
        meter, limits = self._meter, self._meter.limits
        if meter.steps >= limits.steps:
            raise meter.stop("steps")
        if limits.output_tokens is not None and meter.output_tokens >= limits.output_tokens:
            raise meter.stop("tokens")
        if limits.wall_s is not None and not meter.wall_left_s:
            raise meter.stop("wall_time")
        meter.steps += 1
        try:
            response = await self._model.respond(request)
        except Ended:
            raise meter.stop("completed") from None
        except BaseException:
            meter.steps -= 1
            meter.failing = True
            raise
        meter.failing = False
        meter.output_tokens += response.usage.output_tokens
        return response


class _MeteredSession:
    """The session, whose tools end when their time, or the rollout's, is used up."""

    def __init__(self, session: Session, meter: _Meter) -> None:
        self._session = session
        self._meter = meter

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        started, meter = time.monotonic(), self._meter
        reason: StopReason = "tool_time" if meter.tool_left_s <= meter.wall_left_s else "wall_time"
        left_s = min(meter.tool_left_s, meter.wall_left_s)
        left = asyncio.timeout(None if left_s == math.inf else left_s)
        try:
            async with left:
                return await self._session.call(name, arguments)
        except TimeoutError:
            if left.expired():
                raise meter.stop(reason) from None
            raise
        finally:
            meter.tool_s += time.monotonic() - started

    async def score(self, turns: Any) -> Any:
        return await self._session.score(turns)

    def __getattr__(self, name: str) -> Any:
        """Returns the session's other attributes, such as `reply`, which is no tool."""
        return getattr(self._session, name)


def _meter_session(session: Session, meter: _Meter) -> Session:
    if meter.limits.tool_s is None and meter.limits.wall_s is None:
        return session
    return _MeteredSession(session, meter)

"""Limits: a wrapper `Agent -> Agent` that ends a rollout where its protocol's limit is reached.

A limit reached is the model's doing: the rollout is scored with what there is. What breaks or hangs by itself is not:
a tool has a deadline of its own (`environment.tools`) and a rollout has the model server's `deadline_s`, and passing
either is a failure. So they belong well above or below the limits.
"""

import asyncio
import dataclasses
import math
import time
from typing import Any

from assay.agent import Agent, Ran
from assay.benchmark import Session
from assay.errors import AssayError
from assay.model import Model
from assay.types import Request, Response, RolloutLimits, StopReason, Task


class LimitReached(AssayError):
    """What the agent asked for next is past a limit. It never leaves the rollout."""


class Limited:
    """An agent that stops at a benchmark's limits, whatever it does about the errors that tell it so."""

    def __init__(self, agent: Agent, limits: RolloutLimits) -> None:
        self._agent = agent
        self._limits = limits

    async def run(self, task: Task, model: Model, session: Session) -> StopReason | Ran:
        """The limit that was reached, else why the agent ended. Raises what the agent raises."""
        meter = _Meter(self._limits)
        try:
            ended = await self._agent.run(task, _MeteredModel(model, meter), _metered(session, meter))
        except Exception:
            if meter.reached and not meter.failing:
                return meter.reached
            raise
        if meter.reached and isinstance(ended, Ran):
            return dataclasses.replace(ended, stop=meter.reached)
        return meter.reached or ended


class _Meter:
    """What a rollout used so far."""

    def __init__(self, limits: RolloutLimits) -> None:
        self.limits = limits
        self.steps = 0
        self.output_tokens = 0
        self.tool_s = 0.0
        self.reached: StopReason | None = None
        self.failing = False
        """Whether the model's last call failed: a limit that is reached by trying again is no doing of the model's."""
        self._until = math.inf if limits.wall_s is None else time.monotonic() + limits.wall_s

    @property
    def wall_left_s(self) -> float:
        return max(0.0, self._until - time.monotonic())

    @property
    def tool_left_s(self) -> float:
        return math.inf if self.limits.tool_s is None else max(0.0, self.limits.tool_s - self.tool_s)

    def stop(self, reason: StopReason) -> LimitReached:
        self.reached = self.reached or reason
        return LimitReached(f"the rollout's limit is reached: {self.reached}")


class _MeteredModel:
    """The model, asked no more once the steps, the tokens or the wall time are used up. One answer may go over.

    An answer that is waited for is never given up here: what keeps it may be the server's trouble, which has deadlines
    of its own and is a failure, not a zero.
    """

    def __init__(self, model: Model, meter: _Meter) -> None:
        self._model = model
        self._meter = meter

    @property
    def wall_left_s(self) -> float:
        """Seconds until the limit, for an agent that does more than calls of the model and of tools."""
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
        except BaseException:
            meter.steps -= 1
            meter.failing = True
            raise
        meter.failing = False
        meter.output_tokens += response.usage.output_tokens
        return response


class _MeteredSession:
    """The session, whose tools end where their time, or the rollout's, is used up."""

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
        """What else the session has, such as a reply, which is no tool."""
        return getattr(self._session, name)


def _metered(session: Session, meter: _Meter) -> Session:
    if meter.limits.tool_s is None and meter.limits.wall_s is None:
        return session
    return _MeteredSession(session, meter)

"""Limits: sends a server no more requests at once than it accepts, and waits when it says "slow down"."""

import asyncio
import random
from collections import deque
from collections.abc import Hashable

from assay.config import ModelConfig, RateLimits
from assay.errors import ModelError
from assay.model import Model
from assay.model.http import OVERLOAD
from assay.types import Request, Response, Usage

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0
"""Seconds without requests if the server states no time and has accepted none since the last decrease."""
FIRST_GUESS = 2048
"""Tokens that are assumed for a request until the first answer."""


class ServerLimit:
    """The limits of one server, for all models on it.

    It finds the concurrency that the server accepts: additive increase, multiplicative decrease (Chiu and Jain, 1989).

    It begins at the configured maximum. When the server refuses a request (429, 503, 529), the level is halved, once
    for all that were in flight together, and no request is sent until the time that the server states (Retry-After). If
    it states none and accepts no request, the pause grows. Each answer raises the level by 1/level.

    A refused request waits its turn and is sent again, which is no failed attempt. It fails only once the server has
    accepted no request for `patience_s`.
    """

    def __init__(self, limits: RateLimits, concurrency: int) -> None:
        self._patience_s = limits.patience_s
        self._most = float(min(concurrency, limits.concurrency or concurrency))
        self._level = self._most
        self._requests = _Pace(limits.requests_per_minute) if limits.requests_per_minute else None
        self._tokens = _TokenPace(limits.tokens_per_minute) if limits.tokens_per_minute else None
        self._in_flight = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self._decreased_at = 0.0
        self._loop_time = asyncio.get_running_loop().time
        self._pause_s = FIRST_PAUSE_S
        self._closed_until = 0.0
        self._opening: asyncio.TimerHandle | None = None
        self._let_through = False
        self._let_through_at = 0.0
        self._turned_away = 0
        # Not the global generator, whose state the environment's code may use.
        self._jitter = random.Random()

    @property
    def level(self) -> int:
        """The number of requests that may be in flight now."""
        return max(1, int(self._level))

    @property
    def held_back(self) -> bool:
        """Whether the server has lowered the level."""
        return self._level < self._most

    @property
    def turned_away(self) -> int:
        """The number of requests that the server refused at least once and that have no answer yet."""
        return self._turned_away

    async def respond(self, model: Model, request: Request) -> Response:
        """Returns the model's response. Raises its ModelError; one for "slow down" only after `patience_s`."""
        first_away: float | None = None
        try:
            while True:
                guess = await self._wait_for_pace()
                try:
                    response = await self._send(model, request)
                except ModelError as error:
                    if error.kind not in OVERLOAD or not error.retryable:
                        raise
                    now = self._loop_time()
                    if first_away is None:
                        first_away = now
                        self._turned_away += 1
                    if now - max(first_away, self._let_through_at) > self._patience_s:
                        raise _patience_ran_out(error, self._patience_s) from error
                else:
                    if self._tokens:
                        self._tokens.settle(guess, response.usage)
                    return response
        finally:
            if first_away is not None:
                self._turned_away -= 1

    async def _wait_for_pace(self) -> int:
        """Waits until both paces allow a request. Returns the tokens that it takes from the pace."""
        guess = await self._tokens.take() if self._tokens else 0
        if self._requests:
            await self._requests.take()
        return guess

    async def _send(self, model: Model, request: Request) -> Response:
        if self._queue or self._in_flight + 1 > self._level or self._opening is not None:
            await self._admission()
        else:
            self._in_flight += 1
        sent_at = self._loop_time()
        try:
            response = await model.respond(request)
        except ModelError as error:
            if error.kind in OVERLOAD and error.retryable:
                self._decrease(error, sent_at)
            raise
        else:
            if self._level < self._most:
                self._level = min(self._most, self._level + 1 / self._level)
            if self._decreased_at:
                self._let_through, self._pause_s = True, FIRST_PAUSE_S
                self._let_through_at = self._loop_time()
            return response
        finally:
            self._in_flight -= 1
            if self._queue:
                self._admit()

    def _decrease(self, error: ModelError, sent_at: float) -> None:
        now, wait_s = self._loop_time(), error.retry_after_s
        # What was in flight together is turned away together, and what was let in just before is sent while the gate
        # closes: one decrease, and one pause, for all of it.
        if sent_at >= self._decreased_at and self._opening is None:
            self._decreased_at = now
            self._level = max(1.0, min(self._level, self._in_flight) / 2)
            if wait_s is None and not self._let_through:
                wait_s, self._pause_s = self._pause_s, min(2 * self._pause_s, LONGEST_PAUSE_S)
            self._let_through = False
            # The least pause is as long as others that are turned away may still take to come back.
            wait_s = max(wait_s or 0.0, min(2 * (now - sent_at), FIRST_PAUSE_S))
        elif wait_s is None:
            return
        # A time that the server names is kept, for as long as patience lasts; a pause of our own is never so long.
        longest_s = max(FIRST_PAUSE_S, self._patience_s)
        if error.retry_after_s is None:
            longest_s = min(LONGEST_PAUSE_S, longest_s)
        # With jitter: the server names the same time to the other machines that share it.
        until = now + min(wait_s, longest_s) * self._jitter.uniform(1.0, 1.1)
        if until > self._closed_until:
            self._closed_until = until
            if self._opening is not None:
                self._opening.cancel()
            self._opening = asyncio.get_running_loop().call_at(until, self._open)

    def _open(self) -> None:
        self._opening = None
        self._admit()

    def _admit(self) -> None:
        """Admits waiting requests, in order, up to the level."""
        while self._queue and self._opening is None and self._in_flight + 1 <= self._level:
            waiting = self._queue.popleft()
            if not waiting.done():
                self._in_flight += 1
                waiting.set_result(None)

    async def _admission(self) -> None:
        waiting = asyncio.get_running_loop().create_future()
        self._queue.append(waiting)
        try:
            await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled():
                # Cancelled between being let in and going in: the place is the next one's.
                self._in_flight -= 1
                self._admit()
            raise


class ServerLimits:
    """The limits of all servers that concurrent runs use."""

    def __init__(self) -> None:
        self._limits: dict[Hashable, ServerLimit] = {}

    def of(self, config: ModelConfig, concurrency: int) -> ServerLimit:
        """Returns the limits of a model's server, the same object for all models on it."""
        return self._limits.setdefault(server_of(config), ServerLimit(config.limits, concurrency))


def server_of(config: ModelConfig) -> Hashable:
    """Returns the identity of a model's server: models with one address and the same limits share it."""
    return config.base_url or config.dialect, config.limits


class _Pace:
    """A rate per minute, spread evenly, because servers refuse a burst at the start of each minute."""

    def __init__(self, per_minute: float) -> None:
        self._seconds_each = 60.0 / per_minute
        self._next = 0.0
        self._turn = asyncio.Lock()

    def need(self) -> int:
        """Returns how much of the rate a request takes."""
        return 1

    async def take(self) -> int:
        """Waits until a request is due. Returns what it takes."""
        loop = asyncio.get_running_loop()
        async with self._turn:
            # In steps: what earlier requests give back brings this one forward.
            while (wait_s := self._next - loop.time()) > 0:  # noqa: ASYNC110
                await asyncio.sleep(min(wait_s, 0.25))
            need = self.need()
            self._next = max(loop.time() - _SLACK_S, self._next) + need * self._seconds_each
            return need

    def give_back(self, count: int) -> None:
        """Gives back `count` that were not needed; a negative number takes more."""
        self._next -= count * self._seconds_each


_SLACK_S = 0.05
"""The most seconds for which a late timer is made up."""


class _TokenPace(_Pace):
    """Tokens per minute. A request's tokens are known once it is answered; until then the mean so far is assumed."""

    def __init__(self, per_minute: float) -> None:
        super().__init__(per_minute)
        self._tokens = 0
        self._answers = 0

    def need(self) -> int:
        return self._tokens // self._answers if self._answers else FIRST_GUESS

    def settle(self, guess: int, usage: Usage) -> None:
        """Replaces the assumed tokens of a request by its usage."""
        used = usage.input_tokens + usage.output_tokens
        self._tokens += used
        self._answers += 1
        self.give_back(guess - used)


def _patience_ran_out(error: ModelError, patience_s: float) -> ModelError:
    message = f"{error}; the server has let no request through for {patience_s:g} s (limits.patience_s)"
    return ModelError(error.kind, message, retryable=True, retry_after_s=error.retry_after_s)

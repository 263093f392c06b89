"""Limits: what asks one server no more at once than it takes, and waits where it says to slow down."""

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
"""How long nobody is sent where the server names no time and has let nobody through since the last decrease."""
FIRST_GUESS = 2048
"""Tokens that a request is taken to need until the first answer says what they do need."""


class Limit:
    """One server's limits, for all models behind it.

    It finds the concurrency that the server takes: additive increase, multiplicative decrease (Chiu and Jain, 1989).

    It begins at the most that is allowed. When the server turns a request away (429, 503, 529), the level is halved,
    once for all that were in flight together, and nobody is sent until the time that the server names (Retry-After).
    Where it names none and lets nobody through either, that is a pause that grows. Each answer raises the level by
    1/level, so by one for every level answers.

    A request that was turned away waits its turn and is sent again: that is queueing, no failed attempt. It fails only
    once the server has let nobody through for `patience_s`.
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
        # Not the global generator, whose state belongs to the environment's code.
        self._jitter = random.Random()

    @property
    def level(self) -> int:
        """Requests that may be in flight now."""
        return max(1, int(self._level))

    @property
    def held_back(self) -> bool:
        """Whether the server has lowered the level."""
        return self._level < self._most

    @property
    def turned_away(self) -> int:
        """Requests that the server turned away at least once and that have not been answered yet."""
        return self._turned_away

    async def respond(self, model: Model, request: Request) -> Response:
        """Raises ModelError as the model does, of the kinds for "slow down" only once patience has run out."""
        first_away: float | None = None
        try:
            while True:
                guess = await self._paced()
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

    async def _paced(self) -> int:
        """The tokens that were taken from the pace, once both paces allow a request."""
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
        """Let in who waits, in order, as many as the level takes."""
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


class Limits:
    """The limits of all model servers that several runs ask at the same time."""

    def __init__(self) -> None:
        self._limits: dict[Hashable, Limit] = {}

    def of(self, config: ModelConfig, concurrency: int) -> Limit:
        """Returns the limits of a model's server, the same for each model of `server_of`."""
        return self._limits.setdefault(server_of(config), Limit(config.limits, concurrency))


def server_of(config: ModelConfig) -> Hashable:
    """Returns what tells servers apart: two models at one address with the same limits are on one server."""
    return config.base_url or config.dialect, config.limits


class _Pace:
    """So many a minute, evenly: a burst at the start of each minute is what servers refuse."""

    def __init__(self, per_minute: float) -> None:
        self._seconds_each = 60.0 / per_minute
        self._next = 0.0
        self._turn = asyncio.Lock()

    def need(self) -> int:
        """How many a request takes."""
        return 1

    async def take(self) -> int:
        """Wait until a request is due; what it takes."""
        loop = asyncio.get_running_loop()
        async with self._turn:
            # In steps: what earlier requests give back brings this one forward.
            while (wait_s := self._next - loop.time()) > 0:  # noqa: ASYNC110
                await asyncio.sleep(min(wait_s, 0.25))
            need = self.need()
            self._next = max(loop.time() - _SLACK_S, self._next) + need * self._seconds_each
            return need

    def give_back(self, count: int) -> None:
        """`count` of what was taken were not needed; negative where more was."""
        self._next -= count * self._seconds_each


_SLACK_S = 0.05
"""A timer that fires late is made up for, up to this."""


class _TokenPace(_Pace):
    """Tokens a minute. What a request needs is known once it is answered: until then the mean so far stands for it."""

    def __init__(self, per_minute: float) -> None:
        super().__init__(per_minute)
        self._tokens = 0
        self._answers = 0

    def need(self) -> int:
        return self._tokens // self._answers if self._answers else FIRST_GUESS

    def settle(self, guess: int, usage: Usage) -> None:
        """Put what a request used in place of what was guessed."""
        used = usage.input_tokens + usage.output_tokens
        self._tokens += used
        self._answers += 1
        self.give_back(guess - used)


def _patience_ran_out(error: ModelError, patience_s: float) -> ModelError:
    message = f"{error}; the server has let no request through for {patience_s:g} s (limits.patience_s)"
    return ModelError(error.kind, message, retryable=True, retry_after_s=error.retry_after_s)

"""Budgets: a wrapper that stops before a budget is exceeded."""

import asyncio
from collections import deque
from collections.abc import Mapping

import msgspec

from assay.config import FROM_TASKS, ModelConfig, Prices
from assay.errors import ModelError, UsageError
from assay.model import BudgetReached, Model
from assay.model.dialects.settings import settings
from assay.model.wrappers.base import Wrapper
from assay.types import Request, Response, Rollout, Usage

BILLED = {"timeout", "connection_lost", "stream_cut", "bad_response", "too_large"}
"""Kinds of failure after which the server may have charged for an answer that never arrived."""
FREE = ("local", "replay", "scripted", *FROM_TASKS)


class Budget:
    """The most that one command may spend over all its models: tokens, US dollars, or both."""

    def __init__(self, *, tokens: int | None = None, usd: float | None = None) -> None:
        self._most_tokens = float("inf") if tokens is None else tokens
        self._most_usd = float("inf") if usd is None else usd
        self.tokens = 0
        """Tokens spent so far, input and output."""
        self.usd = 0.0
        self.reached = False
        """Whether a request was not sent because it could have exceeded the budget."""
        self._in_flight = 0
        self._reserved_tokens = 0
        self._reserved_usd = 0.0
        self._queue: deque[tuple[asyncio.Future[None], int, float]] = deque()

    def check(self, config: ModelConfig) -> None:
        """Raises UsageError if a budget in dollars needs prices that a model's configuration lacks."""
        if self._most_usd < float("inf") and config.prices is None and config.dialect not in FREE:
            raise UsageError(
                f"a budget in dollars needs the prices of model {config.id}: prices = {{ input = 1.25, output = 10.0 }}"
                " in its TOML, in dollars per million tokens (zeros where it costs nothing)"
            )

    @property
    def left(self) -> tuple[int | None, float | None]:
        """Tokens and US dollars that may still be spent; None if there is no limit."""
        tokens = None if self._most_tokens == float("inf") else max(0, int(self._most_tokens) - self.tokens)
        return tokens, None if self._most_usd == float("inf") else max(0.0, self._most_usd - self.usd)

    def spend(self, usage: Usage, prices: Prices | None) -> None:
        """Counts a usage as spent."""
        self.tokens += usage.input_tokens + usage.output_tokens
        self.usd += prices.cost(usage) if prices else 0.0

    def spend_rollout(
        self, rollout: Rollout, prices: Prices | None, role_prices: Mapping[str, Prices | None] | None = None
    ) -> None:
        """Counts the usage of an earlier command's rollout, with that of models in roles."""
        for turn in rollout.turns:
            self.spend(turn.response.usage, prices)
        for role, turns in rollout.roles.items():
            for turn in turns:
                self.spend(turn.response.usage, (role_prices or {}).get(role))

    async def reserve(self, tokens: int, usd: float, *, first: bool) -> None:
        """Reserves the most that a request may use, as soon as that is free; with `first` before all that wait.

        Raises BudgetReached if it never will be.
        """
        if self._queue or not self._fits(tokens, usd):
            waiting = asyncio.get_running_loop().create_future()
            (self._queue.appendleft if first else self._queue.append)((waiting, tokens, usd))
            self._admit()
            try:
                await waiting
            except asyncio.CancelledError:
                if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
                    # Cancelled between being let in and going in: what was set aside is the others' again.
                    self.release(tokens, usd)
                raise
            return
        self._hold(tokens, usd)

    def release(self, tokens: int, usd: float) -> None:
        """Ends the reservation of a request."""
        self._in_flight -= 1
        self._reserved_tokens -= tokens
        self._reserved_usd -= usd
        self._admit()

    def _hold(self, tokens: int, usd: float) -> None:
        self._in_flight += 1
        self._reserved_tokens += tokens
        self._reserved_usd += usd

    def _fits(self, tokens: int, usd: float) -> bool:
        # A float's rounding is not what stops a run.
        return (
            self.tokens + self._reserved_tokens + tokens <= self._most_tokens
            and self.usd + self._reserved_usd + usd <= self._most_usd + 1e-9
        )

    def _admit(self) -> None:
        """Admits waiting requests, in order, as far as the budget allows."""
        while self._queue:
            waiting, tokens, usd = self._queue[0]
            if waiting.done():
                self._queue.popleft()
            elif self._fits(tokens, usd):
                self._queue.popleft()
                self._hold(tokens, usd)
                waiting.set_result(None)
            elif self._in_flight:
                return
            else:
                self.reached = True
                self._queue.popleft()
                waiting.set_exception(BudgetReached(f"the budget is reached: {self.summary()}"))

    def summary(self) -> str:
        """Returns in words how much of the budget is spent."""
        parts: list[str] = []
        if self._most_tokens < float("inf"):
            parts.append(f"{self.tokens:,} of {self._most_tokens:,} tokens are spent")
        if self._most_usd < float("inf"):
            parts.append(f"${self.usd:,.2f} of ${self._most_usd:,.2f} is spent")
        return ", ".join(parts)


class BudgetedModel(Wrapper):
    """The model within a budget: each request first reserves the most that it may use.

    Input is at most one token for each byte. Output is at most `max_output_tokens`; without such a cap, twice the
    longest answer so far, and until there is an answer, requests go one by one.
    """

    def __init__(self, model: Model, config: ModelConfig, budget: Budget) -> None:
        budget.check(config)
        super().__init__(model)
        self._config = config
        self._budget = budget
        self._encode = msgspec.json.Encoder().encode
        self._longest = 0
        self._first = asyncio.Lock()

    async def respond(self, request: Request) -> Response:
        """Returns the model's response. Raises BudgetReached if the request could exceed the budget."""
        if self._longest or self._cap(request):
            return await self._respond(request)
        async with self._first:
            return await self._respond(request)

    async def _respond(self, request: Request) -> Response:
        most = self._most(request)
        reserved = most.input_tokens + most.output_tokens, self._cost(most)
        await self._budget.reserve(*reserved, first=request.turn > 0)
        spent: Usage | None = most
        try:
            response = await self._model.respond(request)
            usage = response.usage
            if usage.input_tokens or usage.output_tokens:
                spent = usage  # a server that does not count is charged what it may have used at most
            self._longest = max(self._longest, usage.output_tokens)
            return response
        except ModelError as error:
            if error.kind not in BILLED:
                spent = None
            raise
        finally:
            if spent is not None:
                self._budget.spend(spent, self._config.prices)
            self._budget.release(*reserved)

    def _cost(self, usage: Usage) -> float:
        return self._config.prices.cost(usage) if self._config.prices else 0.0

    def _cap(self, request: Request) -> int:
        return settings(self._config.sampling, request.sampling).get("max_output_tokens", 0)

    def _most(self, request: Request) -> Usage:
        sent = len(self._encode([request.input, request.tools, request.format]))
        return Usage(input_tokens=sent, output_tokens=self._cap(request) or 2 * self._longest)

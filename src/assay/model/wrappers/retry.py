"""Retries: a wrapper around any model, and the only place where requests are retried."""

import random
from datetime import timedelta

import stamina
from stamina.instrumentation import set_on_retry_hooks

from assay.errors import ModelError
from assay.model import Model
from assay.model.http import OVERLOAD
from assay.model.wrappers.base import Wrapper
from assay.types import Request, Response

LONGEST_WAIT_S = 60.0

# By default stamina logs each retry, which without a logging configuration is a line on stderr: thousands in a storm,
# through the progress display. A try that is made up for is no news, and the last one's error is the rollout's.
set_on_retry_hooks([])


class Retry(Wrapper):
    """Retries a request if the error may pass, with at most `attempts` tries, growing waits and jitter.

    It does not retry when a server says "slow down": `ServerLimit` around it does, which knows all waiting requests.
    """

    def __init__(self, model: Model, attempts: int, *, wait_s: float = 0.5) -> None:
        super().__init__(model)
        self._attempts = attempts
        self._wait_s = wait_s
        # Not the global generator, whose state belongs to the environment's code.
        self._jitter = random.Random()
        self._retrying = 0

    @property
    def retrying(self) -> int:
        """The number of requests that failed at least once and have no answer yet."""
        return self._retrying

    async def respond(self, request: Request) -> Response:
        try:
            return await self._model.respond(request)
        except ModelError as error:
            if not self._again_for(error) or self._attempts <= 1:
                raise
            first = error
        self._retrying += 1
        try:
            return await self._again(request, first)
        finally:
            self._retrying -= 1

    async def _again(self, request: Request, first: ModelError) -> Response:
        # The first try is outside stamina's loop: its bookkeeping costs more than all else that a rollout does here.
        retrying = stamina.retry_context(
            on=self._backoff,
            attempts=self._attempts,
            timeout=None,
            wait_initial=self._wait_s,
            wait_max=LONGEST_WAIT_S,
            wait_jitter=self._wait_s,
        )
        async for attempt in retrying:
            with attempt:
                if attempt.num == 1:
                    raise first
                return await self._model.respond(request)
        raise AssertionError("unreachable: stamina raises the last error")

    def _backoff(self, error: Exception) -> bool | timedelta:
        if not isinstance(error, ModelError) or not self._again_for(error):
            return False
        if error.retry_after_s is None:
            return True
        # With jitter too: a server names the same time to all that are in flight.
        return timedelta(seconds=min(error.retry_after_s, LONGEST_WAIT_S) + self._jitter.uniform(0, self._wait_s))

    @staticmethod
    def _again_for(error: ModelError) -> bool:
        return error.retryable and error.kind not in OVERLOAD

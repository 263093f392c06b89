"""A model as rollouts call it: within its limits and a budget, and asked again where an error may pass."""

from assay.config import ModelConfig
from assay.model import Model
from assay.model.wrappers.base import Wrapper
from assay.model.wrappers.budget import Budget, Metered
from assay.model.wrappers.limit import Limits
from assay.model.wrappers.retry import Retry
from assay.types import Request, Response


class Guarded(Wrapper):
    """Limit around Retry around Metered around the model: the place that a server grants is held while it is retried,
    and each try is within the budget."""

    def __init__(
        self,
        model: Model,
        config: ModelConfig,
        *,
        concurrency: int,
        budget: Budget | None = None,
        limits: Limits | None = None,
    ) -> None:
        """`limits` are those of the servers that other models share; else the server is this model's alone."""
        metered = Metered(model, config, budget) if budget else model
        self._retry = Retry(metered, config.attempts)
        self._limit = (limits or Limits()).of(config, concurrency)
        super().__init__(self._retry)

    async def respond(self, request: Request) -> Response:
        """Raises ModelError."""
        return await self._limit.respond(self._retry, request)

    @property
    def retrying(self) -> int:
        """Requests that failed or were turned away at least once and have not been answered yet."""
        return self._retry.retrying + self._limit.turned_away

    @property
    def level(self) -> int | None:
        """Requests in flight that the server takes, where these are fewer than were allowed."""
        return self._limit.level if self._limit.held_back else None

"""A model as rollouts call it: within its limits and a budget, and with retries of errors that may pass."""

from assay.config import ModelConfig
from assay.model import Model
from assay.model.wrappers.base import Wrapper
from assay.model.wrappers.budget import Budget, BudgetedModel
from assay.model.wrappers.limit import ServerLimits
from assay.model.wrappers.retry import Retry
from assay.types import Request, Response


class GuardedModel(Wrapper):
    """ServerLimit around Retry around BudgetedModel around the model: a request keeps its place at the server while it
    is retried, and each try is within the budget."""

    def __init__(
        self,
        model: Model,
        config: ModelConfig,
        *,
        concurrency: int,
        budget: Budget | None = None,
        limits: ServerLimits | None = None,
    ) -> None:
        """`limits` are those that other models share; without them the server is this model's alone."""
        metered = BudgetedModel(model, config, budget) if budget else model
        self._retry = Retry(metered, config.attempts)
        self._limit = (limits or ServerLimits()).of(config, concurrency)
        super().__init__(self._retry)

    async def respond(self, request: Request) -> Response:
        """Raises ModelError."""
        return await self._limit.respond(self._retry, request)

    @property
    def retrying(self) -> int:
        """The number of requests that failed or were refused at least once and have no answer yet."""
        return self._retry.retrying + self._limit.turned_away

    @property
    def level(self) -> int | None:
        """The number of requests in flight that the server accepts, if it is below the limit; else None."""
        return self._limit.level if self._limit.held_back else None

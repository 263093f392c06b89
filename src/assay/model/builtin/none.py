"""No model, for agents that call none."""

from assay.config import ModelConfig
from assay.errors import ModelError
from assay.types import Request, Response


class NoModel:
    """Stands for the model in runs whose agent calls none."""

    def __init__(self, config: ModelConfig) -> None:
        pass

    async def respond(self, request: Request) -> Response:
        """Raises ModelError."""
        raise ModelError("no_model", "the agent asks a model, and none is named; say --model NAME", retryable=False)

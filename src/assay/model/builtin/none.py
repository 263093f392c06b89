"""No model: for agents that ask none."""

from assay.config import ModelConfig
from assay.errors import ModelError
from assay.types import Request, Response


class NoModel:
    """Answers nothing: what a run has in place of a model where its agent asks none."""

    def __init__(self, config: ModelConfig) -> None:
        pass

    async def respond(self, request: Request) -> Response:
        """Raises ModelError."""
        raise ModelError("no_model", "the agent asks a model, and none is named; say --model NAME", retryable=False)

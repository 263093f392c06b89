"""Models: anything that answers one Responses-API request. What is particular to a model stays in this room."""

import os
from typing import Protocol

from assay.config import ModelConfig
from assay.errors import ModelError, UsageError
from assay.plugins import find
from assay.types import Request, Response

DIALECTS = "assay.dialects"
"""Entry points of the classes that speak to model servers. Each takes a ModelConfig and is a Model."""


class ContextOverflow(ModelError):
    """The request doesn't fit into the model's context, in the server's words.

    No failure of the server's: the recorder makes of it the incomplete response that ends a rollout at its token cap.
    """

    def __init__(self, message: str) -> None:
        super().__init__("context_overflow", message, retryable=False)


class BudgetReached(ModelError):
    """The next request might pass the budget, so it was not sent."""

    def __init__(self, message: str) -> None:
        super().__init__("budget", message, retryable=False)


class BatchError(ModelError):
    """A row of a batch that has no answer. It may have one in the next batch."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message, retryable=True)


BatchResults = dict[str, bytes | ModelError]
"""The answer to each row of a batch as the API without batches gives it, or why there is none, by the row's id."""


class Model(Protocol):
    """Answers requests. Raises ModelError where it can't, and ContextOverflow of these where they are too long.

    This is all that is asked of a model. One that holds something open also has `async def aclose()`. One whose outputs
    depend on more than its configuration, such as a file of weights, also has `def identity() -> dict[str, str]`.
    """

    async def respond(self, request: Request) -> Response: ...


def identity_of(model: Model) -> dict[str, str]:
    """Returns what decides the model's outputs beyond its configuration, such as a digest of the weights."""
    identity = getattr(model, "identity", None)
    return identity() if identity else {}


async def close(model: Model) -> None:
    """Closes what the model holds open, if anything."""
    aclose = getattr(model, "aclose", None)
    if aclose:
        await aclose()


def connect(config: ModelConfig) -> Model:
    """Returns the model behind a configuration, opened but not yet asked. Raises UsageError."""
    return find(DIALECTS, config.dialect)(config)


def secret(config: ModelConfig, variable: str) -> str:
    """A key from the environment. Raises UsageError where the variable is not set."""
    key = os.environ.get(variable)
    if not key:
        raise UsageError(f"the environment variable {variable} is not set; model {config.id} needs its key")
    if not key.isprintable():
        raise UsageError(
            f"the environment variable {variable} holds a line break, or another sign that no header takes"
        )
    return key

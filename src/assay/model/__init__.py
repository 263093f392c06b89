"""Models: anything that answers one Responses-API request. All code for particular models is in this room."""

import os
from typing import Protocol

from assay.config import ModelConfig
from assay.errors import ModelError, UsageError
from assay.plugins import find
from assay.types import Request, Response

DIALECTS = "assay.dialects"
"""The group of entry points of dialects: classes that take a ModelConfig and are a Model."""


class ContextOverflow(ModelError):
    """The request doesn't fit into the model's context. The message has the server's words.

    It is no failure: the recorder turns it into an incomplete response, which ends a rollout at its token cap.
    """

    def __init__(self, message: str) -> None:
        super().__init__("context_overflow", message, retryable=False)


class BudgetReached(ModelError):
    """The next request could exceed the budget, so it was not sent."""

    def __init__(self, message: str) -> None:
        super().__init__("budget", message, retryable=False)


class BatchError(ModelError):
    """A row of a batch has no answer. It may get one in the next batch."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message, retryable=True)


BatchResults = dict[str, bytes | ModelError]
"""By the row's id: the answer, as the API without batches gives it, or why there is none."""


class Model(Protocol):
    """Answers requests. Raises ModelError if it can't, among them ContextOverflow if a request is too long.

    A model needs no more than this. One with open resources also has `async def aclose()`. One whose outputs depend on
    more than its configuration, such as a file of weights, also has `def identity() -> dict[str, str]`.
    """

    async def respond(self, request: Request) -> Response: ...


def identity_of(model: Model) -> dict[str, str]:
    """Returns what the model's outputs depend on beside its configuration, such as a digest of the weights."""
    identity = getattr(model, "identity", None)
    return identity() if identity else {}


async def close(model: Model) -> None:
    """Closes the model's open resources, if any."""
    aclose = getattr(model, "aclose", None)
    if aclose:
        await aclose()


def connect(config: ModelConfig) -> Model:
    """Returns the model of a configuration. Raises UsageError."""
    return find(DIALECTS, config.dialect)(config)


def secret(config: ModelConfig, variable: str) -> str:
    """Returns a key from the environment. Raises UsageError if the variable is not set."""
    key = os.environ.get(variable)
    if not key:
        raise UsageError(f"the environment variable {variable} is not set; model {config.id} needs its key")
    if not key.isprintable():
        raise UsageError(
            f"the environment variable {variable} holds a line break, or another sign that no header takes"
        )
    return key

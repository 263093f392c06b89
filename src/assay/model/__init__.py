"""Models: anything that answers one Responses-API request. What is particular to a model stays in this room."""

import importlib
import os
from typing import Protocol

from assay.config import ModelConfig
from assay.errors import UsageError
from assay.types import Request, Response

DIALECTS = {
    "responses": "assay.model.responses:Responses",
    "chat": "assay.model.chat:Chat",
    "local": "assay.model.local:Local",
}
"""Where each dialect's class is, loaded when first used: numpy's import alone is longer than a remote first answer."""


class Model(Protocol):
    """Answers requests. Raises ModelError where it can't."""

    async def respond(self, request: Request) -> Response: ...

    async def aclose(self) -> None: ...

    def identity(self) -> dict[str, str]:
        """What decides its outputs beyond the configuration, such as a digest of the weights."""
        ...


def connect(config: ModelConfig) -> Model:
    """The model behind a configuration, opened but not yet asked. Raises UsageError."""
    module, _, name = DIALECTS[config.dialect].partition(":")
    return getattr(importlib.import_module(module), name)(config)


def api_key(config: ModelConfig) -> str | None:
    """The key from the environment. Raises UsageError where the variable that is named is not set."""
    if config.api_key_env is None:
        return None
    key = os.environ.get(config.api_key_env)
    if not key:
        raise UsageError(f"the environment variable {config.api_key_env} is not set; model {config.id} needs its key")
    return key

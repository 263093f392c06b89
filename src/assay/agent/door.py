"""The door of a rollout: where an agent that is a program finds the model and the task's tools."""

import asyncio
import socket
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from assay.benchmark import Session
from assay.model import Model
from assay.types import Response, Task


@dataclass(slots=True)
class Opening:
    """A door that is open: its address, and what came of the calls so far."""

    url: str
    """Without `/v1`. Below it are `/v1/responses`, `/v1/chat/completions`, `/v1/messages`, `/mcp` and `/tools`."""
    last: Response | None = None
    """The model's last answer."""
    error: Exception | None = None
    """Why the last call of the model has no answer; None where it has one."""
    refused: str = ""
    """The last call that was refused, and why."""
    broken: Exception | None = None
    """What a tool raised: the rollout has no score."""
    in_flight: int = 0
    """Calls of the model that are not answered yet."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once no call is answered any more: a limit or the budget is reached, a tool ended the rollout or broke."""

    def close(self, broken: Exception | None = None) -> None:
        """Answer no call any more."""
        self.broken = self.broken or broken
        self.over.set()


class Door(Protocol):
    """Puts a rollout's model and tools on HTTP. A rollout's address can't be guessed by another's program."""

    @property
    def model(self) -> str:
        """The name by which the model is served."""
        ...

    def __call__(
        self, task: Task, model: Model, session: Session, listener: socket.socket, *, mcp: bool
    ) -> AbstractAsyncContextManager[Opening]:
        """Serves on a socket as long as the context lasts; with `mcp`, the tools are an MCP server too."""
        ...


def variables(url: str) -> dict[str, str]:
    """Returns the environment variables by which programs find a model: of OpenAI's and of Anthropic's clients."""
    return {
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_BASE": f"{url}/v1",
        "OPENAI_API_KEY": "recorded",
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "recorded",
    }

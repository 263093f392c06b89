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
    """An open door: its address, and the state of the calls so far."""

    url: str
    """Without `/v1`. Below it are `/v1/responses`, `/v1/chat/completions`, `/v1/messages`, `/mcp` and `/tools`."""
    last: Response | None = None
    """The model's last answer."""
    error: Exception | None = None
    """Why the last call of the model has no answer; None if it has one."""
    refused: str = ""
    """The last refused call, and why."""
    broken: Exception | None = None
    """The error of a tool. The rollout has no score then."""
    in_flight: int = 0
    """The number of calls of the model without an answer yet."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once no call is answered any more: a limit or the budget is reached, or a tool ended the rollout or
    failed."""

    def close(self, broken: Exception | None = None) -> None:
        """Ends the answering of calls. `broken` is the error of a tool."""
        self.broken = self.broken or broken
        self.over.set()


class Door(Protocol):
    """Serves a rollout's model and tools over HTTP. Programs of other rollouts can't guess its address."""

    @property
    def model(self) -> str:
        """The model's name at the door."""
        ...

    def __call__(
        self, task: Task, model: Model, session: Session, listener: socket.socket, *, mcp: bool
    ) -> AbstractAsyncContextManager[Opening]:
        """Serves on a socket while the context is open; with `mcp`, the tools are an MCP server too."""
        ...


def variables(url: str) -> dict[str, str]:
    """Returns the environment variables with the model's address for OpenAI's and Anthropic's clients."""
    return {
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_BASE": f"{url}/v1",
        "OPENAI_API_KEY": "recorded",
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "recorded",
    }

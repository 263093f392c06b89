"""Agents: the loop that drives a model through a session."""

from typing import Protocol

from assay.benchmark import Session
from assay.model import Model
from assay.types import StopReason, Task


class Agent(Protocol):
    """Runs one rollout to its end and says why it ended."""

    async def run(self, task: Task, model: Model, session: Session) -> StopReason: ...

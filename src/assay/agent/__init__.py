"""Agents: the loop of model and tools, and programs that act in its place."""

from dataclasses import dataclass
from typing import Protocol

from assay.benchmark import Session
from assay.model import Model
from assay.types import Program, StopReason, Task


@dataclass(frozen=True, slots=True)
class ProgramEnd:
    """Why a rollout ended, and how its agent's program ended."""

    stop: StopReason
    program: Program


class Agent(Protocol):
    """Runs one rollout to its end and returns why it ended: `completed`, unless the model made it end otherwise.

    An agent that calls no model, such as one that plays a reference solution, has the attribute `needs_model = False`.
    For any other agent, a rollout without any answer of the model is a failure of the agent, never a score.
    """

    async def run(self, task: Task, model: Model, session: Session) -> StopReason | ProgramEnd: ...


def needs_model(agent: Agent) -> bool:
    """Returns whether the agent calls a model."""
    return bool(getattr(agent, "needs_model", True))

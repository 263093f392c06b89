"""Agents: the loop that drives a model through a session, and programs that do the same."""

from dataclasses import dataclass
from typing import Protocol

from assay.benchmark import Session
from assay.model import Model
from assay.types import Program, StopReason, Task


@dataclass(frozen=True, slots=True)
class Ran:
    """Why a rollout ended whose agent is a program, and how that ended."""

    stop: StopReason
    program: Program


class Agent(Protocol):
    """Runs one rollout to its end and returns why it ended: `completed`, unless the model made it end otherwise.

    An agent that asks no model, such as one that plays a reference solution, has the attribute `needs_model = False`.
    For any other agent, a rollout without a single answer of the model is a failure of the agent, never a score.
    """

    async def run(self, task: Task, model: Model, session: Session) -> StopReason | Ran: ...


def needs_model(agent: Agent) -> bool:
    """Whether the agent asks a model."""
    return bool(getattr(agent, "needs_model", True))

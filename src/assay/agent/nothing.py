"""The agent that does nothing: its score is the benchmark's score for no attempt."""

from assay.benchmark import Session
from assay.model import Model
from assay.types import StopReason, Task


class Nothing:
    """Does nothing, and asks no model."""

    needs_model = False

    async def run(self, task: Task, model: Model, session: Session) -> StopReason:
        return "completed"

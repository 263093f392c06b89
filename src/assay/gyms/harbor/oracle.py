"""The agent that plays a task's own solution."""

from assay.benchmark import Session
from assay.errors import AgentError
from assay.types import Response, StopReason, Task


class Oracle:
    """Plays the solution that comes with a task, and asks no model."""

    needs_model = False

    async def run(self, task: Task, model: object, session: Session) -> StopReason:
        """Plays each step's solution. Raises AgentError where the benchmark's sessions have none to play."""
        solve = getattr(session, "solve", None)
        if solve is None:
            raise AgentError("no_solution", f"task {task.id} has no solution to play; expected a task of harbor:DIR")
        await solve()
        while await session.reply(Response(output=[])) is not None:  # pyright: ignore
            await solve()
        return "completed"

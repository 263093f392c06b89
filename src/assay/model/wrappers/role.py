"""Models in a role: those that an environment uses beside the policy, such as a judge or a simulated user."""

from assay.errors import ModelError
from assay.model import BudgetReached, Model
from assay.model.wrappers.record import Recorder
from assay.types import Request, Response, Turn


class RoleError(ModelError):
    """A model in a role gave no usable answer, so nothing is known about the policy."""

    def __init__(self, role: str, error: ModelError) -> None:
        super().__init__(f"{role}_{error.kind}", f"the model in the role {role}: {error}", retryable=error.retryable)


class InRole:
    """The model in a role as one rollout's session calls it. It keeps turns, and its failures name the role."""

    def __init__(self, role: str, model: Model | None, *, seed: int, task: str, repeat: int) -> None:
        self._role = role
        self._recorder = Recorder(model, sampling=None, seed=seed, task=task, repeat=repeat) if model else None

    @property
    def turns(self) -> list[Turn]:
        """The turns so far."""
        return self._recorder.turns if self._recorder else []

    async def respond(self, request: Request) -> Response:
        """Returns a complete response. Raises RoleError for a failed or incomplete one, and BudgetReached."""
        if self._recorder is None:
            message = f"none is named; say --with {self._role}=NAME"
            raise RoleError(self._role, ModelError("missing", message, retryable=False))
        try:
            response = await self._recorder.respond(request)
        except BudgetReached:
            raise
        except ModelError as error:
            raise RoleError(self._role, error) from error
        if response.status == "incomplete":
            message = f"its answer is incomplete ({response.incomplete_reason})"
            raise RoleError(self._role, ModelError("incomplete", message, retryable=True))
        return response

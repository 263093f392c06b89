"""Models that answer from the benchmark's own tasks, for gates and for trying a benchmark out."""

import random

from assay.benchmark import Environment
from assay.benchmark.reference import DONE, reference
from assay.config import ModelConfig
from assay.errors import UsageError
from assay.model.dialects import thinking
from assay.types import Request, Response

OFF_TOPIC = "I would rather talk about the weather."
"""A well-formed answer that is wrong for every task."""


class _FromTasks:
    """A model that knows the tasks. Raises UsageError if there is no benchmark."""

    def __init__(self, config: ModelConfig, environment: Environment | None = None) -> None:
        if environment is None:
            raise UsageError(f"the model {config.dialect} needs a benchmark, and there is none here")
        self._environment = environment
        self._tasks = {task.id: task for task in environment.tasks()}


class Gold(_FromTasks):
    """Answers with each task's reference solution, one step in each turn."""

    async def respond(self, request: Request) -> Response:
        task = self._tasks[request.task or ""]
        steps = reference(self._environment, task)
        if steps is None:
            raise UsageError(f"task {task.id} has no gold answer")
        return steps[request.turn] if request.turn < len(steps) else _says(DONE)


class Null(_FromTasks):
    """Answers in turn with an empty answer and an off-topic one, both wrong for every task."""

    async def respond(self, request: Request) -> Response:
        return _says(OFF_TOPIC if request.repeat % 2 else "")


class Chance(_FromTasks):
    """Guesses without reading the task; off topic if a task can't be guessed.

    Raises UsageError if no task can be guessed.
    """

    def __init__(self, config: ModelConfig, environment: Environment | None = None) -> None:
        super().__init__(config, environment)
        if all(self._environment.guess(task, random.Random(0)) is None for task in self._tasks.values()):
            raise UsageError(
                f"benchmark {self._environment.name} has nothing to guess, so the model chance can't answer it; "
                "expected another model, or a guess() in the environment"
            )

    async def respond(self, request: Request) -> Response:
        task = self._tasks[request.task or ""]
        return _says(self._environment.guess(task, random.Random(request.seed)) or OFF_TOPIC)


def _says(text: str) -> Response:
    return Response(output=thinking.items(text))

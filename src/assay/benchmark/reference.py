"""The reference solution of a task, as a model would give it."""

from collections.abc import Sequence

import msgspec

from assay.benchmark import Call, Environment
from assay.types import FunctionCall, Item, Message, Response, Task, Text

DONE = "Done."
"""What the reference says once its last call is made."""


def reference(environment: Environment, task: Task) -> list[Response] | None:
    """The reference solution, a response a turn, a message last; `None` where the environment has none."""
    steps = environment.solution(task)
    return None if steps is None else responses(steps)


def responses(steps: Sequence[Call | str]) -> list[Response]:
    """The steps of a solution, a response each, and a message at the end where the last is none.

    Calls that are made beside each other are one response.
    """
    ended = [*steps] if steps and isinstance(steps[-1], str) else [*steps, DONE]
    made: list[list[Item]] = []
    for number, step in enumerate(ended):
        if made and isinstance(step, Call) and step.beside:
            made[-1].append(_item(step, number))
        else:
            made.append([_item(step, number)])
    return [Response(output=output) for output in made]


def _item(step: Call | str, number: int) -> Item:
    if isinstance(step, str):
        return Message(role="assistant", content=[Text(text=step)])
    return FunctionCall(f"call_{number}", step.name, msgspec.json.encode(step.arguments).decode())

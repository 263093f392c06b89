"""The reference solution of a task as responses of a model."""

from collections.abc import Sequence

import msgspec

from assay.benchmark import Call, Environment
from assay.types import FunctionCall, Item, Message, Response, Task, Text

DONE = "Done."
"""The last message of a reference solution that ends with a call."""


def reference(environment: Environment, task: Task) -> list[Response] | None:
    """Returns the reference solution, one response for each turn, the last a message; None if there is none."""
    steps = environment.solution(task)
    return None if steps is None else responses(steps)


def responses(steps: Sequence[Call | str]) -> list[Response]:
    """Returns one response for each step of a solution, with a message at the end if the last step is a call.

    Calls that are `beside` the one before are in the same response.
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

"""The transcript of a rollout: prompt, reasoning, messages, calls and outputs, piece by piece."""

from collections.abc import Iterator

from assay.fidelity.schema.profile import Piece
from assay.types import FunctionCall, FunctionCallOutput, InputImage, Item, Message, Reasoning, Rollout, Task


def prompt_pieces(task: Task) -> list[Piece]:
    """Returns the pieces of the task's prompt."""
    return [piece for item in task.input for piece in pieces_of(item)]


def attempt(rollout: Rollout, task: Task) -> list[Piece]:
    """Returns all pieces after the prompt, in order, without empty pieces except messages."""
    many = len(rollout.turns) > 1
    pieces: list[Piece] = []
    for number, turn in enumerate(rollout.turns, 1):
        where = f"turn {number}: " if many else ""
        given = turn.input if number > 1 else [item for item in turn.input if item not in task.input]
        pieces += [piece for item in (*given, *turn.response.output) for piece in pieces_of(item, where)]
        if not turn.response.output:
            pieces.append(Piece("message", f"{where}message", ""))
        if turn.response.status == "incomplete":
            pieces.append(Piece("message", f"{where}cut off", turn.response.incomplete_reason or "no reason given"))
    for role, turns in rollout.roles.items():
        pieces += [Piece("role", f"the {role}, answer {n}", turn.response.text) for n, turn in enumerate(turns, 1)]
    return pieces


def pieces_of(item: Item, where: str = "") -> Iterator[Piece]:
    """Yields the pieces of one item. `where` begins their titles."""
    match item:
        case Reasoning():
            if item.text:
                yield Piece("reasoning", f"{where}reasoning", item.text)
        case FunctionCall():
            yield Piece("call", f"{where}call of {item.name}", item.arguments)
        case FunctionCallOutput():
            yield Piece("output", f"{where}output", item.text)
        case Message(role="assistant"):
            declined = item.refusals
            if item.text or not declined:
                yield Piece("message", f"{where}message", item.text)
            for text in declined:
                yield Piece("refusal", f"{where}refusal", text)
        case Message():
            images = 0 if isinstance(item.content, str) else sum(isinstance(p, InputImage) for p in item.content)
            yield Piece("prompt", f"{where}{item.role}", "\n".join(filter(None, [item.text, *["(an image)"] * images])))

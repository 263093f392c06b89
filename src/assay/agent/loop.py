"""The tool loop: calls the model and the tools that it asks for, until it answers."""

from collections.abc import Awaitable
from typing import Any, TypeVar

import msgspec

from assay.agent.limits import LimitReached
from assay.benchmark import Ended, Replies, Session, begins, reacts, replies, tools_for
from assay.errors import RemoteError, SandboxError, ToolError, VerifierError
from assay.model import BudgetReached, Model
from assay.model.wrappers.role import RoleError
from assay.types import FunctionCall, FunctionCallOutput, Item, Message, Refusal, Request, Response, StopReason, Task

T = TypeVar("T")


class ToolLoop:
    """Calls the model until it answers without calling a tool."""

    async def run(self, task: Task, model: Model, session: Session) -> StopReason:
        """Returns why the rollout ended. Raises what the model or the session raises."""
        items: list[Item] = [*task.input, *await begin(session)]
        while True:
            response = await model.respond(Request(input=items, tools=tools_for(session, task), format=task.format))
            end = stop_after(response)
            said: list[Item] | None = None
            if reacts(session):
                said = await _await_reply(session.react(response))
            elif end is None:
                calls = [item for item in response.output if isinstance(item, FunctionCall)]
                try:
                    said = [await _carry_out(call, session) for call in calls]
                except Ended:
                    return "completed"
            elif response.status == "completed" and replies(session):
                said = await reply(session, response)
            if said is None:
                return end or "completed"
            items = items + response.output + said


def stop_after(response: Response) -> StopReason | None:
    """Returns why a rollout ends with a response, unless the session replies to it; None if it calls tools."""
    if response.status == "incomplete":
        return "refused" if response.incomplete_reason == "content_filter" else "token_cap"
    if any(isinstance(item, FunctionCall) for item in response.output):
        return None
    return "refused" if _refuses(response) else "completed"


async def _carry_out(call: FunctionCall, session: Session) -> FunctionCallOutput:
    """Returns the tool's output; for malformed arguments, an error that the model can act on."""
    try:
        arguments: Any = msgspec.json.decode(call.arguments or "{}")
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        arguments = error
    if not isinstance(arguments, dict):
        output = f"error: the arguments of {call.name} are not a JSON object ({arguments})"
    else:
        output = await call_tool(session, call.name, arguments)  # pyright: ignore[reportUnknownArgumentType]
    return FunctionCallOutput(call_id=call.call_id, output=output)


async def call_tool(session: Session, name: str, arguments: dict[str, Any]) -> str:
    """Returns a tool's output. Raises Ended, LimitReached, ToolError, and errors of models, sandboxes and servers."""
    try:
        output = await session.call(name, arguments)
    except (Ended, LimitReached, SandboxError, ToolError, VerifierError, RemoteError, RoleError, BudgetReached):
        raise
    except Exception as error:
        raise ToolError(f"the tool {name} raised {type(error).__name__}: {error}") from error
    if not isinstance(output, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # a benchmark may be untyped
        raise ToolError(f"the tool {name} returned {output!r}; expected text")
    return output


async def begin(session: Session) -> list[Item]:
    """Returns what another speaker says to the model first."""
    return await _await_reply(session.begin()) if begins(session) else []


async def reply(session: Replies, response: Response) -> list[Item] | None:
    """Returns what is said to the model after its answer; None if the rollout ends."""
    return await _await_reply(session.reply(response))


async def _await_reply(reply: Awaitable[T]) -> T:
    try:
        return await reply
    except (SandboxError, ToolError, VerifierError, RemoteError, RoleError, BudgetReached):
        raise
    except Exception as error:
        raise ToolError(f"the environment's reply raised {type(error).__name__}: {error}") from error


def _refuses(response: Response) -> bool:
    messages = (item for item in response.output if isinstance(item, Message) and not isinstance(item.content, str))
    return any(isinstance(part, Refusal) for message in messages for part in message.content)

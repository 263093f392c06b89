"""What the servers of all wire formats share: errors of the caller, the choice of tools, the pieces of a stream."""

from collections.abc import Collection
from typing import Any, Literal

from assay.types import NamedTool, Tool, ToolChoice

PIECE = 256
"""Characters of one delta of a stream."""


class BadRequest(Exception):
    """A request that can't be carried out as it is. `param` names the part that is wrong."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
        self.status = status


_KINDS = {404: "not_found", 429: "too_many_requests"}
_MESSAGES_KINDS = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""By status: the type of an error, in the Open Responses specification's words and in the Messages API's."""


def error_object(
    path: str, status: int, message: str, *, code: str | None = None, param: str | None = None
) -> dict[str, Any]:
    """The body of an error answer of a route. The Messages API has its own."""
    if path.endswith("/messages"):
        kind = _MESSAGES_KINDS.get(status, "invalid_request_error" if status < 500 else "api_error")
        return {"type": "error", "error": {"type": kind, "message": message}}
    kind = _KINDS.get(status, "invalid_request" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "code": code, "param": param}}


def refused(error: Exception, place: str = "") -> BadRequest:
    """What msgspec says of a request body, with the place of the error, such as `input[0].content`."""
    got, _, at = str(error).partition(" - at ")
    param = place + at.strip("`").removeprefix("$")
    param = param.removeprefix(".") or None
    return BadRequest(f"{param or 'the body'}: {got}", param=param, code="invalid_json" if not at else "invalid_type")


def choose_tools(
    tools: list[Tool],
    choice: Literal["auto", "none", "required"] | NamedTool,
    allowed: Collection[str] | None = None,
) -> tuple[list[Tool], ToolChoice]:
    """Returns the tools that the model may call, only the `allowed` ones if given, and how it is to choose.

    Raises BadRequest if the choice can't be met with these tools.
    """
    if allowed is not None:
        tools = [tool for tool in tools if tool.name in allowed]
    if isinstance(choice, NamedTool) and choice.name not in {tool.name for tool in tools}:
        raise BadRequest(f"tool_choice: there is no tool {choice.name} among tools", param="tool_choice")
    if choice == "required" and not tools:
        raise BadRequest("tool_choice: a call is required, and there are no tools", param="tool_choice")
    return tools, choice


def pieces(text: str | None) -> list[str]:
    """Returns a text cut into the deltas of a stream; none for no text."""
    return [text[start : start + PIECE] for start in range(0, len(text), PIECE)] if text else []

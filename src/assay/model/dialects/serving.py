"""What the servers of all wire formats share: errors of the caller, the choice of tools, the pieces of a stream."""

import functools
import logging
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol, TypeVar

import msgspec
from msgspec import Meta, Struct, structs

from assay.types import (
    FunctionCall,
    FunctionCallOutput,
    Item,
    Message,
    NamedTool,
    Reasoning,
    Request,
    Response,
    Sampling,
    Tool,
    ToolChoice,
)

PIECE = 256
"""Characters of one delta of a stream."""
ONLY_FUNCTIONS = "only functions are served here: offer a function instead, or let the model choose (auto)"
Event = tuple[str | None, dict[str, Any]]
"""A server-sent event: its name, where the format names events, and its data."""
Recorded = Callable[[str], Item | None]
"""Returns the item of an id, out of the calls of a rollout that is recorded."""
T = TypeVar("T")
_log = logging.getLogger(__name__)


class BadRequest(Exception):
    """A request that can't be carried out as it is. `param` names the part that is wrong."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
        self.status = status


class Context(Struct, frozen=True):
    """What a wire format's server has to know beside the request body."""

    model: str
    """The name by which the model is served."""
    sampling: Sampling = Sampling()
    """What the model is sampled by where the request does not say."""
    headers: Mapping[str, str] = {}
    recorded: Recorded | None = None


class Exchange(Protocol):
    """One call of a wire format's route, and its answer. Its class takes the body and a Context. Raises BadRequest."""

    request: Request
    model: str | None
    stream: bool
    end: bytes
    """What ends a stream after its last event."""

    def whole(self, response: Response) -> dict[str, Any]:
        """The body of an answer that is no stream."""
        ...

    def opening(self) -> Iterable[Event]:
        """The events before the model has answered."""
        ...

    def closing(self, response: Response) -> Iterable[Event]:
        """The events of the answer."""
        ...

    def failed(self, message: str, code: str) -> Iterable[Event]:
        """The events in place of an answer that will not come."""
        ...


class Settings(Struct, kw_only=True):
    """What the request bodies of all formats have in common, with what vLLM's server takes beyond them."""

    model: str | None = None
    stream: bool | None = None
    temperature: Annotated[float, Meta(ge=0)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    parallel_tool_calls: bool | None = None
    return_token_ids: bool | None = None

    def sampling(self, cap: int | None, stop: Sequence[str] | None = None) -> Sampling:
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            stop=tuple(stop) if stop else None,
            max_output_tokens=cap,
        )


def decode(decoder: "msgspec.json.Decoder[T]", content: bytes) -> T:
    """A request body as a struct. Raises BadRequest."""
    try:
        return decoder.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refused(error) from None


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
        if code == "context_length_exceeded":
            # What agents shorten their conversation by.
            message = f"prompt is too long: {message}"
        return {"type": "error", "error": {"type": kind, "message": message}}
    kind = _KINDS.get(status, "invalid_request" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "code": code, "param": param}}


def refused(error: Exception, place: str = "") -> BadRequest:
    """What msgspec says of a request body, with the place of the error, such as `input[0].content`."""
    got, _, at = str(error).partition(" - at ")
    param = place + at.strip("`").removeprefix("$")
    param = param.removeprefix(".") or None
    if (param or "").startswith("tool_choice"):
        got += f"; {ONLY_FUNCTIONS}"
    return BadRequest(f"{param or 'the body'}: {got}", param=param, code="invalid_json" if not at else "invalid_type")


def choose_tools(
    tools: list[Tool],
    choice: Literal["auto", "none", "required"] | NamedTool,
    *,
    allowed: Collection[str] | None = None,
    left_out: Collection[str] = (),
) -> tuple[list[Tool], ToolChoice]:
    """Returns the tools that the model may call, only the `allowed` ones if given, and how it is to choose.

    `left_out` are the types of tools that are no functions. The server that holds the model runs them, or the model is
    trained for them, so no other model can be offered them. They are left out with a warning.
    Raises BadRequest if the choice can't be met with the functions.
    """
    remedy = f"; those of type {', '.join(left_out)} are left out: {ONLY_FUNCTIONS}" if left_out else ""
    if allowed is not None:
        tools = [tool for tool in tools if tool.name in allowed]
    if isinstance(choice, NamedTool) and choice.name not in {tool.name for tool in tools}:
        raise BadRequest(f"tool_choice: there is no tool {choice.name} among tools{remedy}", param="tool_choice")
    if choice == "required" and not tools:
        raise BadRequest(f"tool_choice: a call is required, and there are no tools{remedy}", param="tool_choice")
    for kind in left_out:
        _warn_of(kind)
    return tools, choice


@functools.lru_cache
def _warn_of(kind: str) -> None:
    """Once for each type of tool."""
    _log.warning("tools of type %s are left out: only functions are served here", kind[:100])


def with_id(item: Item) -> Item:
    """The item with an id, made up where the model's server gave none."""
    return item if item.id else structs.replace(item, id=f"{_PREFIXES[type(item)]}_{uuid.uuid4().hex}")


_PREFIXES = {Message: "msg", Reasoning: "rs", FunctionCall: "fc", FunctionCallOutput: "fco"}


def pieces(text: str | None) -> list[str]:
    """Returns a text cut into the deltas of a stream; none for no text."""
    return [text[start : start + PIECE] for start in range(0, len(text), PIECE)] if text else []

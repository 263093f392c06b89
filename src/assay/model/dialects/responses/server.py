"""The Responses API as a server speaks it, by the Open Responses specification of 2026-04-24."""

import itertools
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, structs

from assay.model.dialects.responses.wire import wire_usage
from assay.model.dialects.serving import (
    BadRequest,
    Context,
    Event,
    Recorded,
    Settings,
    choose_tools,
    decode,
    pieces,
    refused,
    with_id,
)
from assay.model.dialects.settings import settings
from assay.types import (
    Format,
    FunctionCall,
    FunctionCallOutput,
    InputImage,
    InputText,
    Item,
    Message,
    NamedTool,
    Reasoning,
    Refusal,
    Request,
    Response,
    Text,
    Tool,
    ToolChoice,
)

VERSION = "openresponses-version"
"""The header by which a client says that it speaks the Open Responses specification, and not OpenAI's API alone."""

JOINT = "__"
"""Stands between a namespace and the name of a function in it, where a model sees both as one name."""


class _Tool(Struct):
    name: str | None = None
    type: str = "function"
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    tools: "list[_Tool] | None" = None
    """Of a namespace, such as those that Codex makes of MCP servers: its functions."""


class _Plain(Struct, tag="text"):
    pass


class _TextSettings(Struct):
    format: Format | _Plain | None = None


class _Named(Struct):
    type: str = "function"
    name: str | None = None


class _Allowed(Struct, tag="allowed_tools"):
    tools: list[_Named]
    mode: Literal["auto", "none", "required"] = "auto"


class _Body(Settings, kw_only=True):
    """CreateResponseBody. Parameters that are not here change nothing about the answer and are ignored, as the schema
    allows; those that would change it and can't be carried out are refused."""

    input: str | list[dict[str, Any]] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    prompt: Any = None
    tools: list[_Tool] | None = None
    tool_choice: Literal["auto", "none", "required"] | NamedTool | _Allowed | None = None
    text: _TextSettings | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    background: bool | None = None
    metadata: dict[str, str] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    include: list[str] | None = None


_decoder = msgspec.json.Decoder(_Body)


class ResponsesCall(Struct, frozen=True):
    """One call of `/v1/responses`: what the model is asked, and what the answer repeats."""

    request: Request
    model: str | None
    stream: bool
    return_token_ids: bool
    echo: dict[str, Any]
    """The fields of the response object that repeat the request."""
    namespaces: dict[str, tuple[str, str]] = {}
    """By the name that the model calls it by: the namespace and the name of a function in one."""


def parse(content: bytes, recorded: Recorded | None = None) -> ResponsesCall:
    """The call that a request body holds. Raises BadRequest."""
    body = decode(_decoder, content)
    for name in ("previous_response_id", "conversation", "prompt"):
        if getattr(body, name) is not None:
            raise BadRequest(f"{name}: this server keeps nothing; send the whole input", param=name)
    if body.background:
        raise BadRequest("background: this server answers while the caller waits", param="background")
    tools, choice = _tools(body)
    wanted = body.text.format if body.text else None
    request = Request(
        input=_input(body, recorded),
        sampling=body.sampling(body.max_output_tokens),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=body.parallel_tool_calls,
        format=None if isinstance(wanted, _Plain) else wanted,
        seed=body.seed,
    )
    return ResponsesCall(
        request=request,
        model=body.model,
        stream=bool(body.stream),
        # Log-probabilities come beside the ids of their tokens: by themselves they would need the tokens' texts.
        return_token_ids=bool(body.return_token_ids) or "message.output_text.logprobs" in (body.include or ()),
        echo=_echo(body, tools),
        namespaces={_join(tool, one): (tool.name or "", one.name or "") for tool, one in _inner(body.tools)},
    )


class Exchange:
    """One call of `/v1/responses` and its answer."""

    end = b"data: [DONE]\n\n"

    def __init__(self, content: bytes, context: Context) -> None:
        self._call = call = parse(content, context.recorded)
        self.request, self.model, self.stream = call.request, call.model, call.stream
        sampling = settings(context.sampling, call.request.sampling)
        self._begun = begin_response(call, model=context.model, sampling=sampling)
        self._reasoning = "response.reasoning" if VERSION in context.headers else "response.reasoning_text"
        self._sequence = itertools.count()

    def whole(self, response: Response) -> dict[str, Any]:
        return complete_response(self._call, self._begun, response)

    def opening(self) -> Iterator[Event]:
        return self._number(opening(self._begun))

    def closing(self, response: Response) -> Iterator[Event]:
        return self._number(closing(self.whole(response), self._reasoning))

    def failed(self, message: str, code: str) -> Iterator[Event]:
        response = self._begun | {"status": "failed", "error": {"code": code, "message": message}}
        return self._number(iter([{"type": "response.failed", "response": response}]))

    def _number(self, events: Iterator[dict[str, Any]]) -> Iterator[Event]:
        return ((event["type"], {**event, "sequence_number": next(self._sequence)}) for event in events)


def _input(body: _Body, recorded: Recorded | None) -> list[Item]:
    items: list[Item] = []
    if body.instructions:
        items.append(Message(role="system", content=body.instructions))
    if body.input is None or body.input == []:
        raise BadRequest("input: expected a text or a list of items", param="input", code="missing_required_parameter")
    if isinstance(body.input, str):
        return [*items, Message(role="user", content=body.input)]
    return items + [_input_item(item, f"input[{index}]", recorded) for index, item in enumerate(body.input)]


_ITEM_TYPES = ("message", "reasoning", "function_call", "function_call_output")


def _input_item(item: dict[str, Any], place: str, recorded: Recorded | None) -> Item:
    by_id = {"id"} <= set(item) <= {"id", "type"}
    kind = item.get("type") or ("item_reference" if by_id else "message")
    if kind == "item_reference":
        return _look_up(str(item.get("id")), place, recorded)
    if kind not in _ITEM_TYPES:
        message = f"{place}: items of type {kind} are not known here; known: {', '.join(_ITEM_TYPES)}"
        raise BadRequest(message, param=place)
    if kind == "function_call" and item.get("namespace"):
        item = item | {"name": f"{item['namespace']}{JOINT}{item.get('name')}"}
    try:
        # Messages without a type are what OpenAI's SDK calls easy input; null stands for what is not given.
        return msgspec.convert(_without_nulls(item) | {"type": kind}, Item)
    except msgspec.ValidationError as error:
        raise refused(error, place) from None


def _look_up(name: str, place: str, recorded: Recorded | None) -> Item:
    """The item that an id stands for, which only the record of a rollout holds."""
    item = recorded(name) if recorded else None
    if item is None:
        where = "this rollout holds no item" if recorded else "this server keeps no items; there is none"
        message = f"{place}: {where} with the id {name[:100]!r}; have the client send whole items (store: false)"
        raise BadRequest(message, param=place, code="item_not_found")
    return item


def _without_nulls(value: Any) -> Any:
    """JSON without its nulls, at any depth."""
    if isinstance(value, dict):
        return {name: _without_nulls(held) for name, held in value.items() if held is not None}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [_without_nulls(held) for held in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def _tools(body: _Body) -> tuple[list[Tool], ToolChoice]:
    offered = body.tools or []
    tools: list[Tool] = []
    for index, tool in enumerate(offered):
        if tool.type == "function":
            if tool.name is None:
                raise BadRequest(f"tools[{index}]: missing required field `name`", param=f"tools[{index}]")
            tools.append(Tool(tool.name, tool.parameters or {}, tool.description, tool.strict))
    tools += [
        Tool(_join(tool, one), one.parameters or {}, one.description, one.strict) for tool, one in _inner(offered)
    ]
    left_out = {tool.type for tool in offered if tool.type not in ("function", "namespace")}
    if isinstance(body.tool_choice, _Allowed):
        allowed = {tool.name for tool in body.tool_choice.tools if tool.name}
        return choose_tools(tools, body.tool_choice.mode, allowed=allowed, left_out=left_out)
    return choose_tools(tools, body.tool_choice or "auto", left_out=left_out)


def _inner(offered: list[_Tool] | None) -> Iterator[tuple[_Tool, _Tool]]:
    """Yields the functions of namespaces, each after its namespace."""
    for tool in offered or ():
        yield from ((tool, one) for one in tool.tools or () if tool.type == "namespace" and one.type == "function")


def _join(namespace: _Tool, tool: _Tool) -> str:
    return f"{namespace.name}{JOINT}{tool.name}"


def _echo(body: _Body, tools: list[Tool]) -> dict[str, Any]:
    wanted = body.text.format if body.text else None
    shown = msgspec.to_builtins(wanted or _Plain())
    if shown["type"] == "json_schema":
        # In the specification's response object the schema itself is null.
        shown = {"description": None, "strict": False, **shown, "schema": None}
    return {
        "instructions": body.instructions,
        "tools": [{"type": "function", **structs.asdict(tool)} for tool in tools],
        "tool_choice": msgspec.to_builtins(body.tool_choice or "auto"),
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "text": {"format": shown},
        "metadata": body.metadata or {},
        "safety_identifier": body.safety_identifier,
        "prompt_cache_key": body.prompt_cache_key,
    }


def begin_response(call: ResponsesCall, *, model: str, sampling: Mapping[str, Any]) -> dict[str, Any]:
    """The response object of a call that has no answer yet. `sampling` is what the model is sampled by."""
    return {
        "id": f"resp_{uuid.uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "completed_at": None,
        "status": "in_progress",
        "incomplete_details": None,
        "model": model,
        "previous_response_id": None,
        "output": [],
        "error": None,
        # The API's own defaults stand for what neither the caller nor the configuration says.
        "top_p": sampling.get("top_p", 1.0),
        "temperature": sampling.get("temperature", 1.0),
        "presence_penalty": sampling.get("presence_penalty", 0.0),
        "frequency_penalty": sampling.get("frequency_penalty", 0.0),
        "max_output_tokens": sampling.get("max_output_tokens"),
        "top_logprobs": 0,
        "truncation": "disabled",
        "reasoning": None,
        "usage": None,
        "max_tool_calls": None,
        "store": False,
        "background": False,
        "service_tier": "default",
        **call.echo,
    }


def complete_response(call: ResponsesCall, draft: dict[str, Any], response: Response) -> dict[str, Any]:
    """The response object with the model's answer."""
    done = draft | {
        "status": response.status,
        "completed_at": int(time.time()) if response.status == "completed" else None,
        "model": response.model or draft["model"],
        "output": [_apart(_item(with_id(item), response.status), call.namespaces) for item in response.output],
        "usage": wire_usage(response.usage),
    }
    if response.status == "incomplete":
        done["incomplete_details"] = {"reason": response.incomplete_reason or "max_output_tokens"}
    if call.return_token_ids and response.tokens is not None:
        done["prompt_token_ids"] = response.tokens.prompt
        done["generation_token_ids"] = response.tokens.output
        done["generation_log_probs"] = response.tokens.output_logprobs
    return done


def _apart(item: dict[str, Any], namespaces: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """An output item, whose function is named within its namespace if it has one."""
    if item["type"] != "function_call" or item["name"] not in namespaces:
        return item
    namespace, name = namespaces[item["name"]]
    return item | {"namespace": namespace, "name": name}


def _item(item: Item, status: str) -> dict[str, Any]:
    """An output item with the id and the status that the API asks for, made up where the model's server gave none."""
    match item:
        case Message():
            content = [Text(item.content)] if isinstance(item.content, str) else item.content
            shown: dict[str, Any] = {
                "type": "message",
                "id": item.id,
                "status": item.status or status,
                "role": item.role,
                "content": [_part(part) for part in content],
            }
            return shown | ({"phase": item.phase} if item.phase in ("commentary", "final_answer") else {})
        case Reasoning():
            return {"summary": [], **msgspec.to_builtins(item)}
        case FunctionCall():
            return {**msgspec.to_builtins(item), "status": item.status or "completed"}
        case FunctionCallOutput():
            output = item.output if isinstance(item.output, str) else [_part(part) for part in item.output]
            shown = {"type": "function_call_output", "call_id": item.call_id, "output": output}
            return shown | {"id": item.id, "status": item.status or "completed"}


def _part(part: Text | Refusal | InputText | InputImage) -> dict[str, Any]:
    match part:
        case Text():
            shown: dict[str, Any] = {"type": "output_text", "text": part.text}
            shown["annotations"] = [one for one in part.annotations if _holds(one, _CITATION)]
            if part.logprobs and all(_holds(one, _LOGPROB) for one in part.logprobs):
                shown["logprobs"] = part.logprobs
            return shown
        case InputImage():
            return {"type": "input_image", "image_url": part.image_url, "detail": part.detail}
        case _:
            return msgspec.to_builtins(part)


_CITATION = ("type", "url", "start_index", "end_index", "title")


_LOGPROB = ("token", "logprob", "bytes", "top_logprobs")


def _holds(value: Any, names: tuple[str, ...]) -> bool:
    """Whether this is what the specification has a schema for: other servers know annotations that it does not."""
    return isinstance(value, dict) and all(value.get(name) is not None for name in names)  # pyright: ignore[reportUnknownMemberType]


def opening(draft: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The events before there is any output."""
    yield {"type": "response.created", "response": draft}
    yield {"type": "response.in_progress", "response": draft}


def closing(done: dict[str, Any], reasoning: str) -> Iterator[dict[str, Any]]:
    """The events of a finished response object: its items piece by piece, then the whole.

    `reasoning` is what the events of reasoning text are called.
    """
    for index, item in enumerate(done["output"]):
        yield {"type": "response.output_item.added", "output_index": index, "item": _empty(item)}
        for event in _inside(item, reasoning):
            yield {**event, "item_id": item["id"], "output_index": index}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": f"response.{done['status']}", "response": done}


def _empty(item: dict[str, Any]) -> dict[str, Any]:
    """The item as it is before any of its content has come."""
    empty: dict[str, Any] = {"content": [], "summary": [], "arguments": "", "status": "in_progress"}
    return {name: empty.get(name, value) for name, value in item.items()}


def _inside(item: dict[str, Any], reasoning: str) -> Iterator[dict[str, Any]]:
    for index, part in enumerate(item.get("summary", ())):
        place = {"summary_index": index}
        name = "response.reasoning_summary"
        yield {"type": f"{name}_part.added", **place, "part": part | {"text": ""}}
        yield from _text(f"{name}_text", place, "text", part["text"])
        yield {"type": f"{name}_part.done", **place, "part": part}
    for index, part in enumerate(item.get("content", ())):
        place = {"content_index": index}
        held = "refusal" if part["type"] == "refusal" else "text"
        empty = {name: value for name, value in part.items() if name != "logprobs"} | {held: ""}
        yield {"type": "response.content_part.added", **place, "part": empty}
        yield from _text(_NAMES.get(part["type"], reasoning), place, held, part[held])
        yield {"type": "response.content_part.done", **place, "part": part}
    if item["type"] == "function_call":
        yield from _text("response.function_call_arguments", {}, "arguments", item["arguments"])


_NAMES = {
    "output_text": "response.output_text",
    "input_text": "response.output_text",
    "refusal": "response.refusal",
}


def _text(name: str, place: dict[str, Any], held: str, text: str) -> Iterator[dict[str, Any]]:
    for piece in pieces(text):
        yield {"type": f"{name}.delta", **place, "delta": piece}
    yield {"type": f"{name}.done", **place, held: text}

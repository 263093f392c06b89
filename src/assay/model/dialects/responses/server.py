"""The Responses API as a server speaks it, by the Open Responses specification of 2026-04-24."""

import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, structs

from assay.model.dialects.responses.wire import wire_usage
from assay.model.dialects.serving import BadRequest, choose_tools, pieces, refused
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
    Sampling,
    Text,
    Tool,
    ToolChoice,
)

Event = dict[str, Any]


class _Tool(Struct):
    name: str
    type: Literal["function"] = "function"
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Plain(Struct, tag="text"):
    pass


class _TextSettings(Struct):
    format: Format | _Plain | None = None


class _Allowed(Struct, tag="allowed_tools"):
    tools: list[NamedTool]
    mode: Literal["auto", "none", "required"] = "auto"


class _Body(Struct):
    """CreateResponseBody. Parameters that are not here change nothing about the answer and are ignored, as the schema
    allows; those that would change it and can't be carried out are refused."""

    model: str | None = None
    input: str | list[dict[str, Any]] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    prompt: Any = None
    tools: list[_Tool] | None = None
    tool_choice: Literal["auto", "none", "required"] | NamedTool | _Allowed | None = None
    parallel_tool_calls: bool | None = None
    text: _TextSettings | None = None
    temperature: Annotated[float, Meta(ge=0)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    stream: bool | None = None
    background: bool | None = None
    metadata: dict[str, str] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    # What vLLM's server takes beyond the specification.
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    return_token_ids: bool | None = None
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


def parse(content: bytes) -> ResponsesCall:
    """The call that a request body holds. Raises BadRequest."""
    try:
        body = _decoder.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refused(error) from None
    for name in ("previous_response_id", "conversation", "prompt"):
        if getattr(body, name) is not None:
            raise BadRequest(f"{name}: this server keeps nothing; send the whole input", param=name)
    if body.background:
        raise BadRequest("background: this server answers while the caller waits", param="background")
    tools, choice = _tools(body)
    sampling = Sampling(
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
        min_p=body.min_p,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        max_output_tokens=body.max_output_tokens,
    )
    wanted = body.text.format if body.text else None
    request = Request(
        input=_input(body),
        sampling=sampling,
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
        echo=_echo(body),
    )


def _input(body: _Body) -> list[Item]:
    items: list[Item] = []
    if body.instructions:
        items.append(Message(role="system", content=body.instructions))
    if body.input is None or body.input == []:
        raise BadRequest("input: expected a text or a list of items", param="input", code="missing_required_parameter")
    if isinstance(body.input, str):
        return [*items, Message(role="user", content=body.input)]
    for index, item in enumerate(body.input):
        if item.get("type", "message") not in _ITEM_TYPES:
            known = ", ".join(_ITEM_TYPES)
            message = f"input[{index}]: items of type {item['type']} are not known here; known: {known}"
            raise BadRequest(message, param=f"input[{index}]")
        try:
            # Messages without a type are what OpenAI's SDK calls easy input; null stands for what is not given.
            items.append(msgspec.convert({"type": "message", **_given(item)}, Item))
        except msgspec.ValidationError as error:
            raise refused(error, f"input[{index}]") from None
    return items


_ITEM_TYPES = ("message", "reasoning", "function_call", "function_call_output")


def _given(value: Any) -> Any:
    """JSON without its nulls, at any depth."""
    if isinstance(value, dict):
        return {name: _given(held) for name, held in value.items() if held is not None}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [_given(held) for held in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def _tools(body: _Body) -> tuple[list[Tool], ToolChoice]:
    tools = [Tool(tool.name, tool.parameters or {}, tool.description, tool.strict) for tool in body.tools or []]
    if isinstance(body.tool_choice, _Allowed):
        return choose_tools(tools, body.tool_choice.mode, {tool.name for tool in body.tool_choice.tools})
    return choose_tools(tools, body.tool_choice or "auto")


def _echo(body: _Body) -> dict[str, Any]:
    wanted = body.text.format if body.text else None
    shown = msgspec.to_builtins(wanted or _Plain())
    if shown["type"] == "json_schema":
        # In the specification's response object the schema itself is null.
        shown = {"description": None, "strict": False, **shown, "schema": None}
    return {
        "instructions": body.instructions,
        "tools": [structs.asdict(tool) for tool in body.tools or []],
        "tool_choice": msgspec.to_builtins(body.tool_choice or "auto"),
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "text": {"format": shown},
        "metadata": body.metadata or {},
        "safety_identifier": body.safety_identifier,
        "prompt_cache_key": body.prompt_cache_key,
    }


def begun(call: ResponsesCall, *, model: str, sampling: Mapping[str, Any]) -> dict[str, Any]:
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


def completed(call: ResponsesCall, begun: dict[str, Any], response: Response) -> dict[str, Any]:
    """The response object with the model's answer."""
    done = begun | {
        "status": response.status,
        "completed_at": int(time.time()) if response.status == "completed" else None,
        "model": response.model or begun["model"],
        "output": [_item(item, response.status) for item in response.output],
        "usage": wire_usage(response.usage),
    }
    if response.status == "incomplete":
        done["incomplete_details"] = {"reason": response.incomplete_reason or "max_output_tokens"}
    if call.return_token_ids and response.tokens is not None:
        done["prompt_token_ids"] = response.tokens.prompt
        done["generation_token_ids"] = response.tokens.output
        done["generation_log_probs"] = response.tokens.output_logprobs
    return done


def failed(begun: dict[str, Any], message: str, code: str) -> dict[str, Any]:
    """The response object of a call that has no answer and will get none."""
    return begun | {"status": "failed", "error": {"code": code, "message": message}}


def _item(item: Item, status: str) -> dict[str, Any]:
    """An output item with the id and the status that the API asks for, made up where the model's server gave none."""
    match item:
        case Message():
            content = [Text(item.content)] if isinstance(item.content, str) else item.content
            shown: dict[str, Any] = {
                "type": "message",
                "id": item.id or _fresh("msg"),
                "status": item.status or status,
                "role": item.role,
                "content": [_part(part) for part in content],
            }
            return shown | ({"phase": item.phase} if item.phase in ("commentary", "final_answer") else {})
        case Reasoning():
            return {"summary": [], **msgspec.to_builtins(item), "id": item.id or _fresh("rs")}
        case FunctionCall():
            return {**msgspec.to_builtins(item), "id": item.id or _fresh("fc"), "status": item.status or "completed"}
        case FunctionCallOutput():
            output = item.output if isinstance(item.output, str) else [_part(part) for part in item.output]
            shown = {"type": "function_call_output", "call_id": item.call_id, "output": output}
            return shown | {"id": item.id or _fresh("fco"), "status": item.status or "completed"}


def _fresh(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex}"


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


def opening(begun: dict[str, Any]) -> Iterator[Event]:
    """The events before there is any output."""
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}


def closing(done: dict[str, Any]) -> Iterator[Event]:
    """The events of a finished response object: its items piece by piece, then the whole."""
    for index, item in enumerate(done["output"]):
        yield {"type": "response.output_item.added", "output_index": index, "item": _emptied(item)}
        for event in _inside(item):
            yield {**event, "item_id": item["id"], "output_index": index}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": f"response.{done['status']}", "response": done}


def _emptied(item: dict[str, Any]) -> dict[str, Any]:
    """The item as it is before any of its content has come."""
    empty: dict[str, Any] = {"content": [], "summary": [], "arguments": "", "status": "in_progress"}
    return {name: empty.get(name, value) for name, value in item.items()}


def _inside(item: dict[str, Any]) -> Iterator[Event]:
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
        yield from _text(_NAMES[part["type"]], place, held, part[held])
        yield {"type": "response.content_part.done", **place, "part": part}
    if item["type"] == "function_call":
        yield from _text("response.function_call_arguments", {}, "arguments", item["arguments"])


_NAMES = {
    "output_text": "response.output_text",
    "input_text": "response.output_text",
    "refusal": "response.refusal",
    "reasoning_text": "response.reasoning",
}


def _text(name: str, place: dict[str, Any], held: str, text: str) -> Iterator[Event]:
    for piece in pieces(text):
        yield {"type": f"{name}.delta", **place, "delta": piece}
    yield {"type": f"{name}.done", **place, held: text}

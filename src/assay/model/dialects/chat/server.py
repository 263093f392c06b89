"""The server's side of Chat Completions, with the extensions that vLLM's clients know."""

import time
import uuid
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from assay.model.dialects.chat.wire import finish_reason, reasoning_details, reasoning_item, wire_call, wire_usage
from assay.model.dialects.serving import (
    BadRequest,
    Context,
    Event,
    Settings,
    choose_tools,
    decode,
    error_object,
    pieces,
)
from assay.types import (
    Content,
    Format,
    FunctionCall,
    FunctionCallOutput,
    InputImage,
    InputText,
    Item,
    JsonObject,
    JsonSchema,
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


class ChatCall(Struct, frozen=True):
    """One call of `/v1/chat/completions`: the request to the model, and the form of the answer."""

    request: Request
    model: str | None
    stream: bool = False
    include_usage: bool = False
    """Whether a stream ends in a chunk with the usage."""
    return_token_ids: bool = False
    logprobs: bool = False


class _TextPart(Struct, tag="text"):
    text: str


class _RefusalPart(Struct, tag="refusal"):
    refusal: str


class _ImageUrl(Struct):
    url: str
    detail: str | None = None


class _ImagePart(Struct, tag="image_url"):
    image_url: _ImageUrl


class _Called(Struct):
    name: str
    arguments: str


class _Call(Struct):
    id: str
    function: _Called
    type: Literal["function"] = "function"


class _System(Struct, tag_field="role", tag="system"):
    content: str | list[_TextPart]


class _Developer(Struct, tag_field="role", tag="developer"):
    content: str | list[_TextPart]


class _User(Struct, tag_field="role", tag="user"):
    content: str | list[_TextPart | _ImagePart]


class _Assistant(Struct, tag_field="role", tag="assistant"):
    content: str | list[_TextPart | _RefusalPart] | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[Any] | None = None
    function_call: Any = None


class _ToolOutput(Struct, tag_field="role", tag="tool"):
    tool_call_id: str
    content: str | list[_TextPart | _ImagePart]


class _Function(Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Tool(Struct):
    type: str = "function"
    function: _Function | None = None


class _Name(Struct):
    name: str


class _AllowedTool(Struct):
    function: _Name | None = None


class _AllowedTools(Struct):
    tools: list[_AllowedTool]
    mode: Literal["auto", "required"] = "auto"


class _Allowed(Struct, tag="allowed_tools"):
    allowed_tools: _AllowedTools


class _Named(Struct, tag="function"):
    function: _Name


class _PlainFormat(Struct, tag="text"):
    pass


class _ObjectFormat(Struct, tag="json_object"):
    pass


class _Schema(Struct):
    name: str
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class _SchemaFormat(Struct, tag="json_schema"):
    json_schema: _Schema


class _StreamOptions(Struct):
    include_usage: bool | None = None


class _Body(Settings, kw_only=True):
    """The request body. Parameters that are not here are ignored, as vLLM and others do: agents send many that are some
    server's own. Those that ask for another kind of answer are refused."""

    messages: list[_System | _Developer | _User | _Assistant | _ToolOutput]
    n: int | None = None
    tools: list[_Tool] | None = None
    tool_choice: Literal["auto", "none", "required"] | _Named | _Allowed | None = None
    response_format: _PlainFormat | _ObjectFormat | _SchemaFormat | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    stop: str | list[str] | None = None
    stream_options: _StreamOptions | None = None
    logprobs: bool | None = None
    functions: Any = None
    function_call: Any = None
    audio: Any = None


_decoder = msgspec.json.Decoder(_Body)


def parse(content: bytes) -> ChatCall:
    """Returns the call in a request body. Raises BadRequest."""
    body = decode(_decoder, content)
    if body.n not in (None, 1):
        raise BadRequest(f"n: {body.n} answers at once; this server gives one a call", param="n")
    for name, instead in (("functions", "tools"), ("function_call", "tool_choice"), ("audio", "text")):
        if getattr(body, name) is not None:
            raise BadRequest(f"{name}: not served here; use {instead}", param=name)
    tools, choice = _tools(body)
    request = Request(
        input=_items(body),
        sampling=body.sampling(
            body.max_completion_tokens or body.max_tokens, [body.stop] if isinstance(body.stop, str) else body.stop
        ),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=body.parallel_tool_calls,
        format=_format(body),
        seed=body.seed,
    )
    return ChatCall(
        request=request,
        model=body.model,
        stream=bool(body.stream),
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
        return_token_ids=bool(body.return_token_ids),
        logprobs=bool(body.logprobs),
    )


class Exchange:
    """One call of `/v1/chat/completions` and its answer."""

    end = b"data: [DONE]\n\n"

    def __init__(self, content: bytes, context: Context) -> None:
        self._call = call = parse(content)
        self.request, self.model, self.stream = call.request, call.model, call.stream
        self._name = context.model

    def whole(self, response: Response) -> dict[str, Any]:
        return completion(response, self._call, self._name)

    def opening(self) -> Iterator[Event]:
        return iter(())

    def closing(self, response: Response) -> Iterator[Event]:
        return ((None, chunk) for chunk in chunks(response, self._call, self._name))

    def failed(self, message: str, code: str) -> Iterator[Event]:
        yield None, error_object("", 502, message, code=code)


def _items(body: _Body) -> list[Item]:
    if not body.messages:
        raise BadRequest("messages: expected at least one", param="messages")
    items: list[Item] = []
    for index, message in enumerate(body.messages):
        match message:
            case _Assistant():
                items += _assistant_items(message, f"messages[{index}]")
            case _ToolOutput():
                items.append(FunctionCallOutput(call_id=message.tool_call_id, output=_content(message.content)))
            case _:
                role = str(message.__struct_config__.tag)
                items.append(Message(role=role, content=_content(message.content)))
    return items


def _content(content: str | list[_TextPart] | list[_TextPart | _ImagePart]) -> str | list[Content]:
    if isinstance(content, str):
        return content
    return [
        InputText(part.text)
        if isinstance(part, _TextPart)
        else InputImage(image_url=part.image_url.url, detail=part.image_url.detail or "auto")
        for part in content
    ]


def _assistant_items(message: _Assistant, place: str) -> Iterator[Item]:
    """What the model said, in the order in which the dialect `chat` reads it: thought, text and refusal, calls."""
    if message.function_call is not None:
        raise BadRequest(f"{place}.function_call: not served here; use tool_calls", param=f"{place}.function_call")
    reasoning = message.reasoning_content or message.reasoning or ""
    if reasoning or message.reasoning_details:
        yield reasoning_item(reasoning, message.reasoning_details)
    content: list[_TextPart | _RefusalPart] = (
        [_TextPart(message.content)] if isinstance(message.content, str) else message.content or []
    )
    parts: list[Content] = [
        Refusal(part.refusal) if isinstance(part, _RefusalPart) else Text(part.text)
        for part in content
        # Many clients put "" where calls are all that was said.
        if isinstance(part, _RefusalPart) or part.text or not (message.tool_calls or message.refusal)
    ]
    if message.refusal:
        parts.append(Refusal(message.refusal))
    if parts:
        yield Message(role="assistant", content=parts)
    for call in message.tool_calls or []:
        yield FunctionCall(call_id=call.id, name=call.function.name, arguments=call.function.arguments)


def _tools(body: _Body) -> tuple[list[Tool], ToolChoice]:
    tools: list[Tool] = []
    for index, tool in enumerate(body.tools or []):
        if tool.function is not None:
            # Without parameters the API means a function that takes none.
            parameters = tool.function.parameters or {"type": "object", "properties": {}}
            tools.append(Tool(tool.function.name, parameters, tool.function.description, tool.function.strict))
        elif tool.type == "function":
            raise BadRequest(f"tools[{index}]: missing required field `function`", param=f"tools[{index}]")
    left_out = {tool.type for tool in body.tools or [] if tool.function is None}
    match body.tool_choice:
        case _Allowed(allowed_tools=allowed):
            names = {tool.function.name for tool in allowed.tools if tool.function}
            return choose_tools(tools, allowed.mode, allowed=names, left_out=left_out)
        case _Named(function=function):
            return choose_tools(tools, NamedTool(function.name), left_out=left_out)
        case choice:
            return choose_tools(tools, choice or "auto", left_out=left_out)


def _format(body: _Body) -> Format | None:
    match body.response_format:
        case _ObjectFormat():
            return JsonObject()
        case _SchemaFormat(json_schema=given):
            return JsonSchema(given.name, given.schema or {}, given.description, given.strict)
        case _:
            return None


def completion(response: Response, call: ChatCall, model: str) -> dict[str, Any]:
    """The response as a Chat Completion. `model` is the name where the model behind gives none.

    All messages share one content, and all reasoning one field, under both of its names: DeepSeek's, SGLang's and
    llama.cpp's `reasoning_content`, and `reasoning`, as vLLM calls it since 0.11 and OpenRouter always did.
    """
    tokens = response.tokens
    choice: dict[str, Any] = {
        "index": 0,
        "message": _wire_message(response.output),
        "logprobs": _logprobs(response) if call.logprobs else None,
        "finish_reason": finish_reason(response),
    }
    whole: dict[str, Any] = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": response.model or model,
        "choices": [choice],
        "usage": wire_usage(response.usage),
    }
    if call.return_token_ids and tokens is not None:
        whole["prompt_token_ids"] = tokens.prompt
        choice["token_ids"] = tokens.output
    return whole


def _wire_message(output: list[Item]) -> dict[str, Any]:
    texts: list[str] = []
    refusals: list[str] = []
    for item in (item for item in output if isinstance(item, Message)):
        parts = [Text(item.content)] if isinstance(item.content, str) else item.content
        refusals += [part.refusal for part in parts if isinstance(part, Refusal)]
        if any(isinstance(part, Text) for part in parts):
            texts.append(item.text)
    wire: dict[str, Any] = {
        "role": "assistant",
        "content": "\n".join(texts) if texts else None,
        "refusal": "".join(refusals) or None,
    }
    thoughts = [item for item in output if isinstance(item, Reasoning)]
    if reasoning := "\n".join(item.text for item in thoughts if item.text):
        wire |= {"reasoning_content": reasoning, "reasoning": reasoning}
    if details := [detail for item in thoughts for detail in reasoning_details(item)]:
        wire["reasoning_details"] = details
    calls = [wire_call(item) for item in output if isinstance(item, FunctionCall)]
    return {**wire, "tool_calls": calls} if calls else wire


def _logprobs(response: Response) -> dict[str, Any] | None:
    """Those that a Responses API gave with the text, or else those of the recorded tokens; null where there are none.

    Of recorded tokens only the ids are known: `token` is then `token_id:5`, as in vLLM's `return_tokens_as_token_ids`.
    """
    parts = [part for item in response.output if isinstance(item, Message) for part in item.content]
    given: list[Any] = [logprob for part in parts if isinstance(part, Text) for logprob in part.logprobs or []]
    if not given and response.tokens is not None:
        tokens = response.tokens
        names = [f"token_id:{token}" for token in tokens.output] or [""] * len(tokens.output_logprobs)
        given = [
            {"token": name, "logprob": logprob, "bytes": None, "top_logprobs": []}
            for name, logprob in zip(names, tokens.output_logprobs, strict=False)
        ]
    return {"content": given, "refusal": None} if given else None


def chunks(response: Response, call: ChatCall, model: str) -> Iterator[dict[str, Any]]:
    """The same as a stream of chunks; token ids and log-probabilities come whole, with the first and the last."""
    whole = completion(response, call, model)
    (choice,) = whole["choices"]
    head = {name: whole[name] for name in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    ending = {"usage": None} if call.include_usage else {}

    def chunk(delta: dict[str, Any], **more: Any) -> dict[str, Any]:
        empty = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        return {**head, "choices": [empty | more], **ending}

    role = {"role": "assistant", "content": None if choice["message"]["content"] is None else ""}
    prompt = {"prompt_token_ids": whole["prompt_token_ids"]} if "prompt_token_ids" in whole else {}
    yield chunk(role) | prompt
    for delta in _deltas(choice["message"]):
        yield chunk(delta)
    yield chunk({}, **{name: choice[name] for name in ("finish_reason", "logprobs", "token_ids") if name in choice})
    if call.include_usage:
        yield {**head, "choices": [], "usage": whole["usage"]}


def _deltas(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for piece in pieces(message.get("reasoning")):
        yield {"reasoning_content": piece, "reasoning": piece}
    if "reasoning_details" in message:
        yield {"reasoning_details": message["reasoning_details"]}
    for name in ("content", "refusal"):
        for piece in pieces(message[name]):
            yield {name: piece}
    for index, call in enumerate(message.get("tool_calls", ())):
        function = {"name": call["function"]["name"], "arguments": ""}
        yield {"tool_calls": [{**call, "index": index, "function": function}]}
        for piece in pieces(call["function"]["arguments"]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}

"""The Messages API, as Anthropic and servers that follow it (vLLM, SGLang, LiteLLM) speak it."""

import base64
from collections.abc import Mapping
from itertools import groupby
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Struct

from assay.config import ModelConfig
from assay.errors import ModelError
from assay.model.dialects import sse, thinking
from assay.model.dialects.settings import settings, without
from assay.model.http import Endpoint, error_of
from assay.types import (
    Content,
    FunctionCall,
    FunctionCallOutput,
    InputImage,
    InputText,
    Item,
    JsonSchema,
    Message,
    NamedTool,
    Reasoning,
    ReasoningText,
    Refusal,
    Request,
    Response,
    Text,
    Tool,
    ToolChoice,
    Usage,
    text_of,
)


class Messages:
    """Asks a model behind `POST {base_url}/messages`: Anthropic's own server unless a base URL is configured.

    The key goes into `x-api-key`. A server that wants a bearer token gets it by `headers_env`.
    """

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        self._endpoint = Endpoint(
            config,
            base_url="https://api.anthropic.com/v1",
            key_header="x-api-key",
            headers={"anthropic-version": "2023-06-01"},
            assemble=assemble,
        )
        self._decoder = msgspec.json.Decoder(_WireMessage)

    async def respond(self, request: Request) -> Response:
        """The server's message as Responses items. Raises ModelError, also for what this API has no words for."""
        config = self._config
        if config.logprobs:
            raise _unsupported("log-probabilities; set logprobs = false")
        body = self._body(request)
        if "max_tokens" not in body and "max_tokens" not in config.omit:
            # No default: where the output is cut decides scores, so it has to be somebody's choice.
            message = "the Messages API wants an output limit, and neither the benchmark nor the model server sets one"
            hint = "set sampling.max_output_tokens, such as --set sampling.max_output_tokens=16384"
            raise ModelError("bad_request", f"{message}; {hint}", retryable=False)
        # The API insists on the cap, so a request that doesn't fit can't be asked again without one.
        content = await self._endpoint.ask("/messages", body, cap="max_tokens", needed=True)
        return self._response(self._endpoint.decode(self._decoder, content))

    def _body(self, request: Request) -> dict[str, Any]:
        config = self._config
        system, messages = conversation(request.input)
        body: dict[str, Any] = {"model": config.id, "messages": messages}
        if system:
            body["system"] = system
        body |= _sampling(settings(config.sampling, request.sampling), config.omit)
        if request.tools:
            body["tools"] = [_wire_tool(tool) for tool in request.tools]
            choice = _tool_choice(request.tool_choice, request.parallel_tool_calls)
            if choice != {"type": "auto"}:
                body["tool_choice"] = choice
        if isinstance(request.format, JsonSchema):
            body["output_config"] = {"format": {"type": "json_schema", "schema": request.format.definition}}
        elif request.format:
            raise _unsupported("JSON objects without a schema; ask for a JsonSchema")
        if config.stream:
            body["stream"] = True
        body = without(body, config.omit)
        output_config = body.get("output_config", {})
        body |= config.extra_body
        if output_config and "output_config" in config.extra_body:
            # Both are wanted: the format that the task asks for, and extra_body's effort.
            body["output_config"] = output_config | config.extra_body["output_config"]
        return body

    def _response(self, wire: "_WireMessage") -> Response:
        if wire.error is not None:
            raise error_of(wire.error)
        if wire.stop_reason not in _ENDS:
            raise _no_end(wire.stop_reason)
        reason = _ENDS[wire.stop_reason]
        output = output_items(wire.content, complete=reason is None)
        if self._config.reasoning in ("auto", "tags"):
            opened = self._config.reasoning == "tags" and not any(isinstance(item, Reasoning) for item in output)
            output = [
                part for item in output for part in thinking.without_tags(item, complete=reason is None, opened=opened)
            ]
        if reason == "content_filter" and wire.stop_details and wire.stop_details.explanation:
            output.append(Message(role="assistant", content=[Refusal(refusal=wire.stop_details.explanation)]))
        return Response(
            output=output,
            status="completed" if reason is None else "incomplete",
            incomplete_reason=reason,
            usage=_usage(wire.usage or _WireUsage()),
            model=wire.model,
            id=wire.id,
        )

    async def aclose(self) -> None:
        await self._endpoint.aclose()


_ENDS: Mapping[str | None, str | None] = {
    "end_turn": None,
    "tool_use": None,
    "stop_sequence": None,
    "max_tokens": "max_output_tokens",
    "model_context_window_exceeded": "max_output_tokens",
    "refusal": "content_filter",
}
"""By stop reason: why the response is incomplete, or `None` where it is complete."""
_SAMPLING = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stop": "stop_sequences",
    "max_output_tokens": "max_tokens",
}
"""The settings that the API has, and what it calls them."""


class _Text(Struct, tag="text", omit_defaults=True):
    text: str
    citations: list[Any] | None = None


class _Thinking(Struct, tag="thinking"):
    thinking: str = ""
    signature: str = ""


class _RedactedThinking(Struct, tag="redacted_thinking"):
    data: str


class _ToolUse(Struct, tag="tool_use"):
    id: str
    name: str
    input: msgspec.Raw
    """The JSON as it is, so that what the model wrote goes back to it to the letter."""


class _Image(Struct, tag="image"):
    source: dict[str, str]


class _ToolResult(Struct, tag="tool_result"):
    tool_use_id: str
    content: "str | list[_Said]"


_Block = _Text | _Thinking | _RedactedThinking | _ToolUse
_Said = _Text | _Image
_Sent = _Block | _Image | _ToolResult


class _Details(Struct):
    thinking_tokens: int | None = None


class _WireUsage(Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: _Details | None = None


class _StopDetails(Struct):
    explanation: str | None = None


class _WireMessage(Struct):
    content: list[_Block] = []
    stop_reason: str | None = None
    stop_details: _StopDetails | None = None
    id: str | None = None
    model: str | None = None
    usage: _WireUsage | None = None
    error: Any = None


def conversation(items: list[Item]) -> tuple[str, list[dict[str, Any]]]:
    """The system prompt and the messages: one for all that the model said in a row, one for all that it was told.

    Outputs of parallel calls so share a message, and stand before what the user says, as the API wants it. Reasoning
    goes back where it stands, except after the last thing that the model said: no message may end in it.
    """
    system: list[str] = []
    messages: list[dict[str, Any]] = []
    thoughts: list[_Sent] = []
    for item in items:
        if isinstance(item, Reasoning):
            thoughts += _thought(item)
            continue
        if isinstance(item, Message) and item.role in ("system", "developer"):
            system.append(_system_text(item))
            continue
        role, blocks = _sent(item)
        if not blocks:
            continue
        if role == "assistant":
            blocks = thoughts + blocks
        thoughts = []
        if not messages or messages[-1]["role"] != role:
            messages.append({"role": role, "content": []})
        messages[-1]["content"] += blocks
    for message in messages:
        message["content"].sort(key=_is_result, reverse=True)
    return "\n\n".join(filter(None, system)), messages


def output_items(blocks: list[_Block], *, complete: bool = True) -> list[Item]:
    """What the blocks of an answer are as items. Blocks of text in a row are one message: citations only split it."""
    items: list[Item] = []
    for kind, row in groupby(blocks, type):
        if kind is _Text:
            text: list[Content] = [_text(block) for block in row if isinstance(block, _Text)]
            items.append(Message(role="assistant", content=text, status="completed" if complete else "incomplete"))
        else:
            items += [_item(block) for block in row if not isinstance(block, _Text)]
    if complete and not any(isinstance(item, Message | FunctionCall) for item in items):
        # The model ended its turn and said nothing, or all of it in thought: an empty answer.
        items.append(thinking.message(""))
    return items


def _text(block: _Text) -> Text:
    return Text(text=block.text, annotations=block.citations or [])


def _item(block: _Thinking | _RedactedThinking | _ToolUse) -> Item:
    match block:
        case _Thinking():
            # An empty signature is kept as one: servers that don't sign take their thinking back all the same.
            return Reasoning(content=[ReasoningText(text=block.thinking)], encrypted_content=block.signature)
        case _RedactedThinking():
            return Reasoning(encrypted_content=block.data)
        case _ToolUse():
            return FunctionCall(call_id=block.id, name=block.name, arguments=_arguments(block))


def _thought(item: Reasoning) -> list[_Sent]:
    """A thinking block as it came. Reasoning of another origin has no signature, and the API refuses it without."""
    if item.encrypted_content is None:
        return []
    if item.content is None:
        return [_RedactedThinking(data=item.encrypted_content)]
    return [_Thinking(thinking=item.text, signature=item.encrypted_content)]


def _sent(item: Message | FunctionCall | FunctionCallOutput) -> tuple[str, list[_Sent]]:
    """Whose words an item is, and its blocks."""
    match item:
        case FunctionCall():
            return "assistant", [_ToolUse(id=item.call_id, name=item.name, input=_input(item.arguments))]
        case FunctionCallOutput():
            content = item.output if isinstance(item.output, str) else _blocks(item.output)
            return "user", [_ToolResult(tool_use_id=item.call_id, content=content)]
        case Message(role="assistant"):
            # The API gives blank text, but refuses to take it back.
            return "assistant", [block for block in _blocks(item.content) if not _is_blank(block)]
        case Message():
            return item.role, [*_blocks(item.content)]


def _is_blank(block: _Said) -> bool:
    return isinstance(block, _Text) and not block.text.strip()


def _is_result(block: _Sent) -> bool:
    return isinstance(block, _ToolResult)


def _blocks(content: str | list[Content]) -> list[_Said]:
    return [_block(part) for part in ([InputText(text=content)] if isinstance(content, str) else content)]


def _block(part: Content) -> _Said:
    match part:
        case Text():
            return _Text(text=part.text, citations=part.annotations or None)
        case Refusal():
            return _Text(text=part.refusal)
        case InputText():
            return _Text(text=part.text)
        case InputImage():
            return _Image(source=_source(part))


def _source(image: InputImage) -> dict[str, str]:
    if image.file_id is not None:
        return {"type": "file", "file_id": image.file_id}
    url = image.image_url or ""
    if not url.startswith("data:"):
        return {"type": "url", "url": url}
    head, _, data = url.removeprefix("data:").partition(",")
    kind, *parameters = head.split(";")
    if "base64" not in parameters:
        data = base64.b64encode(unquote_to_bytes(data)).decode()
    return {"type": "base64", "media_type": kind, "data": data}


def _system_text(message: Message) -> str:
    if not isinstance(message.content, str) and any(isinstance(part, InputImage) for part in message.content):
        raise _unsupported("images in a system prompt; put them into a user message")
    return text_of(message.content)


def _arguments(block: _ToolUse) -> str:
    """The input of a call as the model wrote it: a string is what it wrote in place of an object."""
    try:
        arguments = bytes(block.input).decode()
        return msgspec.json.decode(arguments, type=str) if arguments.startswith('"') else arguments
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        raise ModelError("bad_response", f"the input of the tool {block.name}: {error}", retryable=True) from None


_OBJECT = msgspec.json.Decoder(dict[str, Any])


def _input(arguments: str) -> msgspec.Raw:
    """The arguments of a call as the object that the API wants; in one, as they are, where they are none."""
    arguments = arguments.strip() or "{}"
    try:
        _OBJECT.decode(arguments)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return msgspec.Raw(msgspec.json.encode({"arguments": arguments}))
    return msgspec.Raw(arguments.encode())


def _sampling(said: Mapping[str, Any], omit: list[str]) -> dict[str, Any]:
    """The settings by this API's names. Raises ModelError for what it doesn't have, unless that changes nothing."""
    for name, value in said.items():
        if name not in _SAMPLING and name not in omit and value:
            raise _unsupported(f'{name}; omit = ["{name}"] goes without it')
    return {_SAMPLING[name]: value for name, value in said.items() if name in _SAMPLING}


def _wire_tool(tool: Tool) -> dict[str, Any]:
    found: dict[str, Any] = {"name": tool.name, "input_schema": tool.parameters}
    if tool.description is not None:
        found["description"] = tool.description
    if tool.strict:
        found["strict"] = True
    return found


def _tool_choice(choice: ToolChoice, parallel: bool | None) -> dict[str, Any]:
    if isinstance(choice, NamedTool):
        found: dict[str, Any] = {"type": "tool", "name": choice.name}
    else:
        found = {"type": "any" if choice == "required" else choice}
    if parallel is False and choice != "none":
        found["disable_parallel_tool_use"] = True
    return found


def _usage(wire: _WireUsage) -> Usage:
    """Tokens. The API counts what was cached apart from `input_tokens`; here they are all of the input."""
    cached = wire.cache_read_input_tokens or 0
    return Usage(
        input_tokens=(wire.input_tokens or 0) + (wire.cache_creation_input_tokens or 0) + cached,
        output_tokens=wire.output_tokens or 0,
        cached_tokens=cached,
        reasoning_tokens=(wire.output_tokens_details or _Details()).thinking_tokens or 0,
    )


def _unsupported(what: str) -> ModelError:
    return ModelError("unsupported", f"the Messages API has no {what}", retryable=False)


def _no_end(stop_reason: str | None) -> ModelError:
    if stop_reason == "pause_turn":
        message = "the server paused the turn (stop_reason pause_turn), as only its own tools make it; leave these out"
        return ModelError("unsupported", message, retryable=False)
    message = f"the message has the stop_reason {stop_reason!r}; expected one of {', '.join(filter(None, _ENDS))}"
    return ModelError("bad_response", message, retryable=True)


def assemble(stream: bytes) -> bytes:
    """The message that the Messages API's events add up to. Raises ModelError."""
    whole: dict[str, Any] = {}
    blocks: dict[int, Any] = {}
    inputs: dict[int, str] = {}
    for event in sse.decoded(stream):
        match event.get("type"):
            case "message_start":
                whole = event["message"]
            case "content_block_start":
                blocks[event["index"]] = event["content_block"]
            case "content_block_delta":
                _add_block(blocks[event["index"]], event["delta"], inputs, event["index"])
            case "message_delta":
                usage = {**sse.fields(whole.get("usage")), **sse.given(event.get("usage"))}
                whole = {**whole, **sse.given(event["delta"]), "usage": usage}
            case "message_stop":
                for index, text in inputs.items():
                    # Malformed input stays as the model wrote it: it is the model's mistake, and told to it.
                    blocks[index]["input"] = _json_or_text(text)
                return msgspec.json.encode({**whole, "content": [blocks[index] for index in sorted(blocks)]})
            case "error":
                raise error_of(event.get("error") or event)
            case _:
                pass
    raise sse.cut()


def _add_block(block: Any, delta: Any, inputs: dict[int, str], index: int) -> None:
    match delta.get("type"):
        case "text_delta":
            block["text"] = block.get("text", "") + delta["text"]
        case "thinking_delta":
            block["thinking"] = block.get("thinking", "") + delta["thinking"]
        case "signature_delta":
            block["signature"] = delta["signature"]
        case "input_json_delta":
            inputs[index] = inputs.get(index, "") + delta["partial_json"]
        case "citations_delta":
            block["citations"] = [*(block.get("citations") or []), delta["citation"]]
        case _:
            raise sse.malformed(f"a delta of type {delta.get('type')!r}")


def _json_or_text(text: str) -> Any:
    try:
        return msgspec.json.decode(text or "{}")
    except msgspec.DecodeError:
        return text

"""The Messages API as a server speaks it, to Anthropic's SDKs and agents that are made of them."""

import uuid
from collections.abc import Iterator
from itertools import groupby
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from assay.model.dialects.messages.wire import (
    Block,
    ImageBlock,
    Said,
    Sent,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    blocks_of,
    items_of,
    thinking_blocks,
    wire_usage,
)
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
    FunctionCall,
    FunctionCallOutput,
    InputImage,
    InputText,
    Item,
    JsonSchema,
    Message,
    NamedTool,
    Reasoning,
    Request,
    Response,
    Tool,
    ToolChoice,
)

ROUTE = "/messages"


class _User(Struct, tag_field="role", tag="user"):
    content: str | list[TextBlock | ImageBlock | ToolResultBlock]


class _Assistant(Struct, tag_field="role", tag="assistant"):
    content: str | list[Block]


class _System(Struct, tag_field="role", tag="system"):
    content: str | list[TextBlock]


class _Tool(Struct):
    name: str
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None


class _Choice(Struct):
    type: Literal["auto", "any", "tool", "none"]
    name: str = ""
    disable_parallel_tool_use: bool = False


class _Schema(Struct, tag="json_schema"):
    definition: dict[str, Any] = msgspec.field(name="schema")


class _OutputConfig(Struct):
    format: _Schema | None = None


class _Body(Settings, kw_only=True):
    """The request body. Parameters that are not here are ignored: agents send many that concern Anthropic's servers."""

    messages: list[_User | _Assistant | _System]
    system: str | list[TextBlock] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    stop_sequences: list[str] | None = None
    tools: list[_Tool] | None = None
    tool_choice: _Choice | None = None
    output_config: _OutputConfig | None = None
    mcp_servers: list[Any] | None = None


_decoder = msgspec.json.Decoder(_Body)


class Exchange:
    """One call of `/v1/messages` and its answer."""

    end = b""

    def __init__(self, content: bytes, context: Context) -> None:
        body = decode(_decoder, content)
        self.request, self.model, self.stream = _request(body), body.model, bool(body.stream)
        self._name = context.model

    def whole(self, response: Response) -> dict[str, Any]:
        """The message. Malformed arguments of a call are in an object: the API has no other place for them."""
        return {
            "id": f"msg_{uuid.uuid4().hex}",
            "type": "message",
            "role": "assistant",
            "model": response.model or self._name,
            "content": [block for item in response.output for block in _blocks(item)],
            "stop_reason": _stop_reason(response),
            "stop_sequence": None,
            "usage": wire_usage(response.usage),
        }

    def opening(self) -> Iterator[Event]:
        return iter(())

    def closing(self, response: Response) -> Iterator[Event]:
        """The same as a stream. It begins with the input's tokens, which only the answer tells."""
        whole = self.whole(response)
        usage = whole["usage"] | {"output_tokens": 0}
        begun: dict[str, Any] = {**whole, "content": [], "stop_reason": None, "usage": usage}
        yield _event("message_start", message=begun)
        for index, block in enumerate(whole["content"]):
            yield from _block_events(index, block)
        ended = {name: whole[name] for name in ("stop_reason", "stop_sequence")}
        yield _event("message_delta", delta=ended, usage=whole["usage"])
        yield _event("message_stop")

    def failed(self, message: str, code: str) -> Iterator[Event]:
        yield "error", error_object(ROUTE, 502, message, code=code)


def _request(body: _Body) -> Request:
    if not body.messages:
        raise BadRequest("messages: expected at least one", param="messages")
    if body.mcp_servers:
        raise BadRequest("mcp_servers: not served here; let the client call them", param="mcp_servers")
    messages = [_System(body.system), *body.messages] if body.system else body.messages
    tools, choice = _tools(body)
    wanted = body.output_config.format if body.output_config else None
    parallel = not body.tool_choice.disable_parallel_tool_use if body.tool_choice else body.parallel_tool_calls
    return Request(
        input=[item for message in messages for item in _items(message)],
        sampling=body.sampling(body.max_tokens, body.stop_sequences),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=False if parallel is False else None,
        format=JsonSchema("answer", wanted.definition) if wanted else None,
        seed=body.seed,
    )


def _items(message: _User | _Assistant | _System) -> Iterator[Item]:
    """What a message holds, in its order: a message for texts and images in a row, an item for all else."""
    content: list[Any] = [TextBlock(message.content)] if isinstance(message.content, str) else message.content
    if isinstance(message, _Assistant):
        yield from items_of(content)
        return
    for is_result, row in groupby(content, lambda block: isinstance(block, ToolResultBlock)):
        if is_result:
            yield from (FunctionCallOutput(call_id=block.tool_use_id, output=_content(block.content)) for block in row)
        else:
            yield Message(role=str(message.__struct_config__.tag), content=_content(list(row)))


def _content(content: str | list[Said]) -> str | list[Content]:
    return content if isinstance(content, str) else [_part(block) for block in content]


def _part(block: Said) -> Content:
    if isinstance(block, TextBlock):
        return InputText(block.text)
    match block.source:
        case {"type": "file", "file_id": file}:
            return InputImage(file_id=file)
        case {"type": "base64", "media_type": kind, "data": data}:
            return InputImage(f"data:{kind};base64,{data}")
        case {"type": "url", "url": url}:
            return InputImage(url)
        case source:
            raise BadRequest(f"an image's source of type {source.get('type')!r}: expected base64, url or file")


def _tools(body: _Body) -> tuple[list[Tool], ToolChoice]:
    offered = body.tools or []
    tools = [
        Tool(tool.name, tool.input_schema, tool.description, tool.strict)
        for tool in offered
        if tool.input_schema is not None
    ]
    left_out = {tool.type or tool.name for tool in offered if tool.input_schema is None}
    choice = body.tool_choice or _Choice("auto")
    wanted = NamedTool(choice.name) if choice.type == "tool" else _CHOICES[choice.type]
    return choose_tools(tools, wanted, left_out=left_out)


_CHOICES: dict[str, Literal["auto", "none", "required"]] = {"auto": "auto", "none": "none", "any": "required"}


def _blocks(item: Item) -> list[Sent]:
    """What an item of an answer is as blocks. Reasoning that no server signed has an empty signature."""
    if isinstance(item, Reasoning):
        return thinking_blocks(item) or [ThinkingBlock(text) for text in [item.text] if text]
    return [TextBlock(block.text) if isinstance(block, TextBlock) else block for block in blocks_of(item)[1]]


def _stop_reason(response: Response) -> str:
    if response.status == "incomplete":
        return "refusal" if response.incomplete_reason == "content_filter" else "max_tokens"
    return "tool_use" if any(isinstance(item, FunctionCall) for item in response.output) else "end_turn"


def _block_events(index: int, block: Sent) -> Iterator[Event]:
    empty: Any = block
    deltas: list[dict[str, Any]] = []
    match block:
        case TextBlock(text):
            empty = TextBlock("")
            deltas = [{"type": "text_delta", "text": piece} for piece in pieces(text)]
        case ThinkingBlock(thinking, signature):
            empty = ThinkingBlock()
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(thinking)]
            deltas.append({"type": "signature_delta", "signature": signature})
        case ToolUseBlock(name, tool, arguments):
            empty = ToolUseBlock(name, tool, msgspec.Raw(b"{}"))
            deltas = [
                {"type": "input_json_delta", "partial_json": piece} for piece in pieces(bytes(arguments).decode())
            ]
        case _:
            pass
    yield _event("content_block_start", index=index, content_block=empty)
    for delta in deltas:
        yield _event("content_block_delta", index=index, delta=delta)
    yield _event("content_block_stop", index=index)


def _event(name: str, **fields: Any) -> Event:
    return name, {"type": name, **fields}

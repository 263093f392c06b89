"""What both directions of the Messages API share: the blocks of messages, what they are as items, and usage."""

import base64
from collections.abc import Iterable
from itertools import groupby
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Struct

from assay.errors import ModelError
from assay.types import (
    Content,
    FunctionCall,
    FunctionCallOutput,
    InputImage,
    InputText,
    Item,
    Message,
    Reasoning,
    ReasoningText,
    Refusal,
    Text,
    Usage,
)


class TextBlock(Struct, tag="text", omit_defaults=True):
    text: str
    citations: list[Any] | None = None


class ThinkingBlock(Struct, tag="thinking"):
    thinking: str = ""
    signature: str = ""


class RedactedBlock(Struct, tag="redacted_thinking"):
    data: str


class ToolUseBlock(Struct, tag="tool_use"):
    id: str
    name: str
    input: msgspec.Raw = msgspec.Raw(b"{}")
    """The JSON as it is, so that what the model wrote goes back to it to the letter."""


class ImageBlock(Struct, tag="image"):
    source: dict[str, str]


class ToolResultBlock(Struct, tag="tool_result"):
    tool_use_id: str
    content: "str | list[Said]" = ""


Block = TextBlock | ThinkingBlock | RedactedBlock | ToolUseBlock
Said = TextBlock | ImageBlock
Sent = Block | ImageBlock | ToolResultBlock


class _Details(Struct):
    thinking_tokens: int | None = None


class WireUsage(Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: _Details | None = None


def items_of(blocks: Iterable[Block], status: str | None = None) -> list[Item]:
    """What the model's blocks are as items. Blocks of text in a row are one message: citations only split it."""
    items: list[Item] = []
    for kind, row in groupby(blocks, type):
        if kind is TextBlock:
            text: list[Content] = [_text(block) for block in row if isinstance(block, TextBlock)]
            items.append(Message(role="assistant", content=text, status=status))
        else:
            items += [_item(block) for block in row if not isinstance(block, TextBlock)]
    return items


def _text(block: TextBlock) -> Text:
    return Text(text=block.text, annotations=block.citations or [])


def _item(block: ThinkingBlock | RedactedBlock | ToolUseBlock) -> Item:
    match block:
        case ThinkingBlock():
            # An empty signature is kept as one: servers that don't sign take their thinking back all the same.
            return Reasoning(content=[ReasoningText(text=block.thinking)], encrypted_content=block.signature)
        case RedactedBlock():
            return Reasoning(encrypted_content=block.data)
        case ToolUseBlock():
            return FunctionCall(call_id=block.id, name=block.name, arguments=_arguments(block))


def thinking_blocks(item: Reasoning) -> list[Sent]:
    """A thinking block as it came. Reasoning of another origin has no signature, and the API refuses it without."""
    if item.encrypted_content is None:
        return []
    if item.content is None:
        return [RedactedBlock(data=item.encrypted_content)]
    return [ThinkingBlock(thinking=item.text, signature=item.encrypted_content)]


def blocks_of(item: Message | FunctionCall | FunctionCallOutput) -> tuple[str, list[Sent]]:
    """Whose words an item is, and its blocks."""
    match item:
        case FunctionCall():
            return "assistant", [ToolUseBlock(id=item.call_id, name=item.name, input=_input(item.arguments))]
        case FunctionCallOutput():
            content = item.output if isinstance(item.output, str) else _content_blocks(item.output)
            return "user", [ToolResultBlock(tool_use_id=item.call_id, content=content)]
        case Message(role="assistant"):
            # The API gives blank text, but refuses to take it back.
            return "assistant", [block for block in _content_blocks(item.content) if not _is_blank(block)]
        case Message():
            return item.role, [*_content_blocks(item.content)]


def _is_blank(block: Said) -> bool:
    return isinstance(block, TextBlock) and not block.text.strip()


def _content_blocks(content: str | list[Content]) -> list[Said]:
    return [_block(part) for part in ([InputText(text=content)] if isinstance(content, str) else content)]


def _block(part: Content) -> Said:
    match part:
        case Text():
            return TextBlock(text=part.text, citations=part.annotations or None)
        case Refusal():
            return TextBlock(text=part.refusal)
        case InputText():
            return TextBlock(text=part.text)
        case InputImage():
            return ImageBlock(source=_source(part))


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


def _arguments(block: ToolUseBlock) -> str:
    """The input of a call as the model wrote it: a string is what it wrote in place of an object."""
    try:
        arguments = bytes(block.input).decode()
        if arguments == "null":
            return "{}"
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


def read_usage(wire: WireUsage) -> Usage:
    """Tokens. The API counts what was cached apart from `input_tokens`; here they are all of the input."""
    cached = wire.cache_read_input_tokens or 0
    return Usage(
        input_tokens=(wire.input_tokens or 0) + (wire.cache_creation_input_tokens or 0) + cached,
        output_tokens=wire.output_tokens or 0,
        cached_tokens=cached,
        reasoning_tokens=(wire.output_tokens_details or _Details()).thinking_tokens or 0,
    )


def wire_usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
    }

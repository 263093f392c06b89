"""What both directions of the Responses API share: usage, and items as the API takes them."""

from typing import Any

import msgspec
from msgspec import Struct, structs

from assay.types import (
    Content,
    FunctionCallOutput,
    InputImage,
    Item,
    Message,
    Reasoning,
    Text,
    Usage,
)


class _Details(Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class WireUsage(Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


def read_usage(wire: WireUsage | None) -> Usage:
    """Returns the token counts of a response; zeros where the server doesn't count."""
    wire = wire or WireUsage()
    return Usage(
        input_tokens=wire.input_tokens or 0,
        output_tokens=wire.output_tokens or 0,
        cached_tokens=(wire.input_tokens_details or _Details()).cached_tokens or 0,
        reasoning_tokens=(wire.output_tokens_details or _Details()).reasoning_tokens or 0,
    )


def wire_usage(usage: Usage) -> dict[str, Any] | None:
    """Null where the model's server does not count."""
    if not usage.input_tokens and not usage.output_tokens:
        return None
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def wire_items(items: list[Item], *, stored: bool) -> list[Any]:
    """Items as the API takes them back.

    Without `stored` the server keeps nothing, so reasoning of which only the id came back is left out, and with it all
    ids: they belong together, and to nothing that the server could look up. Otherwise the ids stay, because the API's
    types ask for them in reasoning and in the model's messages, and vLLM checks these types.
    """
    kept = items if stored else [item for item in items if not _only_id(item)]
    with_ids = len(kept) == len(items)
    return [_wire_item(item, with_id=with_ids) for item in kept]


def _only_id(item: Item) -> bool:
    return isinstance(item, Reasoning) and item.id is not None and not (item.content or item.encrypted_content)


def _wire_item(item: Item, *, with_id: bool) -> Any:
    if not with_id and item.id is not None:
        item = structs.replace(item, id=None)
    # The API wants `summary` and `annotations` even where they are empty, which the structs leave out.
    if isinstance(item, Reasoning):
        # An empty signature is the Messages API's; here it would be something that can't be decrypted.
        return {
            "summary": [],
            **msgspec.to_builtins(structs.replace(item, encrypted_content=item.encrypted_content or None)),
        }
    if isinstance(item, Message) and not isinstance(item.content, str):
        return {**msgspec.to_builtins(item), "content": [_wire_part(part) for part in item.content]}
    if isinstance(item, FunctionCallOutput) and not isinstance(item.output, str):
        return {**msgspec.to_builtins(item), "output": [_wire_part(part) for part in item.output]}
    return item


def _wire_part(part: Content) -> Any:
    match part:
        case Text():
            return {"annotations": [], **msgspec.to_builtins(part)}
        case InputImage():
            return {"detail": part.detail, **msgspec.to_builtins(part)}
        case _:
            return part

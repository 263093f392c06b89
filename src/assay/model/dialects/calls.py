"""Calls in raw text, as Hermes and Qwen write them: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`."""

import msgspec

from assay.config import ModelConfig
from assay.digest import digest
from assay.model.dialects import thinking
from assay.types import FunctionCall, Item, Message

_CALL, _END = "<tool_call>", "</tool_call>"


def items_of(text: str, config: ModelConfig, *, complete: bool, scope: object) -> list[Item]:
    """Returns a model's raw text as items: reasoning, the message, and the calls in it.

    The calls' ids are made from `scope`, which has to differ between answers. Their arguments are the JSON text as the
    model wrote it. A message with an unreadable call stays as it is.
    """
    opened = config.reasoning == "tags"
    items = thinking.items(text, complete=complete, opened=opened, tags=config.thinking_tags)
    return [part for item in items for part in _parts(item, scope)]


def _parts(item: Item, scope: object) -> list[Item]:
    if not isinstance(item, Message) or _CALL not in item.text:
        return [item]
    before, *rest = item.text.split(_CALL)
    calls: list[Item] = []
    for number, part in enumerate(rest):
        try:
            call = msgspec.json.decode(part.partition(_END)[0], type=_Call)
        except (msgspec.DecodeError, UnicodeError):
            return [item]
        calls.append(FunctionCall(f"call_{digest(scope)[:16]}_{number}", call.name, bytes(call.arguments).decode()))
    return [thinking.message(before.strip()), *calls] if before.strip() else calls


class _Call(msgspec.Struct):
    name: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")

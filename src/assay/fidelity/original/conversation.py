"""Recorded conversations: chat messages as harnesses write them, taken apart by who said what."""

from collections.abc import Sequence
from typing import Any, cast

import msgspec
from msgspec import Struct

from assay.model.dialects import thinking
from assay.types import FunctionCall, Item


class _Function(Struct, frozen=True):
    name: str
    arguments: str


class _Call(Struct, frozen=True):
    id: str
    function: _Function


class ChatMessage(Struct, frozen=True):
    """A message of OpenAI's Chat Completions."""

    role: str
    content: str | None = None
    tool_calls: list[_Call] | None = None


def is_conversation(output: Any) -> bool:
    """Returns whether an output is a list of chat messages, rather than one of each turn's answer."""
    first = cast(list[Any], output)[0] if isinstance(output, list) and output else None
    return isinstance(first, dict) and "role" in first


def divide(messages: Sequence[Any]) -> dict[str, Any]:
    """Returns a row's `output`, the model's turns; `user`, what a user said; and `tools`, what tools answered.

    Raises ValidationError for what is no chat message.
    """
    said = msgspec.convert(messages, list[ChatMessage])
    return {
        "output": [_turn(one) for one in said if one.role == "assistant"],
        "user": [one.content or "" for one in said if one.role == "user"],
        "tools": [one.content or "" for one in said if one.role == "tool"],
    }


def _turn(message: ChatMessage) -> list[Item]:
    calls = [FunctionCall(one.id, one.function.name, one.function.arguments) for one in message.tool_calls or []]
    text = message.content or ""
    return [*([thinking.message(text)] if text or not calls else []), *calls]

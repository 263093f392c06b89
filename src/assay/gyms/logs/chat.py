"""Chat messages of other harnesses as items: the forms of OpenAI, Inspect and verifiers."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

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
)


def items(message: dict[str, Any]) -> Iterator[Item]:
    """Yields the items of a message. Raises KeyError, TypeError or ValueError where it is none."""
    role, given = message["role"], message.get("content")
    parts: list[dict[str, Any]] = [{"type": "text", "text": given}] if isinstance(given, str) else list(given or ())
    if role == "tool":
        yield FunctionCallOutput(call_id=str(message.get("tool_call_id") or ""), output=list(map(_content, parts)))
        return
    if role != "assistant":
        is_text = isinstance(given, str)
        yield Message(role, given if is_text else [_content(part) for part in parts if part["type"] != "reasoning"])
        return
    if thought := message.get("reasoning_content") or message.get("reasoning"):
        yield Reasoning(content=[ReasoningText(thought)])
    for part in parts:
        if part["type"] == "reasoning":
            yield Reasoning(content=[ReasoningText(part["reasoning"])])
        elif part["type"] in ("text", "output_text") and (part["text"] or not message.get("tool_calls")):
            yield Message("assistant", part["text"])
    yield from map(_call, message.get("tool_calls") or ())


def plain(given: Iterable[Item]) -> Any:
    """Returns items as a row's cell has them."""
    return msgspec.to_builtins(list(given))


def _content(part: dict[str, Any]) -> Content:
    match part:
        case {"type": "text" | "input_text" | "output_text", "text": str(text)}:
            return InputText(text)
        case {"type": "image_url", "image_url": {"url": str(place)}} | {"type": "image", "image": str(place)}:
            return InputImage(image_url=place)
        case _:
            return InputText(f"(a part of type {part['type']})")


def _call(call: Any) -> FunctionCall:
    """A call of a tool. verifiers writes some as JSON texts, and Inspect the arguments as an object."""
    stated: dict[str, Any] = msgspec.json.decode(call) if isinstance(call, str) else call
    named: Any = stated.get("function", stated)
    name, arguments = (named, stated["arguments"]) if isinstance(named, str) else (named["name"], named["arguments"])
    text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
    return FunctionCall(call_id=str(stated["id"]), name=name, arguments=text)

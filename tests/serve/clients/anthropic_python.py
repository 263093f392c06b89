"""Anthropic's SDK: the Messages API."""

import json
import sys
from typing import Any

import anthropic

sdk = anthropic.Anthropic(base_url=sys.argv[1], api_key="none", max_retries=2, timeout=20)
TOOL = {
    "name": "add",
    "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
}
HOSTED = {"type": "web_search_20250305", "name": "web_search"}


def ask(text: str, *more: Any, **settings: Any) -> Any:
    messages = [{"role": "user", "content": text}, *more]
    return sdk.messages.create(model="m", max_tokens=4096, messages=messages, **settings)  # type: ignore[call-overload]


def text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def streamed(text: str, **settings: Any) -> tuple[Any, list[Any]]:
    asked: Any = {"model": "m", "max_tokens": 4096, "messages": [{"role": "user", "content": text}], **settings}
    with sdk.messages.stream(**asked) as stream:
        events = list(stream)
        return stream.get_final_message(), events


def error() -> int | None:
    try:
        streamed("fail")
    except anthropic.AuthenticationError as error:
        return error.status_code
    return None


message, events = streamed("text", thinking={"type": "enabled", "budget_tokens": 1024})
called, _ = streamed("tools", tools=[TOOL, HOSTED])
(call,) = [block for block in called.content if block.type == "tool_use"]
result = {"type": "tool_result", "tool_use_id": call.id, "content": str(sum(call.input.values()))}
answers = ({"role": "assistant", "content": called.content}, {"role": "user", "content": [result]})
made = {
    "text": text_of(ask("text")),
    "stream": "".join(event.text for event in events if event.type == "text"),
    "reasoning": "".join(event.thinking for event in events if event.type == "thinking"),
    "tools": text_of(ask("tools", *answers, tools=[TOOL, HOSTED])),
    "error": error(),
}
print(json.dumps({"messages": made}))

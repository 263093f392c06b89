"""What both directions of Chat Completions share: finish reasons, usage, reasoning and calls."""

from typing import Any

import msgspec
from msgspec import Struct

from assay.types import (
    FunctionCall,
    Reasoning,
    ReasoningText,
    Response,
    Usage,
)

BROKEN = ("error", "abort", "insufficient_system_resource")
"""Finish reasons of a completion that the server broke off: OpenRouter's and Mistral's, vLLM's and SGLang's,
DeepSeek's."""


INCOMPLETE = {
    "length": "max_output_tokens",
    "model_length": "max_output_tokens",  # Mistral, at the end of the context
    "content_filter": "content_filter",
}
"""Why a completion is incomplete, by its finish reason. Any other, known or not, ends a whole answer."""


def finish_reason(response: Response) -> str:
    if response.status == "incomplete":
        return "content_filter" if response.incomplete_reason == "content_filter" else "length"
    return "tool_calls" if any(isinstance(item, FunctionCall) for item in response.output) else "stop"


class _Details(Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class WireUsage(Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


def read_usage(wire: WireUsage) -> Usage:
    cached, reasoning = wire.prompt_tokens_details, wire.completion_tokens_details
    return Usage(
        input_tokens=wire.prompt_tokens or 0,
        output_tokens=wire.completion_tokens or 0,
        cached_tokens=(cached.cached_tokens or 0) if cached else 0,
        reasoning_tokens=(reasoning.reasoning_tokens or 0) if reasoning else 0,
    )


def wire_usage(usage: Usage) -> dict[str, Any] | None:
    """Null where the model's server does not count."""
    if not usage.input_tokens and not usage.output_tokens:
        return None
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


_DETAILS = '{"reasoning_details":'
"""How `encrypted_content` begins where it holds OpenRouter's list. What other APIs encrypt is no JSON."""


def thought(text: str, details: list[Any] | None) -> Reasoning:
    """A reasoning item that holds a message's `reasoning_details` too, unchanged, as JSON in `encrypted_content`."""
    kept = msgspec.json.encode({"reasoning_details": details}).decode() if details else None
    return Reasoning(content=[ReasoningText(text=text)] if text else None, encrypted_content=kept)


def reasoning_details(item: Reasoning) -> list[Any]:
    """The `reasoning_details` that a reasoning item holds; none where it came without."""
    kept = item.encrypted_content or ""
    return msgspec.json.decode(kept)["reasoning_details"] if kept.startswith(_DETAILS) else []


def wire_call(call: FunctionCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.call_id, "type": "function", "function": function}

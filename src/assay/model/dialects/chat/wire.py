"""What both directions of Chat Completions share: finish reasons, usage, reasoning, calls, and tokens."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from assay.errors import ModelError
from assay.model.dialects.ends import end_of
from assay.model.http import error_of
from assay.types import (
    FunctionCall,
    Reasoning,
    ReasoningText,
    Response,
    TokenIds,
    Usage,
)

BESIDE_TEXT = ("logprobs", "token_ids", "native_finish_reason")
"""What the choices of a stream have beside their text and their end."""
FAILED = ("failed", "error", "cancelled")
"""What a body's status says of one that holds no answer."""


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
    total_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


def read_usage(wire: WireUsage | None) -> Usage:
    """Returns the usage; zeros if the server does not count. Gemini counts thinking in the total alone."""
    if wire is None:
        return Usage()
    cached, reasoning = wire.prompt_tokens_details, wire.completion_tokens_details
    prompt = wire.prompt_tokens or 0
    return Usage(
        input_tokens=prompt,
        output_tokens=max(wire.completion_tokens or 0, (wire.total_tokens or 0) - prompt if prompt else 0),
        cached_tokens=(cached.cached_tokens or 0) if cached else 0,
        reasoning_tokens=(reasoning.reasoning_tokens or 0) if reasoning else 0,
    )


def wire_usage(usage: Usage) -> dict[str, Any] | None:
    """Returns the usage as the API has it; None if the model's server does not count."""
    if not usage.input_tokens and not usage.output_tokens:
        return None
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


class _TokenLogprob(Struct):
    logprob: float


class _Logprobs(Struct):
    content: list[_TokenLogprob] | None = None
    token_logprobs: list[float | None] | None = None
    """What the older completions have in place of `content`, except for llama.cpp's."""


class Choice(Struct, kw_only=True):
    """What a choice has beside its text."""

    finish_reason: str | None = None
    native_finish_reason: str | None = None
    """OpenRouter's: the word of the provider behind it."""
    logprobs: _Logprobs | None = None
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None
    error: Any = None
    """OpenRouter's, where the provider behind it broke off."""

    @property
    def fault(self) -> Any:
        """The error object that it holds; None where it holds none."""
        return self.error

    @property
    def end(self) -> str | None:
        """The finish reason; the provider's own where that one says that it broke off."""
        return self.native_finish_reason if end_of(self.native_finish_reason) == "broken" else self.finish_reason


class Completion(Struct, kw_only=True):
    """What a completion has beside its choices."""

    id: str | None = None
    model: str | None = None
    usage: WireUsage | None = None
    prompt_token_ids: list[int] | None = None
    status: Any = None
    """What some proxies say beside the answer; it is no answer where it is `failed` or the like."""
    error: Any = None


def check(wire: Completion, choices: Sequence[Choice]) -> None:
    """Raises ModelError if a completion looks like an answer and says that it failed."""
    error = wire.error or (choices and choices[0].fault)
    if not error and wire.status in FAILED:
        error = {"message": f"status {wire.status}"}
    if error:
        raise error_of(error)
    if not choices:
        raise ModelError("bad_response", "the completion has no choices", retryable=True)


def read_tokens(wire: Completion, choice: Choice) -> TokenIds | None:
    """Returns token ids and log-probabilities; None if the server gives neither."""
    logprobs: list[float | None] = []
    if choice.logprobs:
        logprobs = choice.logprobs.token_logprobs or [token.logprob for token in choice.logprobs.content or []]
    if choice.token_ids is None and not logprobs:
        return None
    return TokenIds(
        prompt=choice.prompt_token_ids or wire.prompt_token_ids or [],
        output=choice.token_ids or [],
        # Where one is missing the others would stand at the wrong tokens.
        output_logprobs=[] if None in logprobs else [logprob for logprob in logprobs if logprob is not None],
    )


_DETAILS = '{"reasoning_details":'
"""How `encrypted_content` begins where it holds OpenRouter's list. What other APIs encrypt is no JSON."""


def reasoning_item(text: str, details: list[Any] | None) -> Reasoning:
    """Returns a reasoning item with a message's `reasoning_details`, unchanged, as JSON in `encrypted_content`."""
    kept = msgspec.json.encode({"reasoning_details": details}).decode() if details else None
    return Reasoning(content=[ReasoningText(text=text)] if text else None, encrypted_content=kept)


def reasoning_details(item: Reasoning) -> list[Any]:
    """Returns the `reasoning_details` in a reasoning item; an empty list if it has none."""
    kept = item.encrypted_content or ""
    return msgspec.json.decode(kept)["reasoning_details"] if kept.startswith(_DETAILS) else []


def wire_call(call: FunctionCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.call_id, "type": "function", "function": function}

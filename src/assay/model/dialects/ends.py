"""Why an answer ends: the reasons of all servers, by what they mean."""

from collections.abc import Mapping
from typing import Literal

from assay.errors import ModelError

End = Literal["complete", "malformed", "max_output_tokens", "content_filter", "broken"]
_WORDS: Mapping[End, str] = {
    "complete": "stop eos eos_token end_turn stop_sequence tool_calls tool_use function_call",
    # Gemini's words for a call that the model wrote wrongly. It comes without an answer.
    "malformed": "malformed_function_call unexpected_tool_call too_many_tool_calls",
    "max_output_tokens": "length max_tokens max_output_tokens model_length model_context_window_exceeded",
    # Z.ai says sensitive, Bedrock the last two of the line, Gemini those of the next, in capitals.
    "content_filter": """content_filter refusal sensitive guardrail_intervened content_filtered
        safety prohibited_content recitation blocklist spii image_safety image_prohibited_content""",
    # OpenRouter and Mistral; vLLM and SGLang; DeepSeek; Z.ai.
    "broken": "error abort insufficient_system_resource network_error",
}
"""By meaning. Gemini: https://ai.google.dev/api/generate-content#FinishReason, passed on in capitals
(https://github.com/HKUDS/Vibe-Trading/pull/308); DeepSeek: https://api-docs.deepseek.com/api/create-chat-completion;
Bedrock: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html; the context window of Z.ai:
https://github.com/anomalyco/opencode/pull/18814."""
INCOMPLETE = ("max_output_tokens", "content_filter")
_ENDS: dict[str, End] = {word: end for end, words in _WORDS.items() for word in words.split()}


def end_of(reason: str | None) -> End | None:
    """Returns the meaning of a finish or stop reason; None if it is missing or unknown.

    Gemini writes capitals, and what the filter found after a colon: `content_filter: PROHIBITED_CONTENT`. A reason with
    a broken one after the colon is broken: `stop: error`.
    """
    if reason is None:
        return None
    first, _, second = (part.strip().lower() for part in reason.partition(":"))
    return "broken" if _ENDS.get(second) == "broken" else _ENDS.get(first)


def incomplete_reason(reason: str | None, *, answered: bool) -> str | None:
    """Returns why a completion is incomplete; None if it is complete. An answer with an unknown reason is complete.

    Raises ModelError if the server broke off, or if there is no answer and no known reason for that.
    """
    end = end_of(reason)
    if end == "broken" or (end is None and not answered):
        message = f"the server broke off: no answer and no end of it (finish_reason {reason})"
        raise ModelError("bad_response", message, retryable=True)
    return end if end in INCOMPLETE else None

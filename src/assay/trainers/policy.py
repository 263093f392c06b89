"""A model behind a trainer's sampler, which takes and gives token ids: ids are carried from turn to turn."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import uuid4

import msgspec

from assay.config import ModelConfig
from assay.errors import ModelError
from assay.model.dialects import thinking
from assay.model.dialects.chat.client import messages
from assay.types import FunctionCall, Item, Message, Request, Response, TokenIds, Usage

POLICY = ModelConfig(dialect="local", id="policy")
Sample = Callable[[list[int], Request], Awaitable[tuple[list[int], list[float]]]]
"""From a prompt's ids to the ids of an answer and the log-probability of each."""
_CALL, _CALL_END = "<tool_call>", "</tool_call>"


class TokenModel:
    """Renders by the tokenizer's chat template, samples, and reads reasoning and calls out of the text.

    One object is one rollout's: where a conversation goes on, its prompt is all ids that came before, and the ids of
    what is new. Calls are read as Hermes and Qwen write them, `<tool_call>{"name": …, "arguments": {…}}</tool_call>`.
    """

    def __init__(
        self, sample: Sample, tokenizer: Any, *, server: ModelConfig = POLICY, ends: Sequence[int] | None = None
    ) -> None:
        self._sample, self._tokenizer, self._server = sample, tokenizer, server
        self._ends = frozenset(ends or [tokenizer.eos_token_id])
        self._ids: list[int] = []
        self._text = ""

    async def respond(self, request: Request) -> Response:
        """Raises ModelError where the chat template refuses the messages."""
        prompt, text = self._prompt(request)
        output, logprobs = await self._sample(prompt, request)
        self._ids, self._text = prompt + output, text  # only now: a request that fails is asked again
        return answer(output, self._tokenizer, self._server, self._ends, prompt=prompt, logprobs=logprobs)

    def _prompt(self, request: Request) -> tuple[list[int], str]:
        """Returns the prompt's ids, and its text as the chat template has it.

        What the model said is not rendered again, for a template may write it otherwise than the model did.
        """
        said = messages(request.input)
        text = self._render(request, said)
        at = max((place for place, one in enumerate(said) if one["role"] == "assistant"), default=0)
        if self._ids and at and self._render(request, said[:at]) == self._text:
            through = self._render(request, said[: at + 1], ends=True)
            if text.startswith(through):
                new = through.rpartition(self._tokenizer.eos_token)[2] + text[len(through) :]
                return self._ids + self._tokenizer.encode(new, add_special_tokens=False), text
        return self._tokenizer.encode(text, add_special_tokens=False), text

    def _render(self, request: Request, said: list[dict[str, Any]], *, ends: bool = False) -> str:
        tools = [{"type": "function", "function": _schema(tool)} for tool in request.tools]
        try:
            return self._tokenizer.apply_chat_template(
                said, tools=tools or None, add_generation_prompt=not ends, tokenize=False
            )
        except Exception as error:
            raise ModelError("bad_request", f"the chat template refuses: {error}", retryable=False) from error


def answer(
    output: Sequence[int],
    tokenizer: Any,
    server: ModelConfig,
    ends: frozenset[int],
    *,
    prompt: Sequence[int] = (),
    logprobs: Sequence[float] = (),
) -> Response:
    """Returns what was sampled as Responses items. It was cut if its last token is none of `ends`."""
    ended = bool(output) and output[-1] in ends
    # Special tokens stay, for in some models the marks of thinking are such tokens.
    text: str = tokenizer.decode(list(output[:-1] if ended else output), skip_special_tokens=False)
    opened = server.reasoning == "tags"
    items = thinking.items(text, complete=ended, opened=opened, tags=server.thinking_tags)
    return Response(
        output=[part for item in items for part in _with_calls(item)],
        status="completed" if ended else "incomplete",
        incomplete_reason=None if ended else "max_output_tokens",
        usage=Usage(input_tokens=len(prompt), output_tokens=len(output)),
        tokens=TokenIds(prompt=list(prompt), output=list(output), output_logprobs=list(logprobs)),
    )


def answer_text(text: str) -> Response:
    """Returns a text that a trainer has read already as a completed answer; what it thought is taken out."""
    return Response(output=thinking.items(text))


def _with_calls(item: Item) -> list[Item]:
    """Returns an item with the calls that its text holds as items of their own. What can't be read stays text."""
    if not isinstance(item, Message) or _CALL not in item.text:
        return [item]
    before, *rest = item.text.split(_CALL)
    calls: list[Item] = []
    for part in rest:
        try:
            call = msgspec.json.decode(part.partition(_CALL_END)[0], type=_Call)
        except (msgspec.DecodeError, msgspec.ValidationError):
            return [item]
        arguments = msgspec.json.encode(call.arguments).decode()
        calls.append(FunctionCall(f"call_{uuid4().hex}", call.name, arguments))
    return [thinking.message(before.strip()), *calls] if before.strip() else calls


class _Call(msgspec.Struct):
    name: str
    arguments: dict[str, Any] = {}


def _schema(tool: Any) -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description or "", "parameters": tool.parameters}

"""A model behind a trainer's sampler, which takes and gives token ids: ids are carried from turn to turn."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from assay.config import ModelConfig
from assay.errors import ModelError
from assay.model.dialects import thinking
from assay.model.dialects.calls import items_of
from assay.model.dialects.chat.client import messages
from assay.model.dialects.token_history import TokenHistory
from assay.types import Request, Response, TokenIds, Tool, Usage

POLICY = ModelConfig(dialect="local", id="policy")
Sample = Callable[[list[int], Request], Awaitable[tuple[list[int], list[float]]]]
"""From a prompt's ids to the ids of an answer and the log-probability of each."""


class TokenModel:
    """Renders by the tokenizer's chat template, samples, and reads reasoning and calls out of the text.

    One object is one rollout's: if a conversation continues, its prompt is all ids that came before, and the ids of
    what is new.
    """

    def __init__(
        self, sample: Sample, tokenizer: Any, *, server: ModelConfig = POLICY, ends: Sequence[int] | None = None
    ) -> None:
        self._sample, self._tokenizer, self._server = sample, tokenizer, server
        self._ends = frozenset(ends or [tokenizer.eos_token_id])
        self._history = TokenHistory(partial(tokenizer.encode, add_special_tokens=False), tokenizer.eos_token)

    async def respond(self, request: Request) -> Response:
        """Raises ModelError where the chat template refuses the messages."""
        render = partial(self._render, request.tools)
        prompt = self._history.prompt(messages(request.input), render)
        output, logprobs = await self._sample(prompt, request)
        response = answer(output, self._tokenizer, self._server, self._ends, prompt=prompt, logprobs=logprobs)
        conversation = messages([*request.input, *response.output])
        self._history.keep(conversation, render, prompt + output, ended=response.status == "completed")
        return response

    def _render(self, tools: Sequence[Tool], conversation: list[dict[str, Any]], begin_answer: bool) -> str:
        functions = [{"type": "function", "function": _schema(tool)} for tool in tools]
        try:
            return self._tokenizer.apply_chat_template(
                conversation, tools=functions or None, add_generation_prompt=begin_answer, tokenize=False
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
    is_complete = bool(output) and output[-1] in ends
    # Special tokens stay, for in some models the marks of thinking are such tokens.
    text: str = tokenizer.decode(list(output[:-1] if is_complete else output), skip_special_tokens=False)
    return Response(
        output=items_of(text, server, complete=is_complete, scope=(prompt, output)),
        status="completed" if is_complete else "incomplete",
        incomplete_reason=None if is_complete else "max_output_tokens",
        usage=Usage(input_tokens=len(prompt), output_tokens=len(output)),
        tokens=TokenIds(prompt=list(prompt), output=list(output), output_logprobs=list(logprobs)),
    )


def answer_text(text: str) -> Response:
    """Returns a text that a trainer has read already as a completed answer; what it thought is taken out."""
    return Response(output=thinking.items(text))


def _schema(tool: Tool) -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description or "", "parameters": tool.parameters}

"""Chat Completions, as vLLM, SGLang, llama.cpp, Ollama and most providers speak it."""

from typing import Any

import msgspec
from msgspec import Struct

from assay.config import ModelConfig
from assay.errors import ModelError
from assay.model import thinking
from assay.model.http import ContextOverflow, Endpoint, decode
from assay.model.responses import overflowed, settings
from assay.types import (
    FunctionCall,
    FunctionCallOutput,
    InputImage,
    Item,
    Message,
    Reasoning,
    ReasoningText,
    Refusal,
    Request,
    Response,
    TokenIds,
    Usage,
)


class Chat:
    """A model behind `POST {base_url}/chat/completions`."""

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        self._endpoint = Endpoint(config)
        self._encode = msgspec.json.Encoder().encode
        self._decoder = msgspec.json.Decoder(_WireCompletion)

    async def respond(self, request: Request) -> Response:
        """The server's completion as Responses items. Raises ModelError."""
        config = self._config
        body: dict[str, Any] = {
            "model": config.id,
            "messages": messages(request.input, with_reasoning=config.reasoning == "field"),
        }
        body |= settings(config.sampling, request.sampling)
        if "max_output_tokens" in body:
            body["max_tokens"] = body.pop("max_output_tokens")
        if request.seed is not None:
            body["seed"] = request.seed
        if config.logprobs:
            body["logprobs"] = True
        if request.tools:
            body["tools"] = [{"type": "function", "function": tool} for tool in request.tools]
        body |= config.extra_body
        try:
            wire = decode(self._decoder, await self._endpoint.post("/chat/completions", self._encode(body)))
        except ContextOverflow as overflow:
            return overflowed(overflow)
        if not wire.choices:
            raise ModelError("bad_response", "the completion has no choices", retryable=True)
        return self._response(wire, wire.choices[0])

    def _response(self, wire: "_WireCompletion", choice: "_Choice") -> Response:
        said = choice.message
        complete = choice.finish_reason not in ("length", "content_filter")
        output: list[Item] = []
        field = said.reasoning_content or said.reasoning
        if field and self._config.reasoning != "none":
            output.append(Reasoning(content=[ReasoningText(text=field)]))
        if said.content is not None and (said.content or not said.tool_calls):
            if self._config.reasoning in ("auto", "tags"):
                output += thinking.items(said.content, complete=complete)
            else:
                output.append(thinking.message(said.content, complete=complete))
        if said.refusal:
            output.append(Message(role="assistant", content=[Refusal(refusal=said.refusal)]))
        output += [
            FunctionCall(call_id=call.id, name=call.function.name, arguments=call.function.arguments)
            for call in said.tool_calls or []
        ]
        if not output and complete:
            raise ModelError("bad_response", "the completion's message holds nothing at all", retryable=True)
        reason = "content_filter" if choice.finish_reason == "content_filter" else "max_output_tokens"
        return Response(
            output=output,
            status="completed" if complete else "incomplete",
            incomplete_reason=None if complete else reason,
            usage=_usage(wire.usage or _WireUsage()),
            model=wire.model,
            id=wire.id,
            tokens=_token_ids(wire, choice),
        )

    def identity(self) -> dict[str, str]:
        return {}

    async def aclose(self) -> None:
        await self._endpoint.aclose()


class _Function(Struct):
    name: str
    arguments: str = ""


class _ToolCall(Struct):
    function: _Function
    id: str = ""


class _Said(Struct):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _TokenLogprob(Struct):
    logprob: float


class _Logprobs(Struct):
    content: list[_TokenLogprob] | None = None


class _Choice(Struct):
    message: _Said
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None
    token_ids: list[int] | None = None


class _Details(Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _WireUsage(Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


class _WireCompletion(Struct):
    choices: list[_Choice]
    id: str | None = None
    model: str | None = None
    usage: _WireUsage | None = None
    prompt_token_ids: list[int] | None = None


def messages(items: list[Item], *, with_reasoning: bool = False) -> list[dict[str, Any]]:
    """Items as chat messages. Calls of one turn share the assistant message that made them, as the API wants it.

    Reasoning is left out, as chat templates do with earlier turns, unless the server takes it back in its field.
    """
    found: list[dict[str, Any]] = []
    thought = ""
    for item in items:
        if isinstance(item, Reasoning):
            thought = item.text if with_reasoning else ""
            continue
        if isinstance(item, FunctionCallOutput):
            found.append({"role": "tool", "tool_call_id": item.call_id, "content": item.output})
            continue
        if isinstance(item, FunctionCall):
            if not found or found[-1]["role"] != "assistant":
                found.append({"role": "assistant", "content": None})
            call = {"id": item.call_id, "type": "function"}
            function = {"name": item.name, "arguments": item.arguments}
            found[-1].setdefault("tool_calls", []).append({**call, "function": function})
        else:
            found.append({"role": item.role, "content": _content(item)})
        if thought and found[-1]["role"] == "assistant":
            found[-1]["reasoning_content"] = thought
            thought = ""
    return found


def _content(message: Message) -> str | list[dict[str, Any]]:
    if isinstance(message.content, str):
        return message.content
    if not any(isinstance(part, InputImage) for part in message.content):
        return "".join(part.refusal if isinstance(part, Refusal) else part.text for part in message.content)  # pyright: ignore
    return [
        {"type": "image_url", "image_url": {"url": part.image_url, "detail": part.detail}}
        if isinstance(part, InputImage)
        else {"type": "text", "text": part.refusal if isinstance(part, Refusal) else part.text}
        for part in message.content
    ]


def _usage(wire: _WireUsage) -> Usage:
    cached, reasoning = wire.prompt_tokens_details, wire.completion_tokens_details
    return Usage(
        input_tokens=wire.prompt_tokens,
        output_tokens=wire.completion_tokens,
        cached_tokens=(cached.cached_tokens or 0) if cached else 0,
        reasoning_tokens=(reasoning.reasoning_tokens or 0) if reasoning else 0,
    )


def _token_ids(wire: _WireCompletion, choice: _Choice) -> TokenIds | None:
    logprobs = choice.logprobs.content if choice.logprobs and choice.logprobs.content else []
    if choice.token_ids is None and not logprobs:
        return None
    return TokenIds(
        prompt=wire.prompt_token_ids or [],
        output=choice.token_ids or [],
        output_logprobs=[token.logprob for token in logprobs],
    )

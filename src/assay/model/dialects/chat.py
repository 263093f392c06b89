"""Chat Completions, as vLLM, SGLang, llama.cpp, Ollama and most providers speak it."""

import itertools
from typing import Any

import msgspec
from msgspec import Struct

from assay.config import ModelConfig
from assay.errors import ModelError
from assay.model.dialects import sse, thinking
from assay.model.dialects.responses import settings, without
from assay.model.http import Endpoint, told_error
from assay.types import (
    Content,
    Format,
    FunctionCall,
    FunctionCallOutput,
    InputImage,
    Item,
    JsonSchema,
    Message,
    NamedTool,
    Reasoning,
    ReasoningText,
    Refusal,
    Request,
    Response,
    TokenIds,
    ToolChoice,
    Usage,
)


class Chat:
    """A model behind `POST {base_url}/chat/completions`."""

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        self._endpoint = Endpoint(config, assemble=sse.completion)
        self._decoder = msgspec.json.Decoder(_WireCompletion)
        self._seen: str | None = None  # the field that this server gave reasoning in

    async def respond(self, request: Request) -> Response:
        """The server's completion as Responses items. Raises ModelError."""
        config = self._config
        body: dict[str, Any] = {"model": config.id, "messages": messages(request.input, self._reasoning_field())}
        body |= settings(config.sampling, request.sampling)
        if "max_output_tokens" in body:
            body[config.max_tokens_field] = body.pop("max_output_tokens")
        if request.seed is not None:
            body["seed"] = request.seed
        if config.logprobs:
            body["logprobs"] = True
        if request.tools:
            body["tools"] = [{"type": "function", "function": tool} for tool in request.tools]
            if request.tool_choice != "auto":
                body["tool_choice"] = _tool_choice(request.tool_choice)
            if request.parallel_tool_calls is not None:
                body["parallel_tool_calls"] = request.parallel_tool_calls
        if request.format:
            body["response_format"] = _format(request.format)
        if config.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        body = without(body, config.omit) | config.extra_body
        content = await self._endpoint.ask("/chat/completions", body, cap=config.max_tokens_field)
        wire = self._endpoint.decode(self._decoder, content)
        if error := wire.error or (wire.choices and wire.choices[0].error):
            # Beside what looks like an answer, it says that there is none, or that it broke off.
            raise told_error(error)
        if not wire.choices:
            raise ModelError("bad_response", "the completion has no choices", retryable=True)
        return self._response(wire, wire.choices[0], request)

    def _reasoning_field(self) -> str | None:
        """The field that takes reasoning back: the one that this server gave some in."""
        if self._config.reasoning == "field":
            return self._seen or "reasoning_content"
        return self._seen if self._config.reasoning == "auto" else None

    def _response(self, wire: "_WireCompletion", choice: "_Choice", request: Request) -> Response:
        said = choice.message
        reason = INCOMPLETE.get(choice.finish_reason or "")
        complete = reason is None
        called = [*(said.tool_calls or []), *([_ToolCall(said.function_call)] if said.function_call else [])]
        calls = _calls(called, request.input)
        output: list[Item] = []
        # Whatever `reasoning` says, what a server puts into the field is kept as reasoning: nothing it said is lost,
        # and none of it is read as an answer. "none" only leaves the text alone, tags and all.
        field = said.reasoning_content or said.reasoning or _thought(said.content)
        if said.reasoning_content or said.reasoning:
            self._seen = "reasoning_content" if said.reasoning_content else "reasoning"
        if field or said.reasoning_details:
            output.append(thought(field, said.reasoning_details))
        text = _text(said.content)
        if choice.finish_reason in BROKEN:
            message = f"the server broke off: no answer and no end of it (finish_reason {choice.finish_reason})"
            raise ModelError("bad_response", message, retryable=True)
        if text is None and complete and not calls and not said.refusal:
            if choice.finish_reason is None:
                raise ModelError("bad_response", "the completion's message holds no answer and no end", retryable=True)
            # The model ended its turn and said nothing, or all of it in thought: an empty answer.
            text = ""
        if text or (text == "" and not calls and not said.refusal):
            if self._config.reasoning in ("auto", "tags"):
                opened = self._config.reasoning == "tags" and not field
                output += thinking.items(text, complete=complete, opened=opened)
            else:
                output.append(thinking.message(text, complete=complete))
        output = [*_declined(output, said.refusal), *calls] if said.refusal else [*output, *calls]
        return Response(
            output=output,
            status="completed" if complete else "incomplete",
            incomplete_reason=reason,
            usage=usage(wire.usage or WireUsage()),
            model=wire.model,
            id=wire.id,
            tokens=_token_ids(wire, choice),
        )

    async def aclose(self) -> None:
        await self._endpoint.aclose()


BROKEN = ("error", "abort", "insufficient_system_resource")
"""Finish reasons of a completion that the server broke off: OpenRouter's and Mistral's, vLLM's and SGLang's,
DeepSeek's."""
INCOMPLETE = {
    "length": "max_output_tokens",
    "model_length": "max_output_tokens",  # Mistral, at the end of the context
    "content_filter": "content_filter",
}
"""Why a completion is incomplete, by its finish reason. Any other, known or not, ends a whole answer."""


def _declined(output: list[Item], refusal: str) -> list[Item]:
    """The output with a refusal, which is a part of the message where there is one."""
    last = output[-1] if output else None
    if isinstance(last, Message) and not isinstance(last.content, str):
        return [*output[:-1], msgspec.structs.replace(last, content=[*last.content, Refusal(refusal=refusal)])]
    return [*output, Message(role="assistant", content=[Refusal(refusal=refusal)])]


class _Function(Struct):
    name: str
    arguments: str | None = None


class _ToolCall(Struct):
    function: _Function
    id: str | None = None


class _Part(Struct):
    """A piece of a message's content, as Mistral gives it where the model thinks."""

    text: str | None = None
    thinking: "str | list[_Part] | None" = None


class _Said(Struct):
    content: str | list[_Part] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[Any] | None = None
    """OpenRouter's: the reasoning of closed models as their own APIs give it, signed or encrypted."""
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None
    """What older servers have in place of `tool_calls`."""


class _TokenLogprob(Struct):
    logprob: float


class _Logprobs(Struct):
    content: list[_TokenLogprob] | None = None


class _Choice(Struct):
    message: _Said
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None
    token_ids: list[int] | None = None
    error: Any = None
    """OpenRouter's, where the provider behind it broke off."""


class _Details(Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class WireUsage(Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


class _WireCompletion(Struct):
    choices: list[_Choice]
    id: str | None = None
    model: str | None = None
    usage: WireUsage | None = None
    prompt_token_ids: list[int] | None = None
    error: Any = None


def messages(items: list[Item], reasoning_field: str | None = None) -> list[dict[str, Any]]:
    """Items as chat messages. Calls of one turn share the assistant message that made them, as the API wants it.

    `reasoning_field` is the field that takes back what was thought since the last user message: between the calls of
    one tool loop, where thinking models expect it. Earlier reasoning is left out, as chat templates do. So is all of it
    without a field: many servers refuse one that they don't know. `reasoning_details` go back wherever some came.
    Raises ModelError for an image by file id, which this API can't hold.
    """
    found: list[dict[str, Any]] = []
    asked = [index for index, item in enumerate(items) if isinstance(item, Message) and item.role == "user"]
    since = asked[-1] if asked else -1
    said: list[Message | Reasoning | FunctionCall] = []
    for index, item in enumerate(items):
        if isinstance(item, Reasoning | FunctionCall) or (isinstance(item, Message) and item.role == "assistant"):
            if index > since or not isinstance(item, Reasoning):
                said.append(item)
            continue
        found += _said(said, reasoning_field)
        said = []
        if isinstance(item, FunctionCallOutput):
            found.append({"role": "tool", "tool_call_id": item.call_id, "content": _content(item.output)})
        else:
            found.append({"role": item.role, "content": _content(item.content)})
    return found + _said(said, reasoning_field)


def _said(said: list[Message | Reasoning | FunctionCall], reasoning_field: str | None) -> list[dict[str, Any]]:
    """What the model said in one go: a chat message for each of its own, with what was thought before it.

    All calls are in the last one, wherever they stood: the tools' outputs have to follow the message that calls.
    """
    calls = [_wire_call(item) for item in said if isinstance(item, FunctionCall)]
    found = [_own(item) for item in said if isinstance(item, Message)]
    if calls:
        found = found or [{"role": "assistant", "content": None}]
        found[-1]["tool_calls"] = calls
    thoughts: list[list[Reasoning]] = [[] for _ in found]
    place = 0
    for item in said if found else []:
        if isinstance(item, Reasoning):
            thoughts[min(place, len(found) - 1)].append(item)
        elif isinstance(item, Message):
            place += 1
    return [message | _thoughts(before, reasoning_field) for message, before in zip(found, thoughts, strict=True)]


def _own(message: Message) -> dict[str, Any]:
    if isinstance(message.content, str):
        return {"role": "assistant", "content": message.content}
    refusal = "".join(part.refusal for part in message.content if isinstance(part, Refusal))
    content: list[Content] = [part for part in message.content if not isinstance(part, Refusal)]
    wire = {"role": "assistant", "content": _content(content) if content or not refusal else None}
    return {**wire, "refusal": refusal} if refusal else wire


def _wire_call(call: FunctionCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.call_id, "type": "function", "function": function}


def _thoughts(thoughts: list[Reasoning], reasoning_field: str | None) -> dict[str, Any]:
    details = [detail for item in thoughts for detail in reasoning_details(item)]
    text = "\n".join(item.text for item in thoughts if item.text and not reasoning_details(item))
    wire: dict[str, Any] = {"reasoning_details": details} if details else {}
    return {**wire, reasoning_field: text} if reasoning_field and text else wire


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


def _calls(called: "list[_ToolCall]", said_before: list[Item]) -> list[FunctionCall]:
    """Calls, each with an id of its own: some servers give none, or the same one twice."""
    ids = [call.id or "" for call in called]
    if not all(ids) or len(set(ids)) < len(ids):
        taken = {*ids, *(item.call_id for item in said_before if isinstance(item, FunctionCall))}
        fresh = (name for number in itertools.count() if (name := f"call_{number}") not in taken)
        ids = [name if name and name not in ids[:index] else next(fresh) for index, name in enumerate(ids)]
    return [
        FunctionCall(call_id=name, name=call.function.name, arguments=call.function.arguments or "")
        for name, call in zip(ids, called, strict=True)
    ]


def _content(content: str | list[Content]) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    if not any(isinstance(part, InputImage) for part in content):
        return "".join(part.refusal if isinstance(part, Refusal) else part.text for part in content)  # pyright: ignore
    return [_part(part) for part in content]


def _part(part: Content) -> dict[str, Any]:
    if not isinstance(part, InputImage):
        return {"type": "text", "text": part.refusal if isinstance(part, Refusal) else part.text}
    if part.image_url is None:
        message = f"Chat Completions take images by URL or data URL; file {part.file_id} can't be sent"
        raise ModelError("unsupported", message, retryable=False)
    return {"type": "image_url", "image_url": {"url": part.image_url, "detail": part.detail}}


def _tool_choice(choice: ToolChoice) -> Any:
    return {"type": "function", "function": {"name": choice.name}} if isinstance(choice, NamedTool) else choice


def _format(asked: Format) -> Any:
    """Chat Completions keep what describes a schema in an object of its own."""
    if not isinstance(asked, JsonSchema):
        return asked
    described = {name: value for name, value in msgspec.to_builtins(asked).items() if name != "type"}
    return {"type": "json_schema", "json_schema": described}


def _text(content: str | list[_Part] | None) -> str | None:
    return "".join(part.text or "" for part in content) if isinstance(content, list) else content


def _thought(content: str | list[_Part] | None) -> str:
    """What is thought in parts of their own."""
    if not isinstance(content, list):
        return ""
    return "\n".join(_text(part.thinking) or "" for part in content if part.thinking)


def usage(wire: WireUsage) -> Usage:
    cached, reasoning = wire.prompt_tokens_details, wire.completion_tokens_details
    return Usage(
        input_tokens=wire.prompt_tokens or 0,
        output_tokens=wire.completion_tokens or 0,
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

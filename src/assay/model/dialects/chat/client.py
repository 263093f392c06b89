"""Chat Completions, as vLLM, SGLang, llama.cpp, Ollama and most providers speak it."""

import itertools
from typing import Any

import msgspec
from msgspec import Struct

from assay.config import ModelConfig
from assay.errors import ModelError
from assay.model.dialects import sse, thinking
from assay.model.dialects.chat.wire import (
    BROKEN,
    INCOMPLETE,
    WireUsage,
    read_usage,
    reasoning_details,
    thought,
    wire_call,
)
from assay.model.dialects.settings import settings, without
from assay.model.http import Endpoint, error_of
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
    Refusal,
    Request,
    Response,
    TokenIds,
    ToolChoice,
)


class Chat:
    """Asks a model behind `POST {base_url}/chat/completions`."""

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        self._endpoint = Endpoint(config, assemble=assemble)
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
            raise error_of(error)
        if not wire.choices:
            raise ModelError("bad_response", "the completion has no choices", retryable=True)
        return self._response(wire, wire.choices[0], request)

    def _reasoning_field(self) -> str | None:
        """The field that takes reasoning back: the one that this server gave some in."""
        if self._config.reasoning == "field":
            return self._seen or "reasoning_content"
        return self._seen if self._config.reasoning == "auto" else None

    def _response(self, wire: "_WireCompletion", choice: "_Choice", request: Request) -> Response:
        reply = choice.message
        reason = INCOMPLETE.get(choice.finish_reason or "")
        complete = reason is None
        called = [*(reply.tool_calls or []), *([_ToolCall(reply.function_call)] if reply.function_call else [])]
        calls = _calls(called, request.input)
        output: list[Item] = []
        # Whatever `reasoning` says, what a server puts into the field is kept as reasoning: nothing it said is lost,
        # and none of it is read as an answer. "none" only leaves the text alone, tags and all.
        field = reply.reasoning_content or reply.reasoning or _thought(reply.content)
        if reply.reasoning_content or reply.reasoning:
            self._seen = "reasoning_content" if reply.reasoning_content else "reasoning"
        if field or reply.reasoning_details:
            output.append(thought(field, reply.reasoning_details))
        text = _text(reply.content)
        if choice.finish_reason in BROKEN:
            message = f"the server broke off: no answer and no end of it (finish_reason {choice.finish_reason})"
            raise ModelError("bad_response", message, retryable=True)
        if text is None and complete and not calls and not reply.refusal:
            if choice.finish_reason is None:
                raise ModelError("bad_response", "the completion's message holds no answer and no end", retryable=True)
            # The model ended its turn and said nothing, or all of it in thought: an empty answer.
            text = ""
        if text or (text == "" and not calls and not reply.refusal):
            if self._config.reasoning in ("auto", "tags"):
                opened = self._config.reasoning == "tags" and not field
                output += thinking.items(text, complete=complete, opened=opened)
            else:
                output.append(thinking.message(text, complete=complete))
        output = [*_declined(output, reply.refusal), *calls] if reply.refusal else [*output, *calls]
        return Response(
            output=output,
            status="completed" if complete else "incomplete",
            incomplete_reason=reason,
            usage=read_usage(wire.usage or WireUsage()),
            model=wire.model,
            id=wire.id,
            tokens=_token_ids(wire, choice),
        )

    async def aclose(self) -> None:
        await self._endpoint.aclose()


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


class _Reply(Struct):
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
    message: _Reply
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None
    token_ids: list[int] | None = None
    error: Any = None
    """OpenRouter's, where the provider behind it broke off."""


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
    wire_messages: list[dict[str, Any]] = []
    from_user = [index for index, item in enumerate(items) if isinstance(item, Message) and item.role == "user"]
    last_user = from_user[-1] if from_user else -1
    turn: list[Message | Reasoning | FunctionCall] = []
    for index, item in enumerate(items):
        if isinstance(item, Reasoning | FunctionCall) or (isinstance(item, Message) and item.role == "assistant"):
            if index > last_user or not isinstance(item, Reasoning):
                turn.append(item)
            continue
        wire_messages += _assistant_messages(turn, reasoning_field)
        turn = []
        if isinstance(item, FunctionCallOutput):
            wire_messages.append({"role": "tool", "tool_call_id": item.call_id, "content": _content(item.output)})
        else:
            wire_messages.append({"role": item.role, "content": _content(item.content)})
    return wire_messages + _assistant_messages(turn, reasoning_field)


def _assistant_messages(
    turn: list[Message | Reasoning | FunctionCall], reasoning_field: str | None
) -> list[dict[str, Any]]:
    """Returns the items of one turn as chat messages: one for each message, with the reasoning before it.

    All calls are in the last one, wherever they stood: the tools' outputs have to follow the message that calls.
    """
    calls = [wire_call(item) for item in turn if isinstance(item, FunctionCall)]
    wire_messages = [_assistant_message(item) for item in turn if isinstance(item, Message)]
    if calls:
        wire_messages = wire_messages or [{"role": "assistant", "content": None}]
        wire_messages[-1]["tool_calls"] = calls
    thoughts: list[list[Reasoning]] = [[] for _ in wire_messages]
    place = 0
    for item in turn if wire_messages else []:
        if isinstance(item, Reasoning):
            thoughts[min(place, len(wire_messages) - 1)].append(item)
        elif isinstance(item, Message):
            place += 1
    return [
        message | _thoughts(before, reasoning_field) for message, before in zip(wire_messages, thoughts, strict=True)
    ]


def _assistant_message(message: Message) -> dict[str, Any]:
    if isinstance(message.content, str):
        return {"role": "assistant", "content": message.content}
    refusal = "".join(part.refusal for part in message.content if isinstance(part, Refusal))
    content: list[Content] = [part for part in message.content if not isinstance(part, Refusal)]
    wire = {"role": "assistant", "content": _content(content) if content or not refusal else None}
    return {**wire, "refusal": refusal} if refusal else wire


def _thoughts(thoughts: list[Reasoning], reasoning_field: str | None) -> dict[str, Any]:
    details = [detail for item in thoughts for detail in reasoning_details(item)]
    text = "\n".join(item.text for item in thoughts if item.text and not reasoning_details(item))
    wire: dict[str, Any] = {"reasoning_details": details} if details else {}
    return {**wire, reasoning_field: text} if reasoning_field and text else wire


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


def _token_ids(wire: _WireCompletion, choice: _Choice) -> TokenIds | None:
    logprobs = choice.logprobs.content if choice.logprobs and choice.logprobs.content else []
    if choice.token_ids is None and not logprobs:
        return None
    return TokenIds(
        prompt=wire.prompt_token_ids or [],
        output=choice.token_ids or [],
        output_logprobs=[token.logprob for token in logprobs],
    )


def assemble(stream: bytes) -> bytes:
    """The Chat Completion that chunks add up to. Raises ModelError."""
    whole: dict[str, Any] = {}
    choice: dict[str, Any] = {"finish_reason": None, "message": {}}
    calls: dict[Any, Any] = {}
    for chunk in sse.decoded(stream):
        sse.check(chunk)
        whole |= {name: value for name, value in chunk.items() if name != "choices" and value is not None}
        for piece in sse.each(chunk.get("choices")):
            if piece.get("index"):
                continue
            sse.check(piece)
            choice["finish_reason"] = piece.get("finish_reason") or choice["finish_reason"]
            delta = sse.fields(piece.get("delta"))
            for call in sse.each(delta.pop("tool_calls", None)):
                _add_call(calls, call)
            sse.add(choice["message"], delta)
            sse.add(choice, {name: piece[name] for name in ("logprobs", "token_ids") if piece.get(name)})
    if choice["finish_reason"] is None:
        raise sse.cut()
    if calls:
        choice["message"]["tool_calls"] = list(calls.values())
    return msgspec.json.encode({**whole, "choices": [choice]})


def _add_call(calls: dict[Any, Any], call: Any) -> None:
    """A piece of a call belongs to the call of its index. Servers that tell none give an id with each new call."""
    index = call.get("index")
    if index is None:
        index = len(calls) if call.get("id") or not calls else next(reversed(calls))
    function = sse.fields(call.get("function"))
    known = calls.setdefault(index, {"id": None, "type": "function", "function": {"name": "", "arguments": ""}})
    known["id"] = known["id"] or call.get("id")
    known["function"]["name"] = known["function"]["name"] or function.get("name") or ""
    known["function"]["arguments"] += function.get("arguments") or ""

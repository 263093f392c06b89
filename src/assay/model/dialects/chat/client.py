"""Chat Completions, as vLLM, SGLang, llama.cpp, Ollama and most providers speak it."""

import itertools
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from assay.config import ModelConfig
from assay.errors import ModelError
from assay.model.dialects import thinking
from assay.model.dialects.chat.stream import assemble
from assay.model.dialects.chat.wire import (
    Choice,
    Completion,
    check,
    read_tokens,
    read_usage,
    reasoning_details,
    reasoning_item,
    wire_call,
)
from assay.model.dialects.ends import INCOMPLETE, end_of, incomplete_reason
from assay.model.dialects.reports import response_to_report
from assay.model.dialects.settings import settings, without
from assay.model.http import Endpoint, ReportedAnswer
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
    ToolChoice,
)


class Chat:
    """Asks a model behind `POST {base_url}/chat/completions`."""

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        self._endpoint = Endpoint(config, assemble=assemble)
        self._decoder = msgspec.json.Decoder(_WireCompletion)
        self._seen: str | None = None  # the field that this server gave reasoning in
        self._send = config.send_reasoning
        if self._send == "auto" and _is_deepseek(config):
            self._send = "tools"

    async def respond(self, request: Request) -> Response:
        """Returns the server's completion as Responses items. Raises ModelError."""
        config = self._config
        sent = messages(
            request.input,
            self._reasoning_field(),
            tools=self._send == "tools",
            tags=config.thinking_tags if self._send == "tags" else (),
        )
        body: dict[str, Any] = {"model": config.id, "messages": sent}
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
        try:
            content = await self._endpoint.ask("/chat/completions", body, cap=config.max_tokens_field)
            wire = self._endpoint.decode(self._decoder, content)
            check(wire, wire.choices)
        except ReportedAnswer as answer:
            return response_to_report(answer, request)
        return self._response(wire, wire.choices[0], request)

    def _reasoning_field(self) -> str | None:
        """Returns the field that takes reasoning back: the one in which this server sent some."""
        if self._send == "tags":
            return None
        if self._send in ("loop", "tools") or self._config.reasoning == "field":
            return self._seen or "reasoning_content"
        return self._seen if self._config.reasoning == "auto" else None

    def _response(self, wire: "_WireCompletion", choice: "_Choice", request: Request) -> Response:
        reply = choice.message or _Reply()
        end = end_of(choice.end)
        complete = end not in INCOMPLETE
        called = [*(reply.tool_calls or []), *([_ToolCall(reply.function_call)] if reply.function_call else [])]
        calls = _calls(called, request.input)
        output: list[Item] = []
        # Whatever `reasoning` says, what a server puts into the field is kept as reasoning: nothing it said is lost,
        # and none of it is read as an answer. "none" only leaves the text alone, tags and all.
        field = reply.reasoning_content or reply.reasoning or _thinking_text(reply.content)
        if reply.reasoning_content or reply.reasoning:
            self._seen = "reasoning_content" if reply.reasoning_content else "reasoning"
        if field or reply.reasoning_details:
            output.append(reasoning_item(field, reply.reasoning_details))
        text = _text(reply.content)
        if text is None and complete and not calls and not reply.refusal:
            # The model ended its turn and said nothing, or all of it in thought: an empty answer.
            text = ""
        if text or (text == "" and not calls and not reply.refusal):
            if self._config.reasoning in ("auto", "tags"):
                opened = self._config.reasoning == "tags" and not field
                output += thinking.items(text, complete=complete, opened=opened, tags=self._config.thinking_tags)
            else:
                output.append(thinking.message(text, complete=complete))
        if end is None or end == "broken" or choice.message is None:
            answered = bool(calls or reply.refusal) or any(
                isinstance(item, Message) and item.text.strip() for item in output
            )
            # A choice without a message ends for one of the reasons that explain it, or not at all.
            reason = None if choice.message is None and end == "complete" else choice.end
            incomplete_reason(reason, answered=answered)
        output = [*_with_refusal(output, reply.refusal), *calls] if reply.refusal else [*output, *calls]
        return Response(
            output=output,
            status="completed" if complete else "incomplete",
            incomplete_reason=None if complete else end,
            usage=read_usage(wire.usage),
            model=wire.model,
            id=wire.id,
            tokens=read_tokens(wire, choice),
        )

    async def aclose(self) -> None:
        await self._endpoint.aclose()


def _with_refusal(output: list[Item], refusal: str) -> list[Item]:
    """Returns the output with a refusal, as a part of the message if there is one."""
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
    error: Any = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[Any] | None = None
    """OpenRouter's: the reasoning of closed models as their own APIs give it, signed or encrypted."""
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None
    """What older servers have in place of `tool_calls`."""


class _Choice(Choice):
    message: _Reply | None = None
    """None where a filter let nothing through."""

    @property
    def fault(self) -> Any:
        return self.error or (self.message and self.message.error)


class _WireCompletion(Completion):
    choices: list[_Choice]


def _is_deepseek(config: ModelConfig) -> bool:
    """Returns whether the server is DeepSeek's own, or forwards to it under DeepSeek's names of models."""
    host = urlsplit(config.base_url or "").hostname or ""
    return host.endswith("deepseek.com") or (config.id.startswith("deepseek-") and "/" not in config.id)


def messages(
    items: list[Item], reasoning_field: str | None = None, *, tools: bool = False, tags: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Returns items as chat messages. Calls of one turn share the assistant message that made them, as the API
    requires.

    `reasoning_field` is the field that takes back what was thought since the last user message: between the calls of
    one tool loop, where thinking models expect it. Earlier reasoning is left out, as chat templates do. So is all of it
    without a field: many servers refuse one that they don't know. `reasoning_details` go back wherever some came.

    With `tools`, the reasoning of every earlier loop that called tools goes back too, and each message that calls has
    the field: DeepSeek refuses the request otherwise (https://api-docs.deepseek.com/guides/thinking_mode). With `tags`,
    what was thought goes back at the beginning of the text, between the first of them.
    Raises ModelError for an image by file id, which this API can't hold.
    """
    wire_messages: list[dict[str, Any]] = []
    loop, kept = 0, _loops(items, tools=tools)
    turn: list[Message | Reasoning | FunctionCall] = []

    def end_turn() -> None:
        if not turn:
            return
        said = _assistant_messages(turn, reasoning_field, tags)
        if tools and reasoning_field:
            said = [{reasoning_field: "", **message} if "tool_calls" in message else message for message in said]
        wire_messages.extend(said)
        turn.clear()

    for item in items:
        if isinstance(item, FunctionCallOutput):
            end_turn()
            wire_messages.append({"role": "tool", "tool_call_id": item.call_id, "content": _content(item.output)})
        elif isinstance(item, Message) and item.role != "assistant":
            end_turn()
            loop += item.role == "user"
            wire_messages.append({"role": item.role, "content": _content(item.content)})
        elif loop in kept or not isinstance(item, Reasoning):
            turn.append(item)
    end_turn()
    return wire_messages


def _loops(items: list[Item], *, tools: bool) -> set[int]:
    """Returns the loops whose reasoning goes back, each as the number of user messages before it."""
    loop, called = 0, set[int]()
    for item in items:
        if isinstance(item, Message):
            loop += item.role == "user"
        elif tools and isinstance(item, FunctionCall):
            called.add(loop)
    return called | {loop}


def _assistant_messages(
    turn: list[Message | Reasoning | FunctionCall], reasoning_field: str | None, tags: Sequence[str]
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
        _with_thoughts(message, before, reasoning_field, tags)
        for message, before in zip(wire_messages, thoughts, strict=True)
    ]


def _assistant_message(message: Message) -> dict[str, Any]:
    if isinstance(message.content, str):
        return {"role": "assistant", "content": message.content}
    refusal = "".join(part.refusal for part in message.content if isinstance(part, Refusal))
    content: list[Content] = [part for part in message.content if not isinstance(part, Refusal)]
    wire = {"role": "assistant", "content": _content(content) if content or not refusal else None}
    return {**wire, "refusal": refusal} if refusal else wire


def _with_thoughts(
    message: dict[str, Any], thoughts: list[Reasoning], reasoning_field: str | None, tags: Sequence[str]
) -> dict[str, Any]:
    if details := [detail for item in thoughts for detail in reasoning_details(item)]:
        message["reasoning_details"] = details
    text = "\n".join(item.text for item in thoughts if item.text and not reasoning_details(item))
    if text and reasoning_field:
        message[reasoning_field] = text
    elif text and tags and not isinstance(message["content"], list):
        message["content"] = thinking.wrap(text, tags) + (message["content"] or "")
    return message


def _calls(called: "list[_ToolCall]", said_before: list[Item]) -> list[FunctionCall]:
    """Returns the calls, each with a different id: some servers give none, or the same one twice."""
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


def _thinking_text(content: str | list[_Part] | None) -> str:
    """Returns the text of the parts that hold reasoning."""
    if not isinstance(content, list):
        return ""
    return "\n".join(_text(part.thinking) or "" for part in content if part.thinking)

"""The Messages API, as Anthropic and servers that follow it (vLLM, SGLang, LiteLLM) speak it."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from assay.config import ModelConfig
from assay.errors import ModelError
from assay.model.dialects import sse, thinking
from assay.model.dialects.ends import INCOMPLETE, end_of
from assay.model.dialects.messages.batches import MessagesBatches
from assay.model.dialects.messages.wire import (
    Block,
    Sent,
    ToolResultBlock,
    WireUsage,
    blocks_of,
    items_of,
    read_usage,
    thinking_blocks,
)
from assay.model.dialects.reports import response_to_report
from assay.model.dialects.settings import settings, without
from assay.model.http import Endpoint, ReportedAnswer, error_of
from assay.types import (
    FunctionCall,
    InputImage,
    Item,
    JsonSchema,
    Message,
    NamedTool,
    Reasoning,
    Refusal,
    Request,
    Response,
    Tool,
    ToolChoice,
    text_of,
)


class Messages:
    """Asks a model behind `POST {base_url}/messages`: Anthropic's own server unless a base URL is configured.

    The key goes into `x-api-key`. A server that wants a bearer token gets it by `headers_env`.
    """

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        self._endpoint = Endpoint(
            config,
            base_url="https://api.anthropic.com/v1",
            key_header="x-api-key",
            headers={"anthropic-version": "2023-06-01"},
            assemble=assemble,
        )
        self._decoder = msgspec.json.Decoder(_WireMessage)

    async def respond(self, request: Request) -> Response:
        """The server's message as Responses items. Raises ModelError, also for what this API has no words for."""
        # The API insists on the cap, so a request that doesn't fit can't be asked again without one.
        try:
            content = await self._endpoint.ask("/messages", self.body(request), cap="max_tokens", needed=True)
            return self.read(request, content)
        except ReportedAnswer as answer:
            return response_to_report(answer, request)

    def batches(self) -> MessagesBatches:
        """Returns the batch API of the same server."""
        return MessagesBatches(self._endpoint)

    def body(self, request: Request) -> dict[str, Any]:
        """Returns the JSON of a request. Raises ModelError for what this API has no words for."""
        config = self._config
        if config.logprobs:
            raise _unsupported_error("log-probabilities; set logprobs = false")
        body = self._body(request)
        if "max_tokens" not in body and "max_tokens" not in config.omit:
            # No default: where the output is cut decides scores, so it has to be somebody's choice.
            message = "the Messages API wants an output limit, and neither the benchmark nor the model server sets one"
            hint = "set sampling.max_output_tokens, such as --set sampling.max_output_tokens=16384"
            raise ModelError("bad_request", f"{message}; {hint}", retryable=False)
        return body

    def _body(self, request: Request) -> dict[str, Any]:
        config = self._config
        system, messages = conversation(request.input)
        body: dict[str, Any] = {"model": config.id, "messages": messages}
        if system:
            body["system"] = system
        body |= _sampling(settings(config.sampling, request.sampling), config.omit)
        if request.tools:
            body["tools"] = [_wire_tool(tool) for tool in request.tools]
            choice = _tool_choice(request.tool_choice, request.parallel_tool_calls)
            if choice != {"type": "auto"}:
                body["tool_choice"] = choice
        if isinstance(request.format, JsonSchema):
            body["output_config"] = {"format": {"type": "json_schema", "schema": request.format.definition}}
        elif request.format:
            raise _unsupported_error("JSON objects without a schema; ask for a JsonSchema")
        if config.stream:
            body["stream"] = True
        body = without(body, config.omit)
        output_config = body.get("output_config", {})
        body |= config.extra_body
        if output_config and "output_config" in config.extra_body:
            # Both are wanted: the format that the task asks for, and extra_body's effort.
            body["output_config"] = output_config | config.extra_body["output_config"]
        return body

    def read(self, request: Request, content: bytes) -> Response:
        """Returns the response in an answer to the request. Raises ModelError."""
        wire = self._endpoint.decode(self._decoder, content)
        if wire.error is not None:
            raise error_of(wire.error)
        end = end_of(wire.stop_reason)
        if end is None or end == "broken":
            raise _no_end(wire.stop_reason)
        reason = end if end in INCOMPLETE else None
        output = items_of(wire.content, "completed" if reason is None else "incomplete")
        if reason is None and not any(isinstance(item, Message | FunctionCall) for item in output):
            # The model ended its turn and said nothing, or all of it in thought: an empty answer.
            output.append(thinking.message(""))
        output = thinking.split_messages(output, self._config, complete=reason is None)
        if reason == "content_filter" and wire.stop_details and wire.stop_details.explanation:
            output.append(Message(role="assistant", content=[Refusal(refusal=wire.stop_details.explanation)]))
        return Response(
            output=output,
            status="completed" if reason is None else "incomplete",
            incomplete_reason=reason,
            usage=read_usage(wire.usage or WireUsage()),
            model=wire.model,
            id=wire.id,
        )

    async def aclose(self) -> None:
        await self._endpoint.aclose()


_SAMPLING = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stop": "stop_sequences",
    "max_output_tokens": "max_tokens",
}
"""The settings that the API has, and what it calls them."""


class _StopDetails(Struct):
    explanation: str | None = None


class _WireMessage(Struct):
    content: list[Block] = []
    stop_reason: str | None = None
    stop_details: _StopDetails | None = None
    id: str | None = None
    model: str | None = None
    usage: WireUsage | None = None
    error: Any = None


def conversation(items: list[Item]) -> tuple[str, list[dict[str, Any]]]:
    """The system prompt and the messages: one for all that the model said in a row, one for all that it was told.

    Outputs of parallel calls so share a message, and stand before what the user says, as the API wants it. Reasoning
    goes back where it stands, except after the last thing that the model said: no message may end in it.
    """
    system: list[str] = []
    messages: list[dict[str, Any]] = []
    thoughts: list[Sent] = []
    for item in items:
        if isinstance(item, Reasoning):
            thoughts += thinking_blocks(item)
            continue
        if isinstance(item, Message) and item.role in ("system", "developer"):
            system.append(_system_text(item))
            continue
        role, blocks = blocks_of(item)
        if not blocks:
            continue
        if role == "assistant":
            blocks = thoughts + blocks
        thoughts = []
        if not messages or messages[-1]["role"] != role:
            messages.append({"role": role, "content": []})
        messages[-1]["content"] += blocks
    for message in messages:
        message["content"].sort(key=_is_result, reverse=True)
    return "\n\n".join(filter(None, system)), messages


def _is_result(block: Sent) -> bool:
    return isinstance(block, ToolResultBlock)


def _system_text(message: Message) -> str:
    if not isinstance(message.content, str) and any(isinstance(part, InputImage) for part in message.content):
        raise _unsupported_error("images in a system prompt; put them into a user message")
    return text_of(message.content)


def _sampling(said: Mapping[str, Any], omit: list[str]) -> dict[str, Any]:
    """The settings by this API's names. Raises ModelError for what it doesn't have, unless that changes nothing."""
    for name, value in said.items():
        if name not in _SAMPLING and name not in omit and value:
            raise _unsupported_error(f'{name}; omit = ["{name}"] goes without it')
    return {_SAMPLING[name]: value for name, value in said.items() if name in _SAMPLING}


def _wire_tool(tool: Tool) -> dict[str, Any]:
    found: dict[str, Any] = {"name": tool.name, "input_schema": tool.parameters}
    if tool.description is not None:
        found["description"] = tool.description
    if tool.strict:
        found["strict"] = True
    return found


def _tool_choice(choice: ToolChoice, parallel: bool | None) -> dict[str, Any]:
    if isinstance(choice, NamedTool):
        found: dict[str, Any] = {"type": "tool", "name": choice.name}
    else:
        found = {"type": "any" if choice == "required" else choice}
    if parallel is False and choice != "none":
        found["disable_parallel_tool_use"] = True
    return found


def _unsupported_error(what: str) -> ModelError:
    return ModelError("unsupported", f"the Messages API has no {what}", retryable=False)


def _no_end(stop_reason: str | None) -> ModelError:
    if stop_reason == "pause_turn":
        message = "the server paused the turn (stop_reason pause_turn), as only its own tools make it; leave these out"
        return ModelError("unsupported", message, retryable=False)
    message = f"the message has the stop_reason {stop_reason!r}; expected one that is known, such as end_turn"
    return ModelError("bad_response", message, retryable=True)


def assemble(stream: bytes) -> bytes:
    """The message that the Messages API's events add up to. Raises ModelError."""
    whole: dict[str, Any] = {}
    blocks: dict[int, Any] = {}
    inputs: dict[int, str] = {}
    for event in sse.decode_events(stream):
        match event.get("type"):
            case "message_start":
                whole = event["message"]
            case "content_block_start":
                blocks[event["index"]] = event["content_block"]
            case "content_block_delta":
                _add_block(blocks[event["index"]], event["delta"], inputs, event["index"])
            case "message_delta":
                usage = {**sse.fields(whole.get("usage")), **sse.non_null(event.get("usage"))}
                whole = {**whole, **sse.non_null(event["delta"]), "usage": usage}
            case "message_stop":
                for index, text in inputs.items():
                    # Malformed input stays as the model wrote it: it is the model's mistake, and told to it.
                    blocks[index]["input"] = _json_or_text(text)
                return msgspec.json.encode({**whole, "content": [blocks[index] for index in sorted(blocks)]})
            case "error":
                raise error_of(event.get("error") or event)
            case _:
                pass
    raise sse.cut_error()


def _add_block(block: Any, delta: Any, inputs: dict[int, str], index: int) -> None:
    match delta.get("type"):
        case "text_delta":
            block["text"] = (block.get("text") or "") + (delta["text"] or "")
        case "thinking_delta":
            block["thinking"] = (block.get("thinking") or "") + (delta["thinking"] or "")
        case "signature_delta":
            block["signature"] = delta["signature"]
        case "input_json_delta":
            inputs[index] = inputs.get(index, "") + (delta["partial_json"] or "")
        case "citations_delta":
            block["citations"] = [*(block.get("citations") or []), delta["citation"]]
        case _:
            raise sse.malformed_error(f"a delta of type {delta.get('type')!r}")


def _json_or_text(text: str) -> Any:
    try:
        return msgspec.json.decode(text or "{}")
    except msgspec.DecodeError:
        return text

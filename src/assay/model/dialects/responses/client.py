"""The Responses API, as OpenAI and servers of the Open Responses specification speak it."""

from typing import Any

import msgspec
from msgspec import Struct, structs

from assay.config import ModelConfig
from assay.model.dialects import sse, thinking
from assay.model.dialects.responses.batches import ResponsesBatches
from assay.model.dialects.responses.wire import WireUsage, read_usage, wire_items
from assay.model.dialects.settings import settings, without
from assay.model.http import Endpoint, error_of
from assay.types import (
    Item,
    Reasoning,
    Request,
    Response,
    TokenIds,
    Tool,
)


class Responses:
    """Asks a model behind `POST {base_url}/responses`."""

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        self._endpoint = Endpoint(config, assemble=assemble)
        self._decoder = msgspec.json.Decoder(_WireResponse)

    async def respond(self, request: Request) -> Response:
        """The server's response as it is; thinking in tags becomes reasoning. Raises ModelError."""
        return self.read(request, await self._endpoint.ask("/responses", self.body(request), cap="max_output_tokens"))

    def batches(self) -> ResponsesBatches:
        """Returns the batch API of the same server."""
        return ResponsesBatches(self._endpoint)

    def body(self, request: Request) -> dict[str, Any]:
        """Returns the JSON of a request."""
        config = self._config
        stored = bool(config.extra_body.get("store"))
        body: dict[str, Any] = {"model": config.id, "input": wire_items(request.input, stored=stored), "store": False}
        body |= settings(config.sampling, request.sampling)
        if request.tools:
            body["tools"] = [_wire_tool(tool) for tool in request.tools]
            body["tool_choice"] = request.tool_choice
            if request.parallel_tool_calls is not None:
                body["parallel_tool_calls"] = request.parallel_tool_calls
        if request.format:
            body["text"] = {"format": request.format}
        if config.stream:
            body["stream"] = True
        if config.logprobs:
            body["include"] = ["message.output_text.logprobs"]
        body = without(body, config.omit)
        included = body.get("include")
        body |= config.extra_body
        if included and "include" in config.extra_body:
            # Both are wanted: what `logprobs = true` asks for, and what extra_body does.
            body["include"] = list(dict.fromkeys([*included, *config.extra_body["include"]]))
        return body

    def read(self, request: Request, content: bytes) -> Response:
        """Returns the response in an answer to the request. Raises ModelError."""
        wire = self._endpoint.decode(self._decoder, content)
        if wire.error is not None or wire.status not in ("completed", "incomplete"):
            raise error_of(wire.error or {"message": f"status {wire.status}"})
        output = thinking.split_messages(wire.output, self._config, complete=wire.status == "completed")
        if output is not wire.output:
            output = [_with_id(item, f"rs_{wire.id}_{index}") for index, item in enumerate(output)]
        return Response(
            output=output,
            status="completed" if wire.status == "completed" else "incomplete",
            incomplete_reason=wire.incomplete_details.reason if wire.incomplete_details else None,
            usage=read_usage(wire.usage),
            model=wire.model,
            id=wire.id,
            tokens=_token_ids(wire),
        )

    async def aclose(self) -> None:
        await self._endpoint.aclose()


class _Incomplete(Struct):
    reason: str | None = None


class _WireResponse(Struct):
    output: list[Item]
    status: str = "completed"
    id: str | None = None
    model: str | None = None
    error: Any = None
    incomplete_details: _Incomplete | None = None
    usage: WireUsage | None = None
    prompt_token_ids: list[int] | None = None
    generation_token_ids: list[int] | None = None
    generation_log_probs: list[float] | None = None


def _token_ids(wire: _WireResponse) -> TokenIds | None:
    if wire.generation_token_ids is None:
        return None
    return TokenIds(
        prompt=wire.prompt_token_ids or [],
        output=wire.generation_token_ids,
        output_logprobs=wire.generation_log_probs or [],
    )


def _wire_tool(tool: Tool) -> dict[str, Any]:
    return {"type": "function", "strict": False, **msgspec.to_builtins(tool)}


def _with_id(item: Item, fresh: str) -> Item:
    """Reasoning that was split from tags gets an id: servers that check the API's types refuse it back without one."""
    return structs.replace(item, id=fresh) if isinstance(item, Reasoning) and item.id is None else item


def assemble(stream: bytes) -> bytes:
    """The response object of the Responses API's last event. Raises ModelError."""
    # The end first: it holds the whole response, and tens of thousands of pieces may come before it.
    for part in (_end(stream), stream):
        for event in sse.decode_events(part):
            match event.get("type"):
                case "response.completed" | "response.incomplete" | "response.failed":
                    return msgspec.json.encode(event["response"])
                case "error":
                    raise error_of(event.get("error") or event)
                case _:
                    pass
    raise sse.cut_error()


def _end(stream: bytes) -> bytes:
    """The last two or three events; all of a stream whose lines do not end in a line feed alone."""
    start = len(stream)
    for _ in range(4):
        start = stream.rfind(b"\n\n", 0, max(0, start))
    return stream[start + 2 :] if start >= 0 else stream

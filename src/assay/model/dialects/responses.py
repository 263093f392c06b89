"""The Responses API, as OpenAI and servers of the Open Responses specification speak it."""

import functools
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Struct, structs

from assay.config import ModelConfig
from assay.model.dialects import sse, thinking
from assay.model.http import Endpoint, told_error
from assay.types import (
    Content,
    FunctionCallOutput,
    InputImage,
    Item,
    Message,
    Reasoning,
    Request,
    Response,
    Sampling,
    Text,
    TokenIds,
    Tool,
    Usage,
)


class Responses:
    """A model behind `POST {base_url}/responses`."""

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        self._endpoint = Endpoint(config, assemble=sse.response)
        self._decoder = msgspec.json.Decoder(_WireResponse)

    async def respond(self, request: Request) -> Response:
        """The server's response as it is; thinking in tags becomes reasoning. Raises ModelError."""
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
        content = await self._endpoint.ask("/responses", body, cap="max_output_tokens")
        tagged = config.reasoning == "tags" or (config.reasoning == "auto" and b"think" in content)
        return self._response(self._endpoint.decode(self._decoder, content), tagged=tagged)

    def _response(self, wire: "_WireResponse", *, tagged: bool) -> Response:
        if wire.error is not None or wire.status not in ("completed", "incomplete"):
            raise told_error(wire.error or {"message": f"status {wire.status}"})
        output = wire.output
        if tagged:
            # The message that the cap cut is reasoning where the template opened the block and no item says so.
            opened = self._config.reasoning == "tags" and not any(isinstance(item, Reasoning) for item in output)
            complete = wire.status == "completed"
            output = [part for item in output for part in without_tags(item, complete=complete, opened=opened)]
            output = [_with_id(item, f"rs_{wire.id}_{index}") for index, item in enumerate(output)]
        usage = wire.usage or _WireUsage()
        return Response(
            output=output,
            status="completed" if wire.status == "completed" else "incomplete",
            incomplete_reason=wire.incomplete_details.reason if wire.incomplete_details else None,
            usage=Usage(
                input_tokens=usage.input_tokens or 0,
                output_tokens=usage.output_tokens or 0,
                cached_tokens=(usage.input_tokens_details or _Details()).cached_tokens or 0,
                reasoning_tokens=(usage.output_tokens_details or _Details()).reasoning_tokens or 0,
            ),
            model=wire.model,
            id=wire.id,
            tokens=_token_ids(wire),
        )

    async def aclose(self) -> None:
        await self._endpoint.aclose()


class _Details(Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _WireUsage(Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


class _Incomplete(Struct):
    reason: str | None = None


class _WireResponse(Struct):
    output: list[Item]
    status: str = "completed"
    id: str | None = None
    model: str | None = None
    error: Any = None
    incomplete_details: _Incomplete | None = None
    usage: _WireUsage | None = None
    prompt_token_ids: list[int] | None = None
    generation_token_ids: list[int] | None = None
    generation_log_probs: list[float] | None = None


@functools.lru_cache
def settings(server: Sampling, asked: Sampling) -> Mapping[str, Any]:
    """What is asked for, and the server's own where nothing is, by name; what neither says is left out."""
    both = {**_said(server), **_said(asked)}
    return MappingProxyType(both)


def _said(sampling: Sampling) -> dict[str, Any]:
    return {name: value for name, value in structs.asdict(sampling).items() if value is not None}


def without(body: dict[str, Any], omit: Iterable[str]) -> dict[str, Any]:
    """The request body without the fields that a server refuses."""
    return {name: value for name, value in body.items() if name not in omit} if omit else body


def _token_ids(wire: _WireResponse) -> TokenIds | None:
    if wire.generation_token_ids is None:
        return None
    return TokenIds(
        prompt=wire.prompt_token_ids or [],
        output=wire.generation_token_ids,
        output_logprobs=wire.generation_log_probs or [],
    )


def wire_items(items: list[Item], *, stored: bool) -> list[Any]:
    """Items as the API takes them back.

    Without `stored` the server keeps nothing, so reasoning of which only the id came back is left out, and with it all
    ids: they belong together, and to nothing that the server could look up. Otherwise the ids stay, because the API's
    types ask for them in reasoning and in the model's messages, and vLLM checks these types.
    """
    kept = items if stored else [item for item in items if not _only_id(item)]
    with_ids = len(kept) == len(items)
    return [_wire_item(item, with_id=with_ids) for item in kept]


def _only_id(item: Item) -> bool:
    return isinstance(item, Reasoning) and item.id is not None and not (item.content or item.encrypted_content)


def _wire_item(item: Item, *, with_id: bool) -> Any:
    if not with_id and item.id is not None:
        item = structs.replace(item, id=None)
    # The API wants `summary` and `annotations` even where they are empty, which the structs leave out.
    if isinstance(item, Reasoning):
        return {"summary": [], **msgspec.to_builtins(item)}
    if isinstance(item, Message) and not isinstance(item.content, str):
        return {**msgspec.to_builtins(item), "content": [_wire_part(part) for part in item.content]}
    if isinstance(item, FunctionCallOutput) and not isinstance(item.output, str):
        return {**msgspec.to_builtins(item), "output": [_wire_part(part) for part in item.output]}
    return item


def _wire_part(part: Content) -> Any:
    match part:
        case Text():
            return {"annotations": [], **msgspec.to_builtins(part)}
        case InputImage():
            return {"detail": part.detail, **msgspec.to_builtins(part)}
        case _:
            return part


def _wire_tool(tool: Tool) -> dict[str, Any]:
    return {"type": "function", "strict": False, **msgspec.to_builtins(tool)}


def _with_id(item: Item, fresh: str) -> Item:
    """Reasoning that was split from tags gets an id: servers that check the API's types refuse it back without one."""
    return structs.replace(item, id=fresh) if isinstance(item, Reasoning) and item.id is None else item


def without_tags(item: Item, *, complete: bool, opened: bool) -> list[Item]:
    """An item as it is, or what a message with `<think>` tags in it becomes; see `thinking.items`."""
    if not isinstance(item, Message):
        return [item]
    text, complete = item.text, complete and item.status != "incomplete"
    if thinking.OPEN in text or thinking.CLOSE in text or (opened and not complete and text):
        split = thinking.items(text, complete=complete, opened=opened)
        return [structs.replace(part, id=item.id) if isinstance(part, Message) else part for part in split]
    return [item]

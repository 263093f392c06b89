"""The Responses API, as OpenAI and servers of the Open Responses specification speak it."""

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Struct, structs

from assay.config import ModelConfig
from assay.errors import ModelError
from assay.model import thinking
from assay.model.http import ContextOverflow, Endpoint, decode
from assay.types import Item, Message, Reasoning, Request, Response, Sampling, TokenIds, Tool, Usage


class Responses:
    """A model behind `POST {base_url}/responses`."""

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        self._endpoint = Endpoint(config)
        self._encode = msgspec.json.Encoder().encode
        self._decoder = msgspec.json.Decoder(_WireResponse)

    async def respond(self, request: Request) -> Response:
        """The server's response as it is; thinking in tags becomes reasoning. Raises ModelError."""
        config = self._config
        body: dict[str, Any] = {"model": config.id, "input": _wire_items(request.input), "store": False}
        body |= settings(config.sampling, request.sampling)
        if request.tools:
            body["tools"] = [_wire_tool(tool) for tool in request.tools]
        if config.logprobs:
            body["include"] = ["message.output_text.logprobs"]
        body |= config.extra_body
        try:
            content = await self._endpoint.post("/responses", self._encode(body))
        except ContextOverflow as overflow:
            return overflowed(overflow)
        tagged = self._config.reasoning in ("auto", "tags") and b"think" in content
        return self._response(decode(self._decoder, content), tagged=tagged)

    def _response(self, wire: "_WireResponse", *, tagged: bool) -> Response:
        if wire.error is not None or wire.status not in ("completed", "incomplete"):
            words = wire.error.message if wire.error else f"status {wire.status}"
            raise ModelError("response_failed", f"the server's response failed: {words}", retryable=True)
        output = wire.output
        if tagged:
            output = [part for item in output for part in _without_tags(item)]
        usage = wire.usage or _WireUsage()
        return Response(
            output=output,
            status="completed" if wire.status == "completed" else "incomplete",
            incomplete_reason=wire.incomplete_details.reason if wire.incomplete_details else None,
            usage=Usage(
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cached_tokens=usage.input_tokens_details.cached_tokens if usage.input_tokens_details else 0,
                reasoning_tokens=usage.output_tokens_details.reasoning_tokens if usage.output_tokens_details else 0,
            ),
            model=wire.model,
            id=wire.id,
            tokens=_token_ids(wire),
        )

    def identity(self) -> dict[str, str]:
        return {}

    async def aclose(self) -> None:
        await self._endpoint.aclose()


class _Details(Struct):
    cached_tokens: int = 0
    reasoning_tokens: int = 0


class _WireUsage(Struct):
    input_tokens: int = 0
    output_tokens: int = 0
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


class _Incomplete(Struct):
    reason: str | None = None


class _Error(Struct):
    message: str = ""
    code: str | None = None


class _WireResponse(Struct):
    output: list[Item]
    status: str = "completed"
    id: str | None = None
    model: str | None = None
    error: _Error | None = None
    incomplete_details: _Incomplete | None = None
    usage: _WireUsage | None = None
    prompt_token_ids: list[int] | None = None
    generation_token_ids: list[int] | None = None
    generation_log_probs: list[float] | None = None


@functools.lru_cache
def settings(server: Sampling, asked: Sampling) -> Mapping[str, float | int]:
    """What is asked for, and the server's own where nothing is, by name; what neither says is left out."""
    both = {**_said(server), **_said(asked)}
    return MappingProxyType(both)


def _said(sampling: Sampling) -> dict[str, float | int]:
    return {name: value for name, value in structs.asdict(sampling).items() if value is not None}


def overflowed(overflow: ContextOverflow) -> Response:
    """What stands for a response where the context was too small: incomplete, without output."""
    return Response(output=[], status="incomplete", incomplete_reason=f"max_output_tokens: {overflow}")


def _token_ids(wire: _WireResponse) -> TokenIds | None:
    if wire.generation_token_ids is None:
        return None
    return TokenIds(
        prompt=wire.prompt_token_ids or [],
        output=wire.generation_token_ids,
        output_logprobs=wire.generation_log_probs or [],
    )


def _wire_items(items: list[Item]) -> list[Any]:
    # The API wants `summary` even where it is empty, which the structs leave out.
    return [{"summary": [], **msgspec.to_builtins(item)} if isinstance(item, Reasoning) else item for item in items]


def _wire_tool(tool: Tool) -> dict[str, Any]:
    return {"type": "function", "strict": False, **msgspec.to_builtins(tool)}


def _without_tags(item: Item) -> list[Item]:
    if not isinstance(item, Message) or not (thinking.OPEN in item.text or thinking.CLOSE in item.text):
        return [item]
    return thinking.items(item.text)

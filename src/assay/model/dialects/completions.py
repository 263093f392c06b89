"""Completions of a prompt that is rendered here, for base models: vLLM, SGLang, llama.cpp, Together and others."""

from pathlib import Path
from typing import Any

import msgspec

from assay.config import ModelConfig
from assay.errors import ModelError
from assay.model.dialects import sse, thinking
from assay.model.dialects.chat.client import messages
from assay.model.dialects.chat.wire import Choice, Completion, check, read_tokens, read_usage
from assay.model.dialects.ends import incomplete_reason
from assay.model.dialects.settings import settings, without
from assay.model.dialects.template import ChatTemplate
from assay.model.http import Endpoint
from assay.types import (
    FunctionCall,
    FunctionCallOutput,
    InputImage,
    Item,
    Message,
    Request,
    Response,
)

PLAIN = """\
{% if messages | length == 1 and messages[0].role == 'user' %}
{{ messages[0].content }}
{%- else %}
{% for message in messages %}
{{ message.role | capitalize }}: {{ message.content }}

{% endfor %}
Assistant:
{%- endif %}
"""
"""The template where none is configured: a single user message is the prompt as it is. Several are a transcript that
ends in `Assistant:`; a base model goes on with the user's part by itself, so set `stop = ["\\n\\nUser:"]`."""


class Completions:
    """Asks a model behind `POST {base_url}/completions`, with a prompt from a chat template: for base models.

    Where the chat template writes the first special token and the server adds one too, as vLLM does by default, say
    `extra_body = { add_special_tokens = false }`. `extra_body.chat_template_kwargs` are the template's variables.
    """

    def __init__(self, config: ModelConfig) -> None:
        """Raises UsageError where there is no such chat template. Its path is relative to the working directory."""
        self._config = config
        self._template = ChatTemplate.load(Path(config.chat_template)) if config.chat_template else ChatTemplate(PLAIN)
        self._variables: dict[str, Any] = config.extra_body.get("chat_template_kwargs", {})
        self._extra = without(config.extra_body, ["chat_template_kwargs"])
        self._endpoint = Endpoint(config, assemble=assemble)
        self._decoder = msgspec.json.Decoder(_WireCompletion)

    async def respond(self, request: Request) -> Response:
        """The server's completion as Responses items. Raises ModelError, also for what no prompt can hold."""
        config = self._config
        prompt = self._prompt(request)
        body: dict[str, Any] = {"model": config.id, "prompt": prompt, **settings(config.sampling, request.sampling)}
        if "max_output_tokens" in body:
            body["max_tokens"] = body.pop("max_output_tokens")
        if request.seed is not None:
            body["seed"] = request.seed
        if config.logprobs:
            body["logprobs"] = 1  # how many tokens to tell of; llama.cpp takes 0 for none, not for the sampled one
        if config.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        body = without(body, config.omit) | self._extra
        if "max_tokens" not in body and "max_tokens" not in config.omit:
            # No default: where the output is cut decides scores, so it has to be somebody's choice.
            message = "the Completions API cuts after 16 tokens where no output limit is set, and neither the benchmark"
            hint = "set sampling.max_output_tokens, such as --set sampling.max_output_tokens=2048"
            raise ModelError("bad_request", f"{message} nor the model server sets one; {hint}", retryable=False)
        # Asked again without a cap it would be cut at the API's 16 tokens, so a request that doesn't fit is not.
        content = await self._endpoint.ask("/completions", body, cap="max_tokens", needed=True)
        wire = self._endpoint.decode(self._decoder, content)
        check(wire, wire.choices)
        return self._response(wire, wire.choices[0], prompt)

    def _prompt(self, request: Request) -> str:
        if what := _beyond(request):
            message = (
                f"the Completions API takes text alone, so {what} can't be sent; use the dialect chat or responses"
            )
            raise ModelError("unsupported", message, retryable=False)
        plain = [_plain(message) for message in messages(request.input, "reasoning_content")]
        try:
            return self._template.render(plain, self._variables)
        except ValueError as error:
            raise ModelError("bad_request", str(error), retryable=False) from None

    def _response(self, wire: "_WireCompletion", choice: "_Choice", prompt: str) -> Response:
        reason = incomplete_reason(choice.end, answered=bool(choice.text.strip()))
        return Response(
            output=self._items(choice.text, prompt, complete=reason is None),
            status="completed" if reason is None else "incomplete",
            incomplete_reason=reason,
            usage=read_usage(wire.usage),
            model=wire.model,
            id=wire.id,
            tokens=read_tokens(wire, choice),
        )

    def _items(self, text: str, prompt: str, *, complete: bool) -> list[Item]:
        """Where the prompt ends in an opening tag, what comes back begins in thought."""
        reasoning, tags = self._config.reasoning, self._config.thinking_tags
        if reasoning in ("none", "field"):
            return [thinking.message(text, complete=complete)]
        tag = next((tag for tag in tags if prompt.rstrip().endswith(tag)), "")
        text = text if text.lstrip().startswith(tag) else tag + text
        return thinking.items(text, complete=complete, opened=reasoning == "tags", tags=tags)

    def identity(self) -> dict[str, str]:
        return {"chat_template": self._template.digest}

    async def aclose(self) -> None:
        await self._endpoint.aclose()


class _Choice(Choice):
    text: str


class _WireCompletion(Completion):
    choices: list[_Choice]


def _beyond(request: Request) -> str | None:
    """What of a request no prompt can hold."""
    if request.tools or any(isinstance(item, FunctionCall | FunctionCallOutput) for item in request.input):
        return "tools"
    if request.format:
        return "a structured output format"
    contents = [item.content for item in request.input if isinstance(item, Message)]
    return "images" if any(isinstance(part, InputImage) for content in contents for part in content) else None


def _plain(message: dict[str, Any]) -> dict[str, Any]:
    """A chat message as templates know it: its content is a string, and what was refused is content too."""
    content = (message["content"] or "") + message.get("refusal", "")
    return without(message, ["refusal"]) | {"content": content}


def assemble(stream: bytes) -> bytes:
    """The legacy completion that chunks add up to. Raises ModelError."""
    whole: dict[str, Any] = {}
    choice: dict[str, Any] = {"finish_reason": None, "text": ""}
    for chunk in sse.decode_events(stream):
        sse.check(chunk)
        whole |= {name: value for name, value in chunk.items() if name != "choices" and value is not None}
        for piece in sse.each(chunk.get("choices")):
            sse.check(piece)
            choice["finish_reason"] = piece.get("finish_reason") or choice["finish_reason"]
            sse.add(
                choice,
                {
                    name: piece[name]
                    for name in ("text", "logprobs", "token_ids", "native_finish_reason")
                    if piece.get(name)
                },
            )
            if piece.get("prompt_token_ids"):
                choice["prompt_token_ids"] = piece["prompt_token_ids"]
    if choice["finish_reason"] is None:
        raise sse.cut_error()
    return msgspec.json.encode({**whole, "choices": [choice]})

"""The embedded models: the engine in this process makes raw text, which becomes Responses items."""

import hashlib
import secrets
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from assay.config import ModelConfig
from assay.errors import ModelError, UnknownName
from assay.input import read_input
from assay.model import ContextOverflow
from assay.model.builtin.engine import Engine
from assay.model.dialects.calls import items_of
from assay.model.dialects.chat.client import messages
from assay.model.dialects.settings import settings
from assay.model.dialects.token_history import TokenHistory
from assay.types import Item, Message, Request, Response, TokenIds, Tool, Usage

WEIGHTS = Path(__file__).parent / "weights"
SHIPPED = tuple(path.parent.name for path in sorted(WEIGHTS.glob("*/config.json")))


class EmbeddedModel:
    """Runs the model of an engine in this process."""

    def __init__(self, config: ModelConfig, engine: Engine) -> None:
        self._config = config
        self._engine = engine
        self._close = engine.tokenizer.token_to_id("</think>")
        self._carried = TokenHistory(engine.tokenizer.encode, engine.end)

    async def respond(self, request: Request) -> Response:
        """Returns one sample, with its token ids and log-probabilities. Ids are kept from turn to turn.

        Raises ContextOverflow for a prompt that fills the context, ModelError for messages that the chat template
        refuses and sampling that the engine does.
        """
        sampling = settings(self._config.sampling, request.sampling)
        try:
            render, scope = partial(self._render, request.tools), (request.task, request.repeat)
            prompt = self._carried.prompt(_plain(request.input), render, scope)
            if len(prompt) >= self._engine.context:
                message = f"the prompt has {len(prompt)} tokens, and the context of {self._config.id} is"
                raise ContextOverflow(f"{message} {self._engine.context}")
            made = await self._engine.generate(
                prompt,
                temperature=sampling.get("temperature", 1.0),
                top_p=sampling.get("top_p", 1.0),
                top_k=int(sampling.get("top_k", 0)),
                max_tokens=int(cap) if (cap := sampling.get("max_output_tokens")) else None,
                # Without a seed, each request gets another sample.
                seed=secrets.randbits(31) if request.seed is None else request.seed,
                prompt_logprobs=self._config.logprobs,
            )
            complete = made.finish == "stop"
            output = items_of(made.text, self._config, complete=complete, scope=(made.prompt_ids, made.output_ids))
            self._carried.keep(
                _plain([*request.input, *output]),
                render,
                made.prompt_ids + made.output_ids,
                ended=complete,
                scope=scope,
            )
        except ValueError as error:
            raise ModelError("bad_request", str(error), retryable=False) from None
        return Response(
            output=output,
            status="completed" if complete else "incomplete",
            incomplete_reason=None if complete else "max_output_tokens",
            usage=Usage(
                input_tokens=len(made.prompt_ids),
                output_tokens=len(made.output_ids),
                reasoning_tokens=self._reasoning_tokens(made.output_ids, output),
            ),
            model=self._config.id,
            tokens=TokenIds(
                prompt=made.prompt_ids,
                output=made.output_ids,
                output_logprobs=made.output_logprobs,
                prompt_logprobs=made.prompt_logprobs or [],
            ),
        )

    def _render(self, tools: Sequence[Tool], said: list[dict[str, Any]], begun: bool) -> str:
        functions = [{"type": "function", "function": msgspec.to_builtins(tool)} for tool in tools]
        return self._engine.template.render(said, {"tools": functions or None, "add_generation_prompt": begun})

    def _reasoning_tokens(self, output_ids: list[int], output: list[Item]) -> int:
        """Returns the number of tokens up to the closing tag; all tokens if a block was left open."""
        if self._close in output_ids:
            return output_ids.index(self._close) + 1
        return 0 if any(isinstance(item, Message) for item in output) else len(output_ids)

    async def aclose(self) -> None:
        await self._engine.aclose()


class Local(EmbeddedModel):
    """Runs a model from files: one in the package, by its name, or a folder of weights, by its path."""

    def __init__(self, config: ModelConfig) -> None:
        folder = folder_of(config.id)
        super().__init__(config, Engine.load(folder))
        self._weights = hashlib.sha256(read_input(folder / "model.safetensors")).hexdigest()

    def identity(self) -> dict[str, str]:
        return {"weights": self._weights}


def folder_of(name: str) -> Path:
    """Returns the folder of a model by its name in the package or its path. Raises UnknownName if there is none."""
    for folder in (WEIGHTS / name, Path(name)):
        if (folder / "config.json").exists():
            return folder
    raise UnknownName("local weights", name, SHIPPED, "; or a folder with config.json and model.safetensors")


def _plain(items: list[Item]) -> list[dict[str, Any]]:
    said = messages(items)
    if any(isinstance(message["content"], list) for message in said):
        raise ModelError("unsupported", "the embedded models read text alone, so images can't be sent", retryable=False)
    return [message | {"content": message["content"] or ""} for message in said]

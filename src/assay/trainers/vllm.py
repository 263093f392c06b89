"""The vLLM server that TRL feeds with its weights, as a policy: asked by token ids, so that none is made from text."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct, structs

from assay.config import ModelConfig
from assay.errors import ModelError
from assay.model.dialects.settings import settings
from assay.model.http import Endpoint
from assay.trainers.policy import TokenModel
from assay.types import Request, Response


class ServedPolicy:
    """A model on a server's `POST {base_url}/completions`, rendered and read here: `TokenModel` a rollout.

    `server` says how reasoning is marked, what is added to a request, and how long one may take.
    """

    def __init__(self, base_url: str, tokenizer: Any, server: ModelConfig, ends: Sequence[int]) -> None:
        self._tokenizer, self._server, self._ends = tokenizer, server, ends
        self._endpoint = Endpoint(structs.replace(server, base_url=base_url))
        self._name: str | None = None
        self._naming = asyncio.Lock()
        self._rollouts: dict[tuple[str | None, int], TokenModel] = {}

    async def respond(self, request: Request) -> Response:
        """Raises ModelError."""
        key = request.task, request.repeat
        if request.turn == 0:
            self._rollouts[key] = TokenModel(self._sample, self._tokenizer, server=self._server, ends=self._ends)
        return await self._rollouts[key].respond(request)

    async def _sample(self, prompt: list[int], request: Request) -> tuple[list[int], list[float]]:
        body: dict[str, Any] = {"model": await self._model(), "prompt": prompt, "logprobs": 0, "return_token_ids": True}
        body |= settings(self._server.sampling, request.sampling)
        body["max_tokens"] = body.pop("max_output_tokens")
        if request.seed is not None:
            body["seed"] = request.seed
        content = await self._endpoint.post("/completions", msgspec.json.encode(body | self._server.extra_body))
        choice = self._endpoint.decode(_COMPLETION, content).choices[0]
        logprobs = choice.logprobs.token_logprobs
        if len(logprobs) != len(choice.token_ids) or choice.prompt_token_ids not in (None, prompt):
            message = "the server's token ids are not those of its prompt or of its log-probabilities"
            raise ModelError("bad_response", message, retryable=False)
        return choice.token_ids, logprobs

    async def _model(self) -> str:
        """Returns the served model's name."""
        async with self._naming:
            if self._name is None:
                self._name = self._endpoint.decode(_MODELS, await self._endpoint.get("/models")).data[0].id
            return self._name

    async def aclose(self) -> None:
        await self._endpoint.aclose()


class _Logprobs(Struct):
    token_logprobs: list[float]


class _Choice(Struct):
    token_ids: list[int]
    logprobs: _Logprobs
    prompt_token_ids: list[int] | None = None


class _Completion(Struct):
    choices: list[_Choice]


class _Model(Struct):
    id: str


class _Models(Struct):
    data: list[_Model]


_COMPLETION = msgspec.json.Decoder(_Completion)
_MODELS = msgspec.json.Decoder(_Models)

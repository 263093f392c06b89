"""A server that speaks what TRL asks of vLLM: completions by token ids, with an embedded model's engine behind it."""

import asyncio
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from assay.model.builtin.engine import Engine


class Loopback:
    """`feed` gives it other weights. `prompts` are those that it was asked, `broken` requests are answered by a 500."""

    def __init__(self, folder: Path) -> None:
        self._engine = Engine.load(folder)
        self.prompts: list[list[int]] = []
        self.broken = 0
        self.fed = 0

    def feed(self, engine: Engine) -> None:
        self._engine = engine
        self.fed += 1

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/health", self._health),
                Route("/v1/models", self._models),
                Route("/v1/completions", self._completions, methods=["POST"]),
            ]
        )

    async def _health(self, request: Request) -> JSONResponse:
        return JSONResponse({})

    async def _models(self, request: Request) -> JSONResponse:
        return JSONResponse({"object": "list", "data": [{"id": "policy", "object": "model"}]})

    async def _completions(self, request: Request) -> JSONResponse:
        body = await request.json()
        if self.broken:
            self.broken -= 1
            return JSONResponse({"error": {"message": "the engine is dead"}}, 500)
        assert body["model"] == "policy" and body["return_token_ids"] is True
        prompts = body["prompt"] if isinstance(body["prompt"][0], list) else [body["prompt"]]
        self.prompts += prompts
        asked = [(prompt, number) for prompt in prompts for number in range(body.get("n", 1))]
        made = await asyncio.gather(*(self._choice(prompt, number, body) for prompt, number in asked))
        return JSONResponse({"id": "cmpl", "object": "text_completion", "model": "policy", "choices": made})

    async def _choice(self, prompt: list[int], number: int, body: dict[str, Any]) -> dict[str, Any]:
        made = await self._engine.generate(
            prompt, temperature=body["temperature"], max_tokens=body["max_tokens"], seed=body.get("seed", 0) + number
        )
        tokens = [f"token_id:{one}" for one in made.output_ids]
        logprobs = {
            "tokens": tokens,
            "token_logprobs": list(made.output_logprobs),
            "top_logprobs": [{token: prob} for token, prob in zip(tokens, made.output_logprobs, strict=True)],
        }
        ids = {"prompt_token_ids": prompt, "token_ids": list(made.output_ids)}
        return {"index": number, "text": made.text, "finish_reason": made.finish, "logprobs": logprobs, **ids}

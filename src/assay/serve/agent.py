"""An agent on HTTP, by the routes of NeMo Gym's agent servers: its collector and NeMo RL get whole rollouts.

POST /run                a row that `assay export` wrote; answers the row, the `response` and the `reward`
POST /aggregate_metrics  answers of `/run`; statistics over tasks and repeats

The last item of each model call has `prompt_token_ids`, `generation_token_ids` and `generation_log_probs`, if the model
gives them. A failure is no reward of 0: the answer has `mask_sample`, and the reason in `failure_reason`.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from assay.agent import Agent
from assay.benchmark import Benchmark
from assay.collect.deadline import Deadline
from assay.collect.plan import PlannedRollout, seed_of
from assay.collect.roll import roll
from assay.collect.tokens import tokens_of
from assay.digest import task_digest
from assay.gyms.nemo_gym.rows import AGENT, FAILURE_CLASS, PARAMS, ROLLOUT_INDEX, TASK_INDEX, Row, rollout_row
from assay.model import Model
from assay.model.dialects.serving import BadRequest
from assay.serve.http import Callers, read_body
from assay.serve.rows import aggregate, health, row_in, task_in, unprocessable
from assay.types import Rollout, Sampling, Score, Task

SAMPLING_FIELDS = ("temperature", "top_p", "max_output_tokens")
"""What a row may say of sampling."""
DEADLINE_S = 7200.0
_NO_TOKENS = (
    "the policy's server gives no token ids, so NeMo RL can train on no rollout; to evaluate, that is no matter. "
    "For vLLM, say logprobs = true and extra_body = { return_token_ids = true } in the model's table of assay.toml"
)
_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


class ServedAgent:
    """One agent in one benchmark's environment, with one model. Every call of `/run` is a rollout of its own."""

    def __init__(
        self, benchmark: Benchmark, agent: Agent, model: Model, name: str, *, deadline_s: float = DEADLINE_S
    ) -> None:
        self._benchmark, self._agent, self._model, self._name = benchmark, agent, model, name
        self._deadline_s = deadline_s
        self._gives_tokens = True
        self._tasks = {task.id: task for task in benchmark.environment.tasks()}

    def app(self, key: str | None = None) -> Starlette:
        """Returns the routes. With a key, all but `/health` want it; without one, no page in a browser may call."""
        routes = [
            Route("/", health),
            Route("/health", health),
            Route("/aggregate_metrics", aggregate, methods=["POST"]),
            Route("/run", _with_errors(self._run), methods=["POST"]),
            Route("/ng-rollout/{rollout}/run", _with_errors(self._run), methods=["POST"]),
        ]
        return Starlette(
            routes=routes,
            middleware=[Middleware(Callers, key=key)],
            exception_handlers={BadRequest: unprocessable},
        )

    async def _run(self, request: Request) -> Response:
        row = row_in(await read_body(request))
        own, task = task_in(row, self._benchmark.name, self._tasks)
        repeat = row.get(ROLLOUT_INDEX)
        repeat = repeat if isinstance(repeat, int) and repeat >= 0 else 0
        seed = own.seed if own.seed is not None else seed_of(time.time_ns(), task.id, repeat)
        item = PlannedRollout(task, task_digest(task), repeat, 0, seed)
        benchmark = replace(self._benchmark, sampling=_sampling(row, self._benchmark.sampling))
        with closing(Deadline(self._deadline_s)) as deadline:
            rollout = await roll(benchmark, self._agent, self._model, item, deadline=deadline)
        return Response(_encode(self._answer(row, task, rollout)), media_type="application/json")

    def _answer(self, row: Row, task: Task, rollout: Rollout) -> Row:
        """Returns the row with the rollout's result. Raises ValueError for a reward that is no finite number."""
        index = row.get(TASK_INDEX)
        answer = rollout_row(
            task,
            index if isinstance(index, int) else 0,
            rollout,
            agent=self._name,
            model=self._name,
            created_s=int(time.time()),
        )
        outcome = rollout.outcome
        if not isinstance(outcome, Score):
            return {
                **answer,
                **row,
                "reward": 0.0,
            }  # a number, for its types ask for one: `mask_sample` says that it is none
        numbers = {"reward": outcome.reward, **outcome.metrics}
        if bad := [name for name, value in numbers.items() if not math.isfinite(value)]:
            raise ValueError(f"the verifier returned the {bad[0]} {numbers[bad[0]]!r}; expected a finite number")
        answer |= row | {"reward_components": dict(outcome.metrics)} if outcome.metrics else row
        if self._gives_tokens and rollout.turns and not any(turn.response.tokens for turn in rollout.turns):
            self._gives_tokens = False
            _log.warning(_NO_TOKENS)
        if any(turn.response.tokens for turn in rollout.turns) and tokens_of(rollout) is None:
            reason = "a prompt does not begin with the tokens that came before it"
            answer |= {"mask_sample": True, FAILURE_CLASS: "tokens", "failure_reason": reason}
        return answer | {AGENT: row.get(AGENT) or answer[AGENT]}


def _sampling(row: Row, own: Sampling) -> Sampling:
    """Returns the benchmark's sampling with what the row asks for. Raises BadRequest."""
    params: Any = row.get(PARAMS)
    settings = {name: params[name] for name in SAMPLING_FIELDS if params.get(name) is not None}
    try:
        return msgspec.structs.replace(own, **msgspec.to_builtins(msgspec.convert(settings, Sampling)))
    except msgspec.ValidationError as error:
        raise BadRequest(f"{PARAMS}: {error}", param=f"body.{PARAMS}") from None


def _with_errors(answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Returns the endpoint, which reports errors as NeMo Gym's servers do."""

    async def endpoint(request: Request) -> Response:
        try:
            return await answer(request)
        except (BadRequest, asyncio.CancelledError):
            raise
        except Exception as error:
            _log.error("%s failed", request.url.path, exc_info=error)
            return Response(_encode(repr(error)), 500, media_type="application/json")

    return endpoint

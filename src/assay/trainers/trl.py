# pyright: basic, reportMissingImports=false
# TRL, torch and datasets are an extra.
"""TRL's GRPOTrainer: the data set, the reward functions and the rollouts of any benchmark.

Example::

    rows = trl.dataset("arithmetic", count=1024)
    GRPOTrainer(model, train_dataset=rows, reward_funcs=trl.rewards(), rollout_func=trl.rollout("arithmetic", rows))
"""

import asyncio
import tempfile
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from datasets import Dataset

from assay import sync
from assay.agent import Agent
from assay.benchmark import Benchmark
from assay.collect.tokens import tokens_of
from assay.config import ModelConfig
from assay.digest import digest
from assay.errors import UsageError
from assay.library.collecting import Roles, rollouts
from assay.library.names import AnyModel, load
from assay.model import Model
from assay.model.builtin.engine import Engine
from assay.model.builtin.engine.llama import Llama, Shape
from assay.model.builtin.local import EmbeddedModel
from assay.model.dialects.chat.client import messages
from assay.trainers.policy import POLICY, answer
from assay.trainers.tasks import training_tasks, with_tasks
from assay.trainers.vllm import ServedPolicy
from assay.types import Request, Response, Rollout, Sampling, Score, Task

AnyBenchmark = str | Path | Benchmark
Reward = Callable[..., Awaitable[list[float | None]]]
RolloutFunc = Callable[[list[Any], Any], dict[str, Any]]
AT_ONCE = 256
"""Rollouts in flight by default."""


def dataset(
    benchmark: AnyBenchmark, *, count: int = 1024, seed: int = 0, on_test: bool = False, tasks: Sequence[Task] = ()
) -> Dataset:
    """Returns rows with `prompt`, chat messages, and `task`, the task as JSON: what the reward is computed from.

    The tasks are `count` of the benchmark's training tasks, drawn from the seed, or those that are given.
    Raises UsageError where there are no training tasks; `on_test` takes the test's own, whose score then means nothing.
    """
    rows = tasks or training_tasks(load(benchmark), count, seed=seed, on_test=on_test)
    return Dataset.from_list(
        [{"prompt": messages(task.input), "task": msgspec.json.encode(task).decode()} for task in rows]
    )


def reward(
    benchmark: AnyBenchmark,
    tokenizer: Any,
    *,
    parts: Sequence[str] = (),
    server: ModelConfig = POLICY,
    ends: Sequence[int] | None = None,
    roles: Roles | None = None,
) -> list[Reward]:
    """Returns reward functions for completions that the trainer sampled itself: the reward, then one for each part.

    `parts` are names of the verifier's metrics. A failure of the verifier is None, which TRL leaves out, in each of
    them. `server` says how reasoning is marked, as in assay.toml. `ends` are the ids that end an answer (default: the
    tokenizer's end token); an answer whose last token is another one was cut.
    """
    judge = _Judge(load(benchmark), tokenizer, server, ends or [tokenizer.eos_token_id], roles)
    return [_reward_function(judge, part) for part in (None, *parts)]


def rollout(
    benchmark: AnyBenchmark,
    rows: Dataset,
    *,
    model: AnyModel | None = None,
    agent: str | Agent | None = None,
    base_url: str | None = None,
    roles: Roles | None = None,
    server: ModelConfig = POLICY,
    seed: int = 0,
    concurrency: int = AT_ONCE,
) -> RolloutFunc:
    """Returns a `rollout_func`: rollouts of an agent with the trainer's present weights, tools and replies included.

    With `use_vllm=True, vllm_mode="server"`, the trainer's vLLM server samples, which TRL feeds with the weights of
    each step. Without vLLM, they run in Assay's own engine, which runs small Llamas. `model` names another server that
    somebody feeds and that gives token ids. The rewards come with the rollouts: give the trainer `rewards()`. A
    failure, and a rollout whose tokens don't follow each other, is None there and has no token to train on.
    """
    bench = load(benchmark)
    tasks = {digest(row["prompt"]): msgspec.json.decode(row["task"], type=Task) for row in _rows(rows)}
    weights = _Weights(server)
    calls = 0

    def roll(prompts: list[Any], trainer: Any) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        asked_tasks = [tasks[digest(prompt)] for prompt in prompts]
        counts = Counter(task.id for task in asked_tasks)
        group = sync.rollouts(
            with_tasks(bench, list({task.id: task for task in asked_tasks}.values())),
            model=model or _policy(trainer, weights),
            base_url=base_url,
            agent=agent,
            roles=roles,
            repeats=max(counts.values()),
            concurrency=concurrency,
            seed=seed * 1_000_003 + calls,
            sampling=_sampling(trainer.args),
        )
        by_task: dict[str, list[Rollout]] = {}
        for one in group:
            by_task.setdefault(one.task, []).append(one)
        return _columns([by_task[task.id].pop(0) for task in asked_tasks], prompts, trainer.processing_class)

    return roll


def rewards(*parts: str) -> list[Reward]:
    """Returns the reward functions of rollouts that `rollout` made: the reward, then one for each metric named."""
    return [_column(part) for part in (None, *parts)]


class _Judge:
    """Scores the completions of one batch once, whatever the number of reward functions."""

    def __init__(
        self, benchmark: Benchmark, tokenizer: Any, server: ModelConfig, ends: Sequence[int], roles: Roles | None
    ) -> None:
        self._benchmark, self._tokenizer, self._server = benchmark, tokenizer, server
        self._ends, self._roles = frozenset(ends), roles
        self._batch: Any = None
        self._scores: asyncio.Future[list[Score | None]] | None = None

    async def scores(self, completion_ids: list[list[int]], tasks: list[str]) -> list[Score | None]:
        if self._scores is None or self._batch is not completion_ids:
            self._batch = completion_ids
            self._scores = asyncio.ensure_future(self._score(completion_ids, tasks))
        return await self._scores

    async def _score(self, completion_ids: list[list[int]], rows: list[str]) -> list[Score | None]:
        tasks = [msgspec.json.decode(task, type=Task) for task in rows]
        answers: dict[str, list[Response]] = {}
        for task, ids in zip(tasks, completion_ids, strict=True):
            answers.setdefault(task.id, []).append(answer(ids, self._tokenizer, self._server, self._ends))
        most = max(map(len, answers.values()))
        batch = await rollouts(
            with_tasks(self._benchmark, list({task.id: task for task in tasks}.values())),
            model=_Answers(answers),
            roles=self._roles,
            repeats=most,
            concurrency=AT_ONCE,
        )
        outcomes = {one.key: one.outcome for one in batch}
        counts: Counter[str] = Counter()
        scores: list[Score | None] = []
        for task in tasks:
            outcome = outcomes[task.id, counts[task.id]]
            scores.append(outcome if isinstance(outcome, Score) else None)
            counts[task.id] += 1
        return scores


class _Answers:
    """Answers with what was sampled, by task and repeat."""

    def __init__(self, answers: Mapping[str, Sequence[Response]]) -> None:
        self._answers = answers

    async def respond(self, request: Request) -> Response:
        answers = self._answers[request.task or ""]
        return answers[min(request.repeat or 0, len(answers) - 1)]


class _Weights:
    """The trainer's weights as a model, taken anew after each step."""

    def __init__(self, server: ModelConfig) -> None:
        self.server = server
        self._step: int | None = None
        self._model: EmbeddedModel | None = None

    def model(self, trainer: Any) -> EmbeddedModel:
        if self._model is None or self._step != trainer.state.global_step:
            self._step = trainer.state.global_step
            self._model = engine_model(
                trainer.accelerator.unwrap_model(trainer.model), trainer.processing_class, self.server
            )
        return self._model


def _policy(trainer: Any, weights: _Weights) -> Model:
    """Returns the model that samples. Raises UsageError for vLLM in the trainer's own process."""
    args = trainer.args
    if not args.use_vllm:
        return weights.model(trainer)
    if args.vllm_mode != "server":
        raise UsageError(
            f"vllm_mode = {args.vllm_mode}: vLLM in the trainer's process generates batch by batch, and rollouts ask "
            'one by one; expected vllm_mode = "server". For one answer a task, leave rollout_func out and give the '
            "trainer reward()"
        )
    url = args.vllm_server_base_url or f"http://{args.vllm_server_host}:{args.vllm_server_port}"
    return ServedPolicy(f"{url.rstrip('/')}/v1", trainer.processing_class, weights.server, trainer.eos_token_ids)


def engine_model(model: Any, tokenizer: Any, server: ModelConfig = POLICY) -> EmbeddedModel:
    """Returns a model of transformers as one that runs in Assay's engine. Raises InputError if it is no Llama."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        tensors = {key: value.detach().float().cpu().numpy() for key, value in model.state_dict().items()}
        llama = Llama(Shape.read(folder / "config.json"), tensors, slots=64)
        return EmbeddedModel(server, Engine.of(folder, llama))


def _rows(rows: Dataset) -> list[dict[str, Any]]:
    return rows.select_columns(["prompt", "task"]).to_list()


def _reward_function(judge: _Judge, part: str | None) -> Reward:
    async def function(completion_ids: list[list[int]], task: list[str], **_: Any) -> list[float | None]:
        return [_part(score, part) for score in await judge.scores(completion_ids, task)]

    function.__name__ = part or "reward"
    return function


def _column(part: str | None) -> Reward:
    async def function(completion_ids: list[list[int]], outcome: list[str], **_: Any) -> list[float | None]:
        return [_part(msgspec.json.decode(one, type=Score | None), part) for one in outcome]

    function.__name__ = part or "reward"
    return function


def _part(score: Score | None, part: str | None) -> float | None:
    if score is None:
        return None
    if part is None:
        return score.reward
    if part not in score.metrics:
        raise UsageError(f"the verifier gives no metric {part!r}; it gives {', '.join(score.metrics) or 'none'}")
    return score.metrics[part]


def _sampling(args: Any) -> Sampling:
    """Returns how the trainer wants answers sampled. Raises UsageError for settings that change log-probabilities."""
    for name, expected in (("temperature", 1.0), ("repetition_penalty", 1.0), ("min_p", None)):
        if (value := getattr(args, name)) != expected:
            raise UsageError(
                f"{name} = {value}; expected {expected}: the log-probabilities of rollouts are those of the model "
                "itself, at temperature 1, and would be compared with others"
            )
    return Sampling(
        temperature=1.0,
        top_p=args.top_p,
        top_k=args.top_k or None,
        max_output_tokens=args.max_completion_length,
    )


def _columns(group: Sequence[Rollout], prompts: Sequence[Any], tokenizer: Any) -> dict[str, Any]:
    """Returns what TRL takes of rollouts: a list a column, an entry a prompt."""
    columns: dict[str, list[Any]] = {
        name: [] for name in ("prompt_ids", "completion_ids", "logprobs", "env_mask", "outcome")
    }
    unfit = Counter[str]()
    for one, prompt in zip(group, prompts, strict=True):
        tokens, outcome = tokens_of(one), one.outcome
        if tokens is None or not isinstance(outcome, Score):
            unfit["tokens that don't follow each other" if isinstance(outcome, Score) else _reason(outcome)] += 1
            ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)
            row = (ids, [tokenizer.eos_token_id], [0.0], [0], "null")
        else:
            row = (
                tokens.prompt,
                tokens.completion,
                tokens.logprobs,
                tokens.mask,
                msgspec.json.encode(outcome).decode(),
            )
        for column, value in zip(columns.values(), row, strict=True):
            column.append(value)
    if unfit:
        reasons = "; ".join(f"{count} for {reason}" for reason, count in unfit.most_common(3))
        warnings.warn(f"{unfit.total()} of {len(group)} rollouts are not trained on: {reasons}", stacklevel=2)
    return columns


def _reason(outcome: Any) -> str:
    return f"a failure in the {outcome.where}: {outcome.kind}: {outcome.message[:200]}"

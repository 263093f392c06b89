# pyright: basic, reportMissingImports=false
# verl is no extra of ours: it brings its own versions of torch and transformers.
"""verl: any benchmark as an agent loop.

Import this module where verl imports agent loops. The rows are those of `rows`: `agent_name` is "assay",
`extra_info.benchmark` names the benchmark, and `extra_info.task` holds the task as JSON.
"""

from contextlib import closing
from functools import cache
from typing import Any
from uuid import uuid4

import msgspec
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput, register

from assay.agent.loop import ToolLoop
from assay.benchmark import Benchmark
from assay.collect.deadline import Deadline
from assay.collect.plan import PlannedRollout
from assay.collect.roll import roll
from assay.collect.tokens import Tokens, tokens_of
from assay.digest import task_digest
from assay.library.names import load
from assay.model.dialects.chat.client import messages
from assay.trainers.policy import TokenModel
from assay.trainers.tasks import training_tasks
from assay.types import Request, Rollout, Score, Task

DEADLINE_S = 7200.0
"""What one rollout may take."""
TRIES = 3
"""Rollouts of one row at most: a failure of a sandbox or a server may pass."""


def rows(benchmark: str, *, count: int = 1024, seed: int = 0, on_test: bool = False) -> list[dict[str, Any]]:
    """Returns rows of a verl data set, for a Parquet file. Raises UsageError where there are no training tasks."""
    tasks = training_tasks(load(benchmark), count, seed=seed, on_test=on_test)
    return [
        {
            "prompt": messages(task.input),
            "agent_name": "assay",
            "data_source": benchmark,
            "extra_info": {"benchmark": benchmark, "task": msgspec.json.encode(task).decode(), "index": index},
        }
        for index, task in enumerate(tasks)
    ]


@register("assay")
class AssayAgentLoop(AgentLoopBase):
    """One rollout of Assay's tool loop, sampled by verl's server and scored by the benchmark's verifier."""

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> AgentLoopOutput:
        """Returns the rollout's tokens. Raises RuntimeError after TRIES failures or drifts of tokens.

        verl has no reward that means neither right nor wrong, and a 0 would be trained on.
        """
        info = row["extra_info"]
        task = msgspec.json.decode(info["task"], type=Task)
        request_id = uuid4().hex

        has_logprobs = True

        async def sample(prompt: list[int], request: Request) -> tuple[list[int], list[float]]:
            nonlocal has_logprobs
            made = await self.server_manager.generate(
                request_id=request_id, prompt_ids=prompt, sampling_params=sampling_params
            )
            has_logprobs = has_logprobs and made.log_probs is not None
            return list(made.token_ids), list(made.log_probs or [0.0] * len(made.token_ids))

        for attempt in range(TRIES):
            item = PlannedRollout(task, task_digest(task), 0, attempt, int(request_id[:7], 16))
            model = TokenModel(sample, self.tokenizer)
            with closing(Deadline(DEADLINE_S)) as deadline:
                rollout = await roll(_benchmark(info["benchmark"]), ToolLoop(), model, item, deadline=deadline)
            tokens = tokens_of(rollout)
            if tokens is not None and isinstance(rollout.outcome, Score):
                return _output(tokens, rollout, rollout.outcome.reward, has_logprobs=has_logprobs)
        raise RuntimeError(f"task {task.id} can't be trained on, tried {TRIES} times: {rollout.outcome}")


def _output(tokens: Tokens, rollout: Rollout, reward: float, *, has_logprobs: bool) -> AgentLoopOutput:
    return AgentLoopOutput(
        prompt_ids=tokens.prompt,
        response_ids=tokens.completion,
        response_mask=tokens.mask,
        response_logprobs=tokens.logprobs if has_logprobs else None,
        reward_score=reward,
        num_turns=2 * len(rollout.turns),
        metrics=AgentLoopMetrics(),
    )


@cache
def _benchmark(name: str) -> Benchmark:
    return load(name)

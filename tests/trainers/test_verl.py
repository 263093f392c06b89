"""verl's own classes, with a server manager over an embedded model. Needs verl, in an environment of its own."""

import asyncio
import importlib
import importlib.util
import math
from types import SimpleNamespace
from typing import Any

import pytest

from assay.model.builtin.engine import Engine
from assay.model.builtin.local import WEIGHTS

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(importlib.util.find_spec("verl") is None, reason="verl is not installed"),
]


class Server:
    """Samples as verl's servers do: token ids in, token ids and log-probabilities out."""

    def __init__(self, *, mute: bool = False) -> None:
        self._mute = mute
        self._engine = Engine.load(WEIGHTS / "policy")

    async def generate(self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any]) -> Any:
        made = await self._engine.generate(prompt_ids, seed=int(request_id[:6], 16), max_tokens=64)
        return SimpleNamespace(token_ids=made.output_ids, log_probs=None if self._mute else made.output_logprobs)


def test_rollouts_are_verls():
    verl = importlib.import_module("assay.trainers.verl")
    loops = importlib.import_module("verl.experimental.agent_loop.agent_loop")
    assert "assay" in loops._agent_loop_registry
    rows = verl.rows("arithmetic", count=40)
    assert {row["agent_name"] for row in rows} == {"assay"}
    loop = verl.AssayAgentLoop.__new__(verl.AssayAgentLoop)
    loop.server_manager = Server()
    loop.tokenizer = importlib.import_module("transformers").AutoTokenizer.from_pretrained(WEIGHTS / "policy")

    async def play() -> list[Any]:
        return await asyncio.gather(*(loop.run({"temperature": 1.0}, **row) for row in rows))

    outputs = asyncio.run(play())
    assert {output.reward_score for output in outputs} == {0.0, 1.0}
    for output in outputs:
        assert isinstance(output, loops.AgentLoopOutput)
        assert len(output.response_ids) == len(output.response_mask) == len(output.response_logprobs) > 0
        assert set(output.response_mask) == {1} and all(
            prob <= 0 and math.isfinite(prob) for prob in output.response_logprobs
        )
    loop.server_manager = Server(mute=True)
    assert asyncio.run(loop.run({}, **rows[0])).response_logprobs is None  # none are made up

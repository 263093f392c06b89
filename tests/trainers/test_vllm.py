"""The policy behind a server of vLLM's kind, which is asked by token ids."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from assay import sync
from assay.benchmark import Benchmark, Environment
from assay.benchmark.catalog import load
from assay.collect.tokens import tokens_of
from assay.errors import ModelError
from assay.model.builtin.engine.tokenizer import Tokenizer
from assay.model.builtin.local import WEIGHTS
from assay.model.dialects.template import ChatTemplate
from assay.trainers.policy import POLICY
from assay.trainers.vllm import ServedPolicy
from assay.types import Message, Request, Response, Sampling, Score, Task
from tests.nemo_gym import hosting
from tests.trainers.loopback import Loopback

FOLDER = WEIGHTS / "policy"
CAPPED = Sampling(temperature=1.0, max_output_tokens=64)


class PolicyTokenizer:
    """The embedded policy's, with the methods of transformers' that are used."""

    eos_token = "<|end|>"

    def __init__(self) -> None:
        self._tokenizer = Tokenizer.load(FOLDER / "tokenizer.json")
        self._template = ChatTemplate.load(FOLDER / "tokenizer_config.json")
        self.eos_token_id = self._tokenizer.token_to_id(self.eos_token)

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        return self._tokenizer.encode(text)

    def decode(self, ids: list[int], *, skip_special_tokens: bool = True) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)

    def apply_chat_template(self, said: Any, *, tools: Any, add_generation_prompt: bool, tokenize: bool) -> str:
        return self._template.render(said, {"add_generation_prompt": add_generation_prompt})


class Twice(Environment):
    """Asks a second question after the first answer; right is whoever answers both."""

    name, version = "twice", "1"

    def tasks(self) -> list[Task]:
        return [Task(id=f"t{n}", input=[Message("user", f"What is {n} + 7?")], gold=str(n + 7)) for n in range(4)]

    @asynccontextmanager
    async def open(self, task: Task, seed: int) -> AsyncGenerator[Any]:  # pyright: ignore
        yield _Twice(task)


class _Twice:
    def __init__(self, task: Task) -> None:
        self._task, self._asked = task, False

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        return "there are no tools"

    async def reply(self, response: Response) -> list[Any] | None:
        if self._asked:
            return None
        self._asked = True
        return [Message("user", "And what is 2 + 3?")]

    async def score(self, turns: Any) -> Score:
        return Score(reward=float([turn.response.text for turn in turns] == [self._task.gold, "5"]))


@contextmanager
def policy() -> Iterator[tuple[ServedPolicy, Loopback]]:
    server, tokenizer = Loopback(FOLDER), PolicyTokenizer()
    with hosting(server.app()) as url:
        yield ServedPolicy(f"{url}/v1", tokenizer, POLICY, [tokenizer.eos_token_id]), server


def test_ids_go_to_the_server_and_come_back_turn_after_turn():
    with policy() as (model, server):
        made = sync.rollouts(Benchmark(environment=Twice(), repeats=1), model=model, repeats=2, sampling=CAPPED)
    assert len(server.prompts) == 16
    for one in made:
        assert isinstance(one.outcome, Score) and len(one.turns) == 2
        tokens = tokens_of(one)
        assert tokens is not None and 0 in tokens.mask
        first, second = (turn.response.tokens for turn in one.turns)
        assert first and second and first.prompt in server.prompts
        assert second.prompt[: len(first.prompt + first.output)] == first.prompt + first.output
        asked = PolicyTokenizer().decode(second.prompt, skip_special_tokens=False)
        assert asked.endswith("<|end|><|user|>And what is 2 + 3?<|end|><|assistant|>")
        assert len(tokens.logprobs) == len(tokens.completion) and max(tokens.logprobs) <= 0


def test_scores_are_those_of_the_embedded_model():
    """The same weights, prompts and seeds, once in this process and once behind the server."""
    arithmetic = load("arithmetic")
    asked = {"tasks": [task.id for task in arithmetic.environment.tasks()][:40], "seed": 5, "sampling": CAPPED}
    here = sync.rollouts(arithmetic, model="policy", **asked)
    with policy() as (model, _):
        there = sync.rollouts(arithmetic, model=model, **asked)
    assert [one.outcome for one in here] == [one.outcome for one in there]
    tokens = [[turn.response.tokens for one in made for turn in one.turns] for made in (here, there)]
    assert [one.output for one in tokens[0] if one] == [one.output for one in tokens[1] if one]


def test_a_server_that_fails_is_asked_again_and_then_fails_the_rollout():
    with policy() as (model, server):
        server.broken = 1
        (one,) = sync.rollouts(Benchmark(environment=Twice(), repeats=1), model=model, tasks=["t1"], sampling=CAPPED)
        assert isinstance(one.outcome, Score) and tokens_of(one) is not None
    server = ServedPolicy("http://127.0.0.1:1/v1", PolicyTokenizer(), POLICY, [1])
    with pytest.raises(ModelError, match="no connection"):
        asyncio.run(server.respond(Request([Message("user", "?")], sampling=CAPPED)))

"""A model behind a trainer's sampler, with a tokenizer that is one character a token."""

import asyncio
from typing import Any

import pytest

from assay.agent.loop import ToolLoop
from assay.benchmark import Benchmark
from assay.benchmark.tools import ToolEnvironment, ToolSession, tool
from assay.collect.plan import PlannedRollout
from assay.collect.roll import roll
from assay.collect.tokens import tokens_of
from assay.config import ModelConfig
from assay.model.dialects.template import ChatTemplate
from assay.trainers.policy import TokenModel, answer
from assay.types import FunctionCall, Message, Request, Rollout, Score, Task

QWEN = (
    "{% if tools %}#{{ tools | map(attribute='function.name') | join(',') }}\n{% endif %}"
    "{% for m in messages %}[{{ m.role }}]{{ m.content or '' }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function.name }}</tool_call>{% endfor %}~\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
"""As real ones do, it writes a call otherwise than the model did, and a line break after the end token `~`."""


class Characters:
    """One token a character; `~` is the end."""

    eos_token, eos_token_id = "~", ord("~")

    def __init__(self, template: str = QWEN) -> None:
        self._template = ChatTemplate(template)

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        return [ord(one) for one in text]

    def decode(self, ids: list[int], *, skip_special_tokens: bool = True) -> str:
        return "".join(map(chr, ids))

    def apply_chat_template(self, said: Any, *, tools: Any, add_generation_prompt: bool, tokenize: bool) -> str:
        return self._template.render(said, {"tools": tools, "add_generation_prompt": add_generation_prompt})


class Shop(ToolSession):
    @tool
    def price(self, item: str) -> str:
        """Returns the price.

        Args:
            item: Its name.
        """
        return f"{len(item)} coins"

    async def score(self, turns: Any) -> Score:
        return Score(reward=float(turns[-1].response.text == "5"))


class Shops(ToolEnvironment):
    name, version, session = "shop", "1", Shop

    def tasks(self):
        return [Task(id="t", input=[Message("user", "What does an apple cost?")], tools=self.tools)]


SAID = ['Let me look.<tool_call>{"name":  "price", "arguments": {"item": "apple"}}</tool_call>~', "<think>5</think>5~"]


def play(said: list[str], template: str = QWEN) -> tuple[Rollout, list[list[int]]]:
    """A rollout of a model that says these things, and the prompts that it was given."""
    prompts: list[list[int]] = []

    async def sample(prompt: list[int], request: Request) -> tuple[list[int], list[float]]:
        prompts.append(prompt)
        ids = [ord(one) for one in said[len(prompts) - 1]]
        return ids, [-0.5] * len(ids)

    task = Shops().tasks()[0]
    model = TokenModel(sample, Characters(template))
    made = roll(Benchmark(environment=Shops(), repeats=1), ToolLoop(), model, PlannedRollout(task, "d", 0, 0, 1))
    return asyncio.run(made), prompts


def test_ids_are_carried_though_the_template_writes_the_call_otherwise():
    rollout, prompts = play(SAID)
    assert rollout.outcome == Score(reward=1.0)
    first, second = ("".join(map(chr, one)) for one in prompts)
    assert first == "#price\n[user]What does an apple cost?~\n[assistant]"
    assert second == f"{first}{SAID[0]}\n[tool]5 coins~\n[assistant]"
    tokens = tokens_of(rollout)
    assert tokens is not None
    text = "".join(map(chr, tokens.completion))
    assert text == second[len(first) :] + SAID[1]
    said = "".join(chr(one) for one, mine in zip(tokens.completion, tokens.mask, strict=True) if mine)
    assert said == "".join(SAID)


def test_a_template_that_changes_the_history_makes_a_rollout_that_is_not_trained_on():
    counting = QWEN.replace("[{{ m.role }}]", "[{{ m.role }} of {{ messages | length }}]")
    rollout, _ = play(SAID, counting)
    assert rollout.outcome == Score(reward=1.0)
    assert tokens_of(rollout) is None


@pytest.mark.parametrize(
    ("text", "kinds", "status"),
    [
        ("5~", ["message"], "completed"),
        ("5", ["message"], "incomplete"),
        ("<think>no", ["reasoning"], "incomplete"),
        ("<think>a</think><tool_call>{broken</tool_call>~", ["reasoning", "message"], "completed"),
        ('<tool_call>{"name": "a"}</tool_call><tool_call>{"name": "b"}</tool_call>~', ["call", "call"], "completed"),
    ],
)
def test_what_was_sampled_is_read(text: str, kinds: list[str], status: str):
    server = ModelConfig(dialect="local", id="policy")
    response = answer([ord(one) for one in text], Characters(), server, frozenset([ord("~")]))
    names = {"Message": "message", "Reasoning": "reasoning", "FunctionCall": "call"}
    assert [names[type(item).__name__] for item in response.output] == kinds
    assert response.status == status
    calls = [item for item in response.output if isinstance(item, FunctionCall)]
    assert len({call.call_id for call in calls}) == len(calls)

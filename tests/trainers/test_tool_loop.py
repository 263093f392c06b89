"""`pytest -m torch`: TRL's own tool loop with a benchmark's environment, in steps of a real trainer."""

import importlib
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from assay.benchmark import Benchmark
from assay.benchmark.tools import ToolEnvironment, ToolSession, tool
from assay.model.builtin.local import WEIGHTS
from assay.trainers.environments import environment, rewards
from assay.types import Message, Score, Task

pytestmark = [pytest.mark.torch, pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]
TEMPLATE = (
    "{% for m in messages %}<|{{ 'user' if m.role == 'tool' else m.role }}|>{{ m.content }}"
    "{% for c in m.tool_calls or [] %}{{ c.function.name }} {{ c.function.arguments | tojson }}{% endfor %}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
RESPONSE = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|assistant|>",
    "fields": {
        "tool_calls": {
            "open_pattern": r"(?P<coins>[0-9]+)",
            "close_pattern": r"<\|end\|>|$",
            "repeats": True,
            "content": "text",
            "transform": {"type": "function", "function": {"name": "put", "arguments": {"coins": "{coins}"}}},
        },
        "content": {"close_pattern": r"<\|end\|>", "content": "text"},
    },
}
"""The embedded policy answers a sum with a number: that is its call here, `put(coins=NUMBER)`."""


class Till(ToolSession):
    def __init__(self, task: Task, seed: int) -> None:
        super().__init__(task, seed)
        self.coins: int | None = None

    @tool
    def put(self, coins: int) -> str:
        """Puts coins into the till.

        Args:
            coins: How many.
        """
        if coins > 90:
            raise RuntimeError("the till broke")
        self.coins = coins
        return f"{coins} coins"

    async def score(self, turns: Any) -> Score:
        return Score(reward=float(str(self.coins) == self.task.gold))


class Tills(ToolEnvironment):
    """What breaks is a failure: more than 90 coins."""

    name, version, session = "till", "1", Till

    def tasks(self) -> list[Task]:
        return [self.asked(f"t{n}", n, 7) for n in range(4)]

    def training(self, rng: Random):
        while True:
            a, b = rng.randint(10, 49), rng.randint(10, 49)
            yield self.asked(f"{a}+{b}", a, b)

    def asked(self, id: str, a: int, b: int) -> Task:
        return Task(id=id, input=[Message("user", f"What is {a} + {b}?")], gold=str(a + b), tools=self.tools)


def test_trl_plays_sessions_and_trains_on_what_the_model_said(tmp_path: Path):
    library, torch = importlib.import_module("transformers"), importlib.import_module("torch")
    theirs, trl = importlib.import_module("trl"), importlib.import_module("assay.trainers.trl")
    tokenizer = library.AutoTokenizer.from_pretrained(WEIGHTS / "policy")
    tokenizer.chat_template, tokenizer.response_template = TEMPLATE, RESPONSE
    benchmark = Benchmark(environment=Tills(), repeats=1)
    given: list[list[float | None]] = []
    seen: list[dict[str, Any]] = []

    async def reward(**columns: Any) -> list[float | None]:
        seen.append(columns)
        given.append(await rewards(**columns))
        return given[-1]

    trainer = theirs.GRPOTrainer(
        model=library.AutoModelForCausalLM.from_pretrained(WEIGHTS / "policy", dtype=torch.float32),
        processing_class=tokenizer,
        args=theirs.GRPOConfig(
            output_dir=str(tmp_path),
            use_cpu=True,
            bf16=False,
            activation_checkpointing=False,
            per_device_train_batch_size=64,
            num_generations=8,
            max_steps=2,
            max_completion_length=48,
            max_tool_calling_iterations=1,
            loss_type="dr_grpo",
            scale_rewards="none",
            beta=0.0,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        ),
        train_dataset=trl.dataset(benchmark, count=32),
        reward_funcs=reward,
        environment_factory=environment(benchmark),
    )
    before = {name: weight.clone() for name, weight in trainer.model.named_parameters()}
    trainer.train()
    assert any(not torch.equal(before[name], weight) for name, weight in trainer.model.named_parameters())
    log = trainer.state.log_history[0]
    assert log["tools/call_frequency"] > 0.5
    for columns, scores in zip(seen, given, strict=True):
        tasks = [msgspec.json.decode(one, type=Task) for one in columns["task"]]
        for task, said, score in zip(tasks, columns["completions"], scores, strict=True):
            calls = [call["function"]["arguments"]["coins"] for one in said for call in one.get("tool_calls") or []][:1]
            if calls and calls[0] > 90:
                assert score is None  # the till broke
            else:
                assert score == float(calls[:1] == [int(task.gold or 0)])
    assert {1.0, 0.0, None} == {one for scores in given for one in scores}

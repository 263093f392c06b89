"""The agent in docs/agents.md."""

import re
from pathlib import Path
from typing import Any

import assay
from assay.config import ModelConfig
from assay.types import Message, Score


def test_the_agent_of_the_page_plays_a_benchmark():
    page = (Path(__file__).parents[2] / "docs/agents.md").read_text()
    [text] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(text, names)
    model = ModelConfig(dialect="scripted", script=["perhaps", "#### 7"])
    made = assay.sync.rollouts("arithmetic", model=model, agent=names["Twice"](), tasks=None, concurrency=8)
    assert len(made) == 240
    for rollout in made[:3]:
        asked = rollout.turns[1].input[-1]
        assert isinstance(asked, Message) and asked.text == "Check your answer, and give it again."
        assert isinstance(rollout.outcome, Score) and rollout.outcome.answer == "7"

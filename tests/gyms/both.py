"""What both adapters' tests need: a model whose answers follow from what it was asked, and a whole run on it."""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from assay.benchmark import Benchmark
from assay.collect.collect import Tally
from assay.collect.run import RunPlan, collect_run
from assay.config import ModelConfig
from assay.store import read_rollouts
from assay.types import Rollout
from tests.endpoint import Behave, Call, chat_body, http

Reply = dict[str, Any]
"""`text`, `reasoning`, `calls` as pairs of name and arguments, `finish`: one answer of the model's."""


def replying(first: Sequence[Reply], then: str | None = "So it is {}.") -> Behave:
    """Answers a question by one of `first`, chosen by the question; answers a tool's output by `then`, or once more."""

    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        messages = call.json["messages"]
        if messages[-1]["role"] == "tool" and then:
            reply: Reply = {"text": then.format(messages[-1]["content"])}
        else:
            asked = [message["content"] for message in messages if message["role"] == "user"]
            reply = first[chosen(asked[-1], len(first))]
        calls = [
            {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for number, (name, arguments) in enumerate(reply.get("calls", ()))
        ]
        message = {"tool_calls": calls} if calls else {}
        message |= {"reasoning_content": reply["reasoning"]} if "reasoning" in reply else {}
        finish = reply.get("finish", "tool_calls" if calls else "stop")
        body = json.loads(chat_body(reply.get("text"), finish, **message))
        writer.write(http(json.dumps(body | {"created": 0}).encode()))

    return behave


def chosen(question: Any, count: int) -> int:
    """Which of `count` answers a question gets."""
    text = question if isinstance(question, str) else json.dumps(question)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") % count


def run_here(benchmark: Benchmark, url: str, folder: Path, limit: int | None = None) -> dict[str, Rollout]:
    """Every task's rollout, made as `assay run` makes it."""
    server = ModelConfig(dialect="chat", id="m", base_url=url, attempts=1)
    plan: dict[str, Any] = {"repeats": 1, "limit": limit, "concurrency": 4, "early_stop": False}
    asked = RunPlan.of(benchmark=benchmark, name="m", server=server, folder=folder, **plan)
    tally: Tally = asyncio.run(collect_run(asked))
    assert tally.done == tally.planned
    return {rollout.task: rollout for rollout in read_rollouts(folder)}

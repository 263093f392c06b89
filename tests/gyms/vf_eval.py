"""The own evaluation of verifiers 0.4, on an endpoint of a test's."""

import asyncio
import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.endpoint import Behave, Call, http
from tests.gyms.both import Reply, replying


def streaming(replies: Sequence[Reply], then: str | None = "So it is {}.") -> Behave:
    """As `replying`, for the library's harness, which wants each answer as a stream."""
    whole = replying(replies, then)

    class Taken:
        content = b""

        def write(self, content: bytes) -> None:
            self.content += content

    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        taken: Any = Taken()
        await whole(call, taken)
        if not call.json.get("stream"):
            writer.write(taken.content)
            return
        body = json.loads(taken.content.partition(b"\r\n\r\n")[2])
        (choice,) = body["choices"]
        calls = [{**one, "index": index} for index, one in enumerate(choice["message"].get("tool_calls", ()))]
        delta = choice["message"] | ({"tool_calls": calls} if calls else {})
        head = {**body, "object": "chat.completion.chunk", "usage": None}
        chunks: list[dict[str, Any]] = [
            {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
            {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]},
            {**head, "choices": [], "usage": body["usage"]},
        ]
        events = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
        writer.write(http(events + b"data: [DONE]\n\n", kind="text/event-stream"))

    return behave


def original(name: str, url: str, folder: Path, taskset: Any = None, **env: Any) -> dict[str, Any]:
    """The trace of each task that the library's own evaluation makes."""
    config = importlib.import_module("verifiers.v1.configs.cli.eval").EvalConfig(
        env={"taskset": {"id": name, **(taskset or {})}, **env},
        model="m",
        client={"base_url": url, "api_key_var": "ASSAY_NEEDS_NO_KEY"},
        push=False,
        rich=None,
        output_dir=folder / "original",
        max_concurrent=4,
    )
    episodes = asyncio.run(importlib.import_module("verifiers.v1.cli.eval.runner").run_eval(config))
    return {str(trace.task.data.idx): trace for episode in episodes for trace in episode.traces}

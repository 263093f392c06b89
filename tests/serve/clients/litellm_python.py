"""LiteLLM, which speaks to Chat Completions and to the Messages API."""

import json
import sys
from typing import Any

import litellm

litellm.suppress_debug_info = True
url = sys.argv[1]
TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
    },
}
SERVED = {"chat": ("openai/m", f"{url}/v1"), "messages": ("anthropic/m", url)}


def made(model: str, base: str) -> dict[str, Any]:
    def ask(*messages: Any, **more: Any) -> Any:
        return litellm.completion(
            model=model, api_base=base, api_key="none", messages=list(messages), timeout=20, max_retries=2, **more
        )

    said, asked = ({"role": "user", "content": text} for text in ("text", "tools"))
    deltas = [chunk.choices[0].delta for chunk in ask(said, stream=True)]
    called = ask(asked, tools=[TOOL]).choices[0].message
    (call,) = called.tool_calls
    output = str(sum(json.loads(call.function.arguments).values()))
    result = {"role": "tool", "tool_call_id": call.id, "content": output}
    try:
        ask({"role": "user", "content": "fail"})
        status = None
    except litellm.AuthenticationError as error:
        status = error.status_code
    return {
        "text": ask(said).choices[0].message.content,
        "stream": "".join(delta.content or "" for delta in deltas),
        "reasoning": "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas),
        "tools": ask(asked, called.model_dump(), result, tools=[TOOL]).choices[0].message.content,
        "error": status,
    }


print(json.dumps({name: made(model, base) for name, (model, base) in SERVED.items()}))

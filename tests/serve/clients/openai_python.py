"""OpenAI's SDK: the Responses API and Chat Completions."""

import json
import sys
from typing import Any

import openai

url = sys.argv[1]
sdk = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=2, timeout=20)
PARAMETERS = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}


def error(ask: Any) -> int | None:
    try:
        ask()
    except openai.APIStatusError as error:
        return error.status_code
    return None


def responses() -> dict[str, Any]:
    made = sdk.responses.create(model="m", input="text")
    with sdk.responses.stream(model="m", input="text") as stream:
        events = list(stream)
    thought = "".join(event.delta for event in events if event.type == "response.reasoning_text.delta")
    tools: Any = [{"type": "function", "name": "add", "parameters": PARAMETERS}, {"type": "web_search"}]
    items: Any = [{"role": "user", "content": "tools"}]
    with sdk.responses.stream(model="m", input=items, tools=tools) as stream:
        called = stream.get_final_response().output
    (call,) = [item for item in called if item.type == "function_call"]
    output = str(sum(json.loads(call.arguments).values()))
    items += [*called, {"type": "function_call_output", "call_id": call.call_id, "output": output}]
    return {
        "text": made.output_text,
        "stream": stream_text(events),
        "reasoning": thought,
        "tools": sdk.responses.create(model="m", input=items, tools=tools).output_text,
        "error": error(lambda: sdk.responses.create(model="m", input="fail", stream=True)),
    }


def stream_text(events: list[Any]) -> str:
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def chat() -> dict[str, Any]:
    def ask(messages: list[Any], **more: Any) -> Any:
        return sdk.chat.completions.create(model="m", messages=messages, **more)

    said: list[Any] = [{"role": "user", "content": "text"}]
    deltas = [chunk.choices[0].delta for chunk in ask(said, stream=True)]
    tools = [{"type": "function", "function": {"name": "add", "parameters": PARAMETERS}}]
    asked: list[Any] = [{"role": "user", "content": "tools"}]
    with sdk.chat.completions.stream(model="m", messages=asked, tools=tools) as stream:  # type: ignore[arg-type]
        called = stream.get_final_completion().choices[0].message
    call = called.tool_calls[0]  # type: ignore[index]
    output = str(sum(json.loads(call.function.arguments).values()))
    asked += [called, {"role": "tool", "tool_call_id": call.id, "content": output}]
    return {
        "text": ask(said).choices[0].message.content,
        "stream": "".join(delta.content or "" for delta in deltas),
        "reasoning": "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas),
        "tools": ask(asked, tools=tools).choices[0].message.content,
        "error": error(lambda: ask([{"role": "user", "content": "fail"}], stream=True)),
    }


print(json.dumps({"responses": responses(), "chat": chat()}))

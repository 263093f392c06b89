"""The OpenAI Agents SDK: agents with a tool, by the Responses API and by Chat Completions."""

import asyncio
import json
import sys
from typing import Any

import openai
from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)

set_tracing_disabled(True)
sdk = openai.AsyncOpenAI(base_url=f"{sys.argv[1]}/v1", api_key="none", max_retries=2, timeout=20)


@function_tool
def add(a: int, b: int) -> str:
    """The sum of two numbers."""
    return str(a + b)


async def made(model: Any, reasoning: str) -> dict[str, Any]:
    agent = Agent(name="a", model=model)
    stream = Runner.run_streamed(agent, "text")
    events = [event.data async for event in stream.stream_events() if event.type == "raw_response_event"]
    with_tool = Agent(name="t", model=model, tools=[add], model_settings=ModelSettings(store=False))
    tools = Runner.run_streamed(with_tool, "tools")
    async for _ in tools.stream_events():
        pass
    try:
        await Runner.run(agent, "fail")
        status = None
    except openai.APIStatusError as error:
        status = error.status_code
    return {
        "text": (await Runner.run(agent, "text")).final_output,
        "stream": "".join(event.delta for event in events if event.type == "response.output_text.delta"),
        "reasoning": "".join(event.delta for event in events if event.type == reasoning),
        "tools": tools.final_output,
        "error": status,
    }


async def main() -> None:
    responses = await made(OpenAIResponsesModel("m", sdk), "response.reasoning_text.delta")
    chat = await made(OpenAIChatCompletionsModel("m", sdk), "response.reasoning_summary_text.delta")
    print(json.dumps({"responses": responses, "chat": chat}))


asyncio.run(main())

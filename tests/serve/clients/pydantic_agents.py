"""Pydantic AI: agents with a tool, in all three wire formats."""

import asyncio
import json
import sys
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import ThinkingPart
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

url = sys.argv[1]


def add(a: int, b: int) -> str:
    """The sum of two numbers."""
    return str(a + b)


def thought(part: ThinkingPart) -> str:
    """What the model thought. Of the Responses API the content holds the summary alone."""
    return part.content or "".join((part.provider_details or {}).get("raw_content", []))


async def made(model: Any) -> dict[str, Any]:
    agent = Agent(model)
    async with agent.run_stream("text") as stream:
        text = "".join([piece async for piece in stream.stream_text(delta=True, debounce_by=None)])
        parts = [part for message in stream.all_messages() for part in message.parts]
    try:
        await agent.run("fail")
        status = None
    except ModelHTTPError as error:
        status = error.status_code
    return {
        "text": (await agent.run("text")).output,
        "stream": text,
        "reasoning": "".join(thought(part) for part in parts if isinstance(part, ThinkingPart)),
        "tools": (await Agent(model, tools=[add]).run("tools")).output,
        "error": status,
    }


async def main() -> None:
    provider = OpenAIProvider(base_url=f"{url}/v1", api_key="none")
    models = {
        "responses": OpenAIResponsesModel("m", provider=provider),
        "chat": OpenAIChatModel("m", provider=provider),
        "messages": AnthropicModel("m", provider=AnthropicProvider(base_url=url, api_key="none")),
    }
    print(json.dumps({name: await made(model) for name, model in models.items()}))


asyncio.run(main())

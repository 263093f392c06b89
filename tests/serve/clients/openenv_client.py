"""OpenEnv's own clients against a server: `python openenv_client.py URL` prints what they got, as JSON."""

import asyncio
import json
import sys
from typing import Any

from openenv.core.generic_client import GenericEnvClient
from openenv.core.mcp_client import MCPToolClient


async def play(url: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    async with GenericEnvClient(base_url=url) as client:
        made["first"] = (await client.reset(task="t5", episode_id="mine")).observation
        made["step"] = (
            await client.step({"type": "call_tool", "tool_name": "put", "arguments": {"coins": 5}})
        ).observation
        made["state"] = await client.state()
        last = await client.step({"message": "done"})
        made["reward"], made["done"] = last.reward, last.done
        await client.reset(task="t3")
        try:
            await client.step({"message": "crash"})
        except RuntimeError as error:
            made["error"] = str(error)
    async with MCPToolClient(base_url=url) as client:
        await client.reset(seed=1)
        made["tools"] = [tool.model_dump() for tool in await client.list_tools()]
        made["called"] = await client.call_tool("put", coins=2)
    return made


print(json.dumps(asyncio.run(play(sys.argv[1]))))

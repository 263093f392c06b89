"""The tools of somebody's MCP server, whose address `/seed_session` hands over."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import TextContent

from assay.errors import RemoteError
from assay.types import Tool


class McpTools:
    """The tools of one session on an MCP server."""

    def __init__(self, client: Client, url: str, tools: list[Tool]) -> None:
        self._client = client
        self._url = url
        self.tools = tools

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """Returns the texts of what a tool answers, also of an error. Raises RemoteError where there is none."""
        try:
            said = await self._client.call_tool(name, arguments)
        except Exception as error:
            raise RemoteError(f"{self._url}: the tool {name}: {type(error).__name__}: {error}") from error
        return "\n".join(part.text for part in said.content if isinstance(part, TextContent))


@asynccontextmanager
async def connected(url: str, headers: Mapping[str, str], timeout_s: float) -> AsyncGenerator[McpTools]:
    """Yields the tools of a server, by streamable HTTP. Raises RemoteError where it can't be reached."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx2.AsyncClient(headers=dict(headers), timeout=timeout_s))
        client = Client(streamable_http_client(url, http_client=http), read_timeout_seconds=timeout_s)
        try:
            await stack.enter_async_context(client)
            listed = await client.list_tools()
        except Exception as error:
            raise RemoteError(f"{url}: no MCP server answers ({type(error).__name__}: {error})") from error
        yield McpTools(client, url, [Tool(one.name, one.input_schema, one.description) for one in listed.tools])

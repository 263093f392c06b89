"""A session's tools as an MCP server (streamable HTTP)."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.types import ASGIApp, Receive, Scope, Send

from assay.model.dialects.serving import BadRequest
from assay.serve.tools import Tools


@asynccontextmanager
async def with_mcp(tools: Tools, app: ASGIApp, path: str) -> AsyncGenerator[ASGIApp]:
    """Yields the app with the tools as an MCP server at a path."""

    async def list_tools(context: Any, params: Any) -> types.ListToolsResult:
        tools_of_mcp = [
            types.Tool(name=tool.name, description=tool.description, input_schema=tool.parameters)
            for tool in tools.current()
        ]
        return types.ListToolsResult(tools=tools_of_mcp)

    async def call_tool(context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        try:
            text, is_error = await tools.call(params.name, params.arguments or {}), False
        except BadRequest as error:
            text, is_error = error.message, True
        return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=is_error)

    server = Server("task", on_list_tools=list_tools, on_call_tool=call_tool)
    manager = StreamableHTTPSessionManager(server, json_response=True, stateless=True)

    async def whole(scope: Scope, receive: Receive, send: Send) -> None:
        target = manager.handle_request if scope["type"] == "http" and scope["path"] == path else app
        await target(scope, receive, send)

    async with manager.run():
        yield whole

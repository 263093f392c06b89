"""A session's tools on HTTP, for an agent that is a program.

GET  /tools       the tools, each with its name, description and the JSON schema of its arguments
POST /tools/NAME  a call's arguments as a JSON object; the answer's text is what the model reads
"""

import asyncio
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from assay.agent.door import Opening
from assay.agent.limits import LimitReached
from assay.agent.loop import call_tool
from assay.benchmark import Ended, Session, tools_for
from assay.model.dialects.serving import BadRequest
from assay.serve.http import read_arguments
from assay.types import Task, Tool

OVER = "the task has ended"


class Tools:
    """The tools of one rollout. Calls follow one another, as they do in a tool loop."""

    def __init__(self, task: Task, session: Session, opening: Opening) -> None:
        self._task, self._session, self._opening = task, session, opening
        self._lock = asyncio.Lock()

    def current(self) -> list[Tool]:
        """Returns the tools that may be called now."""
        return tools_for(self._session, self._task)

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """What a tool answers. Raises BadRequest where the rollout is over, or where the tool breaks, which ends it."""
        async with self._lock:
            if self._opening.over.is_set():
                raise BadRequest(OVER, code="rollout_over", status=403)
            try:
                return (await call_tool(self._session, name, arguments)).encode("utf-8", "replace").decode()
            except Ended:
                self._opening.close()
                return OVER
            except LimitReached as error:
                self._opening.close()
                raise BadRequest(str(error), code="limit_reached", status=403) from None
            except Exception as error:
                self._opening.close(broken=error)
                raise BadRequest(f"the tool {name} failed", code="tool_failed", status=500) from None

    def routes(self, prefix: str) -> list[Route]:
        return [
            Route(f"{prefix}/tools", self._list),
            Route(f"{prefix}/tools/{{name}}", self._call, methods=["POST"]),
        ]

    async def _list(self, request: Request) -> Response:
        return Response(msgspec.json.encode(self.current()), media_type="application/json")

    async def _call(self, request: Request) -> Response:
        name = request.path_params["name"]
        arguments = await read_arguments(request, name)
        return Response(await self.call(name, arguments), media_type="text/plain; charset=utf-8")

"""Kinds of NeMo Gym's servers, and how they show: in rows, in routes, in what they answer.

A session is `/seed_session`, a call of `/TOOL` for each of the task's tools, and `/verify`; or, of a gymnasium server,
`/reset` and a `/step` for each response. Others want more, and without it every answer would score 0. So they are
refused by name.
"""

import re
from collections.abc import Collection, Iterable
from typing import Any

import msgspec
from msgspec import Struct

from assay.gyms.nemo_gym.rows import AGENT, Row
from assay.input import BROKEN
from assay.types import Message, Task

_YET = "; not supported yet"
KINDS = {
    r"aviary": "is an aviary environment, which has a protocol of its own",
    r"open_?env": "is an OpenEnv environment, which has a protocol of its own",
    r"genrm": "is genrm_compare, which compares the responses of a group",
    r"sandbox|deepswe|anyswe|swe_?bench|swe_agents?|anyterminal": "works in a sandbox that the server hands over",
}
"""Kinds that can't be driven, by the names of their agents."""
_ANSWERS = {"sandbox_handle": "a sandbox"}
"""What `/seed_session` may hand over, by field."""
_STEPS = {"/reset", "/step"}
_GYMNASIUM = (
    "is a gymnasium environment, driven by /reset and /step; import its rows again while it runs, "
    "or write GymnasiumEnvironment in benchmark.py"
)


def of_rows(rows: Collection[tuple[Task, Row]]) -> str | None:
    """Returns why rows can't be driven; None where nothing in them says so."""
    for _, row in rows:
        agent = str(row.get(AGENT, ""))
        for pattern, kind in KINDS.items():
            if re.search(pattern, agent, re.IGNORECASE):
                return f"{kind}, by its agent_ref {agent}{_YET}"
    return None


def is_gymnasium(rows: Collection[tuple[Task, Row]], paths: Collection[str]) -> bool:
    """Whether the agent that the rows name, or else the server's routes, are a gymnasium environment's."""
    named = any("gymnasium" in str(row.get(AGENT, "")).lower() for _, row in rows)
    return named or ({*paths} >= _STEPS and "/seed_session" not in paths)


def of_questions(rows: Collection[tuple[Task, Row]]) -> str | None:
    """Returns why rows can't be asked as they stand: their server has to speak first."""
    if is_gymnasium(rows, ()):
        return _GYMNASIUM
    for task, _ in rows:
        if not any(isinstance(item, Message) and item.role == "user" for item in task.input):
            return (
                f"gives the first message of task {task.id}, as a gymnasium environment does, or an aviary; "
                "if it is a gymnasium environment, import its rows while it runs"
            )
    return None


def of_routes(paths: Collection[str], tools: Iterable[str]) -> str | None:
    """Returns why a server with these routes can't be driven; None where it offers a session and all of the tools."""
    if "/seed_session" not in paths:
        return _GYMNASIUM if {*paths} >= _STEPS else f"has no route /seed_session{_YET}"
    missing = [] if any("{" in path for path in paths) else sorted({name for name in tools if f"/{name}" not in paths})
    return f"has no route for the tools that its rows promise: {', '.join(missing)}{_YET}" if missing else None


def of_gymnasium(paths: Collection[str]) -> str | None:
    """Returns why a server with these routes is no gymnasium environment; None where it is one."""
    missing = sorted(_STEPS - {*paths})
    return f"has no route {' and no '.join(missing)}, so it is no gymnasium environment" if missing else None


class McpServer(Struct, frozen=True):
    """Where `/seed_session` says that a session's tools are, by streamable HTTP."""

    headers: dict[str, str]
    """What names the session."""
    url_path: str = "/mcp"


class _Seeded(Struct, frozen=True):
    mcp: McpServer | None = None


def mcp_of_seed(content: bytes) -> McpServer | None:
    """Returns the MCP server that `/seed_session` handed over; None where there is none."""
    try:
        return msgspec.json.decode(content, type=_Seeded).mcp if content.strip() else None
    except BROKEN:
        return None


def of_seed(content: bytes) -> str | None:
    """Returns what `/seed_session` handed over that a session here does not use; None for `{}`."""
    try:
        said = list(msgspec.json.decode(content, type=dict[str, Any] | None) or ()) if content.strip() else []
    except BROKEN:
        said = ["(no JSON object)"]
    if not said or (said == ["mcp"] and mcp_of_seed(content)):
        return None
    fields = [f"{name} ({_ANSWERS[name]})" if name in _ANSWERS else name for name in said]
    return f"answers /seed_session with {', '.join(fields)}, which a session here does not use{_YET}"

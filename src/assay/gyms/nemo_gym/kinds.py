"""Servers of NeMo Gym that a session here can't drive, and how they show: in rows, in routes, in what they answer.

A session here is `/seed_session`, a call of `/TOOL` for each of the task's tools, and `/verify`. Others want more, and
without it every answer would score 0. So they are refused by name.
"""

import re
from collections.abc import Collection, Iterable
from typing import Any

import msgspec
from msgspec import Struct

from assay.gyms.nemo_gym.rows import AGENT, Row
from assay.input import BROKEN
from assay.types import Message, Task

KINDS = {
    "gymnasium": "is a gymnasium environment, driven by /reset and /step",
    "aviary": "is an aviary environment, which has a protocol of its own",
    "openenv": "is an OpenEnv environment, which has a protocol of its own",
    "genrm": "is genrm_compare, which compares the responses of a group",
    "sandbox": "works in a sandbox that the server hands over",
}
_AGENTS = {
    "gymnasium": r"gymnasium",
    "aviary": r"aviary",
    "openenv": r"open_?env",
    "genrm": r"genrm",
    "sandbox": r"sandbox|deepswe|anyswe|swe_?bench|swe_agents?|anyterminal",
}
_ANSWERS = {"sandbox_handle": "a sandbox"}
"""What `/seed_session` may hand over, by field."""


def of_rows(rows: Iterable[tuple[Task, Row]]) -> str | None:
    """Returns why rows can't be driven; None where nothing in them says so."""
    for task, row in rows:
        agent = str(row.get(AGENT, ""))
        for kind, pattern in _AGENTS.items():
            if re.search(pattern, agent, re.IGNORECASE):
                return f"{KINDS[kind]}, by its agent_ref {agent}"
        if not any(isinstance(item, Message) and item.role == "user" for item in task.input):
            return f"gives the first message of task {task.id}, as {KINDS['gymnasium'][3:]}, or an aviary"
    return None


def of_routes(paths: Collection[str], tools: Iterable[str]) -> str | None:
    """Returns why a server with these routes can't be driven; None where it offers a session and all of the tools."""
    if "/seed_session" not in paths:
        return KINDS["gymnasium"] if {"/reset", "/step"} <= {*paths} else "has no route /seed_session"
    missing = [] if any("{" in path for path in paths) else sorted({name for name in tools if f"/{name}" not in paths})
    return f"has no route for the tools that its rows promise: {', '.join(missing)}" if missing else None


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
    return f"answers /seed_session with {', '.join(fields)}, which a session here does not use"

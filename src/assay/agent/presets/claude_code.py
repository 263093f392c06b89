"""Claude Code, which speaks the Messages API."""

from typing import Any

from assay.agent.command import Command
from assay.agent.door import Door
from assay.agent.presets.program import find_program

REMEDY = (
    "install it: npm install -g @anthropic-ai/claude-code; or name it: settings = { program = '/path/to/bin/claude' }"
)
VARIABLES = {
    "ANTHROPIC_MODEL": "{model}",
    "ANTHROPIC_SMALL_FAST_MODEL": "{model}",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "IS_SANDBOX": "1",
}
SERVERS = '{"mcpServers": {"task": {"type": "http", "url": "{mcp}"}}}'


def claude_code(*, program: str = "claude", door: Door | None = None, **settings: Any) -> Command:
    """Runs Claude Code (npm), to which the task's tools are an MCP server."""
    here = find_program(program, REMEDY)
    return Command(
        argv=[
            *(str(here.path), "-p", "--dangerously-skip-permissions", "--no-session-persistence"),
            *("--strict-mcp-config", "--mcp-config", SERVERS, "--", "{instruction}"),
        ],
        env=VARIABLES | settings.pop("env", {}),
        mounts=[*here.mounts, *settings.pop("mounts", ())],
        version=[str(here.path), "--version"],
        door=door,
        **settings,
    )

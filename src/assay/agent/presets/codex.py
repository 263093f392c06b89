"""Codex CLI, which speaks the Responses API."""

from pathlib import Path
from typing import Any

from assay.agent.command import Command
from assay.agent.door import Door
from assay.agent.presets.program import find_program

REMEDY = "install it: npm install -g @openai/codex; or name it: settings = { program = '/path/to/codex' }"
NATIVE = "@openai/codex-*/vendor/*/bin/codex"
"""The program itself, which the script of the package starts. It needs no node."""
CONFIG = (
    "model_provider='assay'",
    "model_providers.assay={name='assay', base_url='{url}', wire_api='responses'}",
    "mcp_servers.task={url='{mcp}', default_tools_approval_mode='approve'}",
    "web_search='disabled'",
    "features.multi_agent=false",
)


def codex(*, program: str = "codex", door: Door | None = None, **settings: Any) -> Command:
    """Runs Codex CLI (npm), to which the task's tools are an MCP server."""
    here = find_program(program, REMEDY)
    native = next((path for mount in here.mounts for path in Path(mount).glob(NATIVE)), here.path)
    config = [part for line in CONFIG for part in ("-c", line)]
    flags = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "-m", "{model}"]
    return Command(
        argv=[str(native), "exec", *flags, *config, "--", "{instruction}"],
        mounts=[*here.mounts, *settings.pop("mounts", ())],
        version=[str(native), "--version"],
        door=door,
        **settings,
    )

"""Other people's agents, as they are installed, with a scripted model: each solves a task of `office`."""

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import assay
from assay.agent.catalog import make_agent
from assay.benchmark import Call
from assay.config import AgentConfig, ModelConfig
from assay.errors import UsageError
from assay.serve.door import HttpDoor
from assay.types import FunctionCall, Item, Score

PLACES = os.environ.get("ASSAY_AGENTS", "")
"""The folders of the programs, as in PATH."""


def in_shell(tool: str, **more: str) -> Any:
    """How an agent calls a task's tool that has a shell alone."""

    def called(call: Call) -> tuple[str, dict[str, Any]]:
        arguments = json.dumps(dict(call.arguments)).replace("'", "'\\''")
        return tool, {"command": f"python3 ~/task_tools.py {call.name} '{arguments}'", **more}

    return called


def by_mcp(call: Call) -> tuple[str, dict[str, Any]]:
    return f"mcp__task__{call.name}", dict(call.arguments)


SUBMIT = FunctionCall("end", "bash", json.dumps({"command": "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"}))
AGENTS: dict[str, tuple[str, Any, str | list[Item]]] = {
    "mini-swe-agent": ("mini", in_shell("bash"), [SUBMIT]),
    "codex": ("codex", by_mcp, "It is done."),
    "claude-code": ("claude", by_mcp, "It is done."),
    "openhands": ("openhands", in_shell("terminal", security_risk="LOW"), "It is done."),
}


@pytest.mark.agents
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_solves_a_task_with_its_own_tools(name: str, tmp_path: Path):
    program, called, last = AGENTS[name]
    path = shutil.which(program, path=PLACES)
    if path is None:
        pytest.skip(f"{program} is not in ASSAY_AGENTS")
    environment = assay.load("office").environment
    task = next(iter(environment.tasks()))
    calls = [called(call) for call in environment.solution(task) or () if isinstance(call, Call)]
    script: list[str | list[Item]] = [
        [FunctionCall(f"c{number}", tool, json.dumps(arguments))] for number, (tool, arguments) in enumerate(calls)
    ]
    model = ModelConfig(dialect="scripted", script=[*script, last])
    agent = make_agent(AgentConfig(agent=name, settings={"program": path}), HttpDoor("m"))
    version = asyncio.run(agent.ready(environment))  # type: ignore[attr-defined]
    assert version[-1:].isdigit() or "." in version
    config = tmp_path / "assay.toml"
    config.write_text(f'[agents.theirs]\nagent = "{name}"\nsettings = {{ program = "{path}" }}\n')
    [made] = assay.sync.rollouts("office", model=model, agent="theirs", tasks=[task.id], config=config)
    assert isinstance(made.outcome, Score), made.outcome
    assert made.outcome.reward == 1.0


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_that_is_not_installed_is_refused_with_the_command_that_installs_it(name: str):
    with pytest.raises(UsageError, match=r"no program /nowhere/agent here; install it: (uv tool|npm) install"):
        make_agent(AgentConfig(agent=name, settings={"program": "/nowhere/agent"}))

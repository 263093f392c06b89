"""Finding agents: Assay's own and those of installed packages, by entry point."""

import inspect

from assay.agent import Agent
from assay.agent.door import Door
from assay.config import AgentConfig
from assay.errors import UsageError
from assay.plugins import describe, find

GROUP = "assay.agents"


def agents() -> dict[str, str]:
    """Returns one sentence for each agent, by name."""
    return describe(GROUP)


def make_agent(config: AgentConfig, door: Door | None = None) -> Agent:
    """Returns the agent of a configuration, with the door if it takes one.

    Raises UsageError if it does not take the settings.
    """
    kind = find(GROUP, config.agent)
    try:
        more = {"door": door} if "door" in inspect.signature(kind).parameters else {}
        agent = kind(**config.settings, **more)
    except (TypeError, ValueError) as error:
        raise UsageError(f"agent {config}: {error}") from error
    if not callable(getattr(agent, "run", None)):
        raise UsageError(f"agent {config}: {kind!r} has no async def run(task, model, session)")
    return agent

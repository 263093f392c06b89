"""Finding agents: Assay's own and those of installed packages, by entry point."""

from assay.agent import Agent
from assay.config import AgentConfig
from assay.errors import UsageError
from assay.plugins import describe, find

GROUP = "assay.agents"


def agents() -> dict[str, str]:
    """Returns one sentence for each agent, by name."""
    return describe(GROUP)


def make_agent(config: AgentConfig) -> Agent:
    """Returns the agent behind a configuration. Raises UsageError where it does not take the settings."""
    kind = find(GROUP, config.agent)
    try:
        agent = kind(**config.settings)
    except (TypeError, ValueError) as error:
        raise UsageError(f"agent {config}: {error}") from error
    if not callable(getattr(agent, "run", None)):
        raise UsageError(f"agent {config}: {kind!r} has no async def run(task, model, session)")
    return agent

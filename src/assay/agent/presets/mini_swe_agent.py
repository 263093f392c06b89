"""mini-swe-agent: a loop of a model and bash."""

from typing import Any

from assay.agent.command import Command
from assay.agent.door import Door
from assay.agent.presets.program import find_program

PACKAGE = "mini-swe-agent"
REMEDY = f"install it: uv tool install {PACKAGE}; or name it: settings = {{ program = '/path/to/bin/mini' }}"
VARIABLES = {
    "MSWEA_CONFIGURED": "true",
    "MSWEA_SILENT_STARTUP": "1",
    "MSWEA_COST_TRACKING": "ignore_errors",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}


def mini_swe_agent(*, program: str = "mini", door: Door | None = None, **settings: Any) -> Command:
    """Runs mini-swe-agent (PyPI), whose one tool is bash: the task's tools are called from there."""
    here = find_program(program, REMEDY)
    argv = [str(here.path), "-y", "--exit-immediately", "-l", "0", "-m", "openai/{model}"]
    return Command(
        argv=[*argv, "-o", "/tmp/trajectory.json", "-t", "{instruction}"],
        env=VARIABLES | settings.pop("env", {}),
        mounts=[*here.mounts, *settings.pop("mounts", ())],
        version=[here.python, "-c", f"import importlib.metadata as m; print(m.version({PACKAGE!r}))"],
        door=door,
        **settings,
    )

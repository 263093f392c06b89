"""OpenHands' command line."""

from typing import Any

from assay.agent.command import Command
from assay.agent.door import Door
from assay.agent.presets.program import find_program

PACKAGE = "openhands"
INSTALL = f"uv tool install {PACKAGE} --python 3.12"
REMEDY = f"install it: {INSTALL}; or name it: settings = {{ program = '/path/to/openhands' }}"
VARIABLES = {
    "LLM_MODEL": "openai/{model}",
    "LLM_BASE_URL": "{url}",
    "LLM_API_KEY": "recorded",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OPENHANDS_SUPPRESS_BANNER": "1",
}


def openhands(*, program: str = "openhands", door: Door | None = None, **settings: Any) -> Command:
    """Runs OpenHands' command line (PyPI), from whose terminal the task's tools are called."""
    here = find_program(program, REMEDY)
    return Command(
        argv=[str(here.path), "--headless", "--json", "--override-with-envs", "-t", "{instruction}"],
        env=VARIABLES | settings.pop("env", {}),
        mounts=[*here.mounts, *settings.pop("mounts", ())],
        version=[here.python, "-c", f"import importlib.metadata as m; print(m.version({PACKAGE!r}))"],
        door=door,
        **settings,
    )

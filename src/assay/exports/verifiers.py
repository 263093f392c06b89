"""An environment package of Prime Intellect's `verifiers`, as prime-rl and others train on.

It has `load_environment()` for versions up to 0.3, and a `Taskset` for those from 0.4 on.
"""

import os
import re
from pathlib import Path

from assay.benchmark import Benchmark
from assay.exports import Export
from assay.exports.package import readme, settings_of, write_package

SAMPLING = {
    "temperature": "temperature",
    "top_p": "top_p",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "stop": "stop",
    "max_output_tokens": "max_tokens",
}
"""The library's names for settings of `assay.types.Sampling`."""
_INIT = '''"""A benchmark of Assay as an environment, scored by its own verifier. README.md says more."""

import verifiers

if hasattr(verifiers, "SingleTurnEnv"):
    from .classic import load_environment

    __all__ = ["load_environment"]
else:
    from .taskset import AssayEnv, AssayTaskset

    __all__ = ["AssayEnv", "AssayTaskset"]
'''
_CLASSIC = '''"""The environment for verifiers up to 0.3."""

from pathlib import Path
from typing import Any

import verifiers as vf
from datasets import Dataset

from assay.exports.package import Package
from assay.trainers.tasks import training_tasks

PACKAGE = Package(Path(__file__).parent)
TEST_TASKS = list(PACKAGE.tasks.values())


async def reward(completion: Any, info: dict[str, Any], state: vf.State) -> float:
    """Assay's reward. An error of its verifier becomes the rollout's error: it is no zero."""
    try:
        found = await PACKAGE.score(info["assay_task"], _text(completion), is_cut=bool(state.get("is_truncated")))
    except Exception as error:
        state["error"] = vf.Error(f"Assay's verifier failed: {type(error).__name__}: {error}")
        return 0.0
    return found.reward


def load_environment(count: int = 0, seed: int = 0) -> vf.Environment:
    """The test tasks to evaluate on, and `count` training tasks, drawn from the seed, to train on."""
    drawn = training_tasks(PACKAGE.benchmark, count, seed=seed) if count else []
    PACKAGE.tasks.update({task.id: task for task in drawn})
    return vf.SingleTurnEnv(
        dataset=_rows(drawn) if drawn else None,
        eval_dataset=_rows(TEST_TASKS),
        rubric=vf.Rubric([reward]),
        sampling_args=SAMPLING,
    )


def _rows(tasks: Any) -> Dataset:
    return Dataset.from_list(
        [
            {
                "prompt": [{"role": item.role, "content": item.text} for item in task.input],
                "answer": task.gold or "",
                "info": {"assay_task": task.id},
            }
            for task in tasks
        ]
    )


def _text(completion: Any) -> str:
    if isinstance(completion, str):
        return completion
    last = completion[-1] if completion else {}
    content = last.get("content") if hasattr(last, "get") else getattr(last, "content", "")
    return content or ""
'''
_TASKSET = '''"""The environment for verifiers from 0.4 on."""

from pathlib import Path

import verifiers.v1 as vf

from assay.exports.package import Package
from assay.trainers.tasks import training_tasks

PACKAGE = Package(Path(__file__).parent)


class AssayTask(vf.Task[vf.TaskData]):
    @vf.reward
    async def reward(self, trace: vf.Trace) -> float:
        """Assay's reward. An error of its verifier becomes the rollout's error: it is no zero."""
        said = trace.assistant_messages[-1].content if trace.assistant_messages else ""
        return (await PACKAGE.score(self.data.id, said or "", is_cut=trace.is_truncated)).reward


class AssayConfig(vf.TasksetConfig):
    count: int = 0
    """How many training tasks there are in place of the test tasks; they are drawn from the seed."""
    seed: int = 0


class AssayTaskset(vf.Taskset[AssayTask, AssayConfig]):
    def load(self) -> list[AssayTask]:
        count = self.config.count
        drawn = training_tasks(PACKAGE.benchmark, count, seed=self.config.seed) if count else []
        PACKAGE.tasks.update({task.id: task for task in drawn})
        return [
            AssayTask(vf.TaskData(id=task.id, prompt=[_message(item) for item in task.input]), self.config.task)
            for task in drawn or list(PACKAGE.tasks.values())
        ]


class AssayEnvConfig(vf.EnvConfig):
    agent: vf.AgentConfig = vf.AgentConfig(
        harness={"id": "null"}, runtime={"type": "subprocess"}, sampling=SAMPLING
    )


class AssayEnv(vf.Env[AssayEnvConfig]):
    """One agent that is asked once, sampled as the benchmark says."""

    async def run(self, task: vf.Task, agents: vf.Agents) -> None:
        await agents.agent.run(task)


def _message(item):
    kinds = {"system": vf.SystemMessage, "assistant": vf.AssistantMessage}
    return kinds.get(item.role, vf.UserMessage)(content=item.text)
'''
_PYPROJECT = """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "DISTRIBUTION"
version = "0"
# Assay is no dependency by name: install it from where you have it.
dependencies = ["verifiers", "datasets"]

[tool.hatch.build.targets.wheel]
packages = ["MODULE"]
"""
_RUN = """pip install .
vf-eval {id} -m MODEL                        # evaluate on the test tasks
# in prime-rl, with training tasks: id = "{id}", args = {{ count = 4096 }}
# from verifiers 0.4 on: vf-eval {id} -m MODEL --env.taskset.count 4096"""


def _write(benchmark: Benchmark, folder: Path) -> str:
    sampling = settings_of(benchmark, SAMPLING)
    module = "assay_" + re.sub(r"\W", "_", benchmark.name).lower()
    name = module.replace("_", "-")
    tasks = write_package(benchmark, folder / module)
    files = {
        folder / module / "__init__.py": _INIT,
        folder / module / "classic.py": _CLASSIC.replace("SAMPLING", repr(sampling)),
        folder / module / "taskset.py": _TASKSET.replace("SAMPLING", repr(sampling)),
        folder / "pyproject.toml": _PYPROJECT.replace("DISTRIBUTION", name).replace("MODULE", module),
    }
    note = "An error of the verifier is an error of the rollout, which trainers leave out; it is never a zero."
    files[folder / "README.md"] = readme(benchmark, tasks, "verifiers", _RUN.format(id=name), note)
    for path, content in files.items():
        path.write_text(content, encoding="utf-8")
    install = f"pip install {os.path.join('.', folder)}"  # a bare name would be a package of PyPI
    return f"{len(tasks)} tasks are in {folder}. Install it: {install}, then vf-eval {name} -m MODEL"


EXPORT = Export(benchmark=_write)

"""A package of UK AISI's `inspect_ai`: a benchmark as a task that Assay's own verifier scores."""

import re
from pathlib import Path

from assay.benchmark import Benchmark
from assay.exports import Export
from assay.exports.package import readme, settings_of, write_package

SAMPLING = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "stop": "stop_seqs",
    "max_output_tokens": "max_tokens",
}
"""The library's names for settings of `assay.types.Sampling`."""
_TASK = '''"""A benchmark of Assay, scored by its own verifier. README.md says more."""

from pathlib import Path

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser, GenerateConfig
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, metric, scorer
from inspect_ai.solver import TaskState, generate

from assay.exports.package import Package

PACKAGE = Package(Path(__file__).parent)
ROLES = {"system": ChatMessageSystem, "developer": ChatMessageSystem, "user": ChatMessageUser}


@metric
def mean_reward() -> Metric:
    """The score that the benchmark declares."""

    def value(scores: list[SampleScore]) -> float:
        return PACKAGE.mean({str(one.sample_id): one.score.as_float() for one in scores})

    return value


@scorer(metrics=[mean_reward()])
def reward() -> Scorer:
    """Assay's reward. An error of its verifier is an error of the sample, and no zero."""

    async def judge(state: TaskState, target: Target) -> Score:
        is_cut = state.output.stop_reason == "max_tokens"
        found = await PACKAGE.score(str(state.sample_id), state.output.completion, is_cut=is_cut)
        return Score(value=found.reward, answer=found.answer, metadata=found.metrics)

    return judge


@task
def FUNCTION() -> Task:
    samples = [
        Sample(
            id=one.id,
            input=[ROLES.get(item.role, ChatMessageAssistant)(content=item.text) for item in one.input],
            target=one.gold or "",
            metadata=one.tags,
        )
        for one in PACKAGE.tasks.values()
    ]
    return Task(
        dataset=MemoryDataset(samples, name=PACKAGE.benchmark.name),
        solver=generate(),
        scorer=reward(),
        epochs=PACKAGE.benchmark.repeats,
        config=GenerateConfig(SAMPLING),
        version=PACKAGE.benchmark.version,
    )
'''
_PYPROJECT = """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "DISTRIBUTION"
version = "0"
# Assay is no dependency by name: install it from where you have it.
dependencies = ["inspect-ai"]

[project.entry-points.inspect_ai]
MODULE = "MODULE.task"

[tool.hatch.build.targets.wheel]
packages = ["MODULE"]
"""
_RUN = """inspect eval {module}/task.py --model MODEL
pip install . && inspect eval {module}/{function} --model MODEL     # as a package"""


def _write(benchmark: Benchmark, folder: Path) -> str:
    sampling = settings_of(benchmark, SAMPLING)
    words = re.sub(r"\W", "_", benchmark.name).lower()
    function = words if words.isidentifier() else f"assay_{words}"
    module = f"{function}_inspect"
    tasks = write_package(benchmark, folder / module)
    settings = ", ".join(f"{name}={value!r}" for name, value in sampling.items())
    task = _TASK.replace("FUNCTION", function).replace("SAMPLING", settings)
    pyproject = _PYPROJECT.replace("DISTRIBUTION", module.replace("_", "-")).replace("MODULE", module)
    run = _RUN.format(module=module, function=function)
    (folder / module / "__init__.py").write_text("", encoding="utf-8")
    (folder / module / "task.py").write_text(task, encoding="utf-8")
    (folder / "pyproject.toml").write_text(pyproject, encoding="utf-8")
    note = "An error of the verifier is an error of the sample, never a zero."
    (folder / "README.md").write_text(readme(benchmark, tasks, "inspect", run, note), encoding="utf-8")
    return f"{len(tasks)} tasks are in {folder}. Run them: inspect eval {folder / module}/task.py --model MODEL"


EXPORT = Export(benchmark=_write)

"""A single-turn benchmark in a folder that other programs load: its tasks, and what finds its verifier again.

    assay.json     which benchmark it is, and the digests of the code that scores
    tasks.jsonl    the tasks
    benchmark/     the benchmark's files, where it is not part of a package

The verifier is Assay's own, so rewards are equal. A folder whose verifier has changed since is refused.
"""

import asyncio
import math
import shutil
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from msgspec import Struct

from assay.benchmark import Benchmark, has_no_state, score_of
from assay.benchmark.catalog import load, path_of
from assay.benchmark.code import LEFT_OUT, score_code
from assay.digest import changed_files
from assay.errors import InputError, UsageError
from assay.fidelity.results.score import layout_of, sample_of
from assay.gyms import refuse
from assay.input import BROKEN, read_input
from assay.score import Maj, PassAt, PassHat, check_score
from assay.store import read_lines, write_json, write_lines
from assay.types import InputText, Message, Response, Score, Task, Text

MANIFEST = "assay.json"
TASKS = "tasks.jsonl"
FILES = "benchmark"
T = TypeVar("T")
_README = """# {name} of Assay for {format}

{count:,} tasks of {name} {version}, written by `assay export {source} --format {format}`.

```
{run}
```

Assay's own verifier scores, so that rewards are those of `assay run`. It has to be installed beside this folder, as it
was then: one that has changed is refused. {said}

The protocol is the benchmark's: {repeats} outputs a task, {sampling}. The score is the {score}.
"""


class Manifest(Struct, frozen=True, kw_only=True):
    """`assay.json`."""

    benchmark: str
    """The name that loads it. The folder replaces `{here}` in it."""
    sources: dict[str, str]
    """The code that decides scores, as in run.json."""


def write_package(benchmark: Benchmark, folder: Path) -> list[Task]:
    """Writes a benchmark into a folder, and returns its tasks. Raises UsageError for one that can't be loaded there."""
    tasks = list(benchmark.environment.tasks())
    check_exportable(benchmark, tasks)
    check_score(benchmark.score, tasks)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / MANIFEST, Manifest(benchmark=_copy_files(benchmark, folder), sources=score_code(benchmark)))
    write_lines(folder / TASKS, tasks)
    try:
        Package(folder)
    except UsageError as error:
        raise UsageError(f"{benchmark.source} can't be loaded from its copy in {folder}: {error}") from error
    return tasks


def check_exportable(benchmark: Benchmark, tasks: list[Task]) -> None:
    """Raises UsageError for a benchmark that is more than a verifier of one message, naming what it is."""
    name = benchmark.source
    if not has_no_state(benchmark.environment):
        refuse(name, "its sessions hold state, tools or several turns (open)")
    if benchmark.roles:
        refuse(name, f"it asks other models ({', '.join(benchmark.roles)})")
    if benchmark.environment.sandbox:
        refuse(name, "it runs code in a sandbox")
    if isinstance(benchmark.score, PassAt | PassHat | Maj):
        refuse(name, f"its score is {benchmark.score}; expected a mean of rewards")
    for task in tasks:
        if task.tools:
            refuse(name, f"task {task.id} offers tools ({', '.join(tool.name for tool in task.tools)})")
        if task.format:
            refuse(name, f"task {task.id} asks for structured output")
        for item in task.input:
            if not isinstance(item, Message) or not _is_text(item):
                refuse(name, f"the prompt of task {task.id} holds more than messages of text")


def settings_of(benchmark: Benchmark, names: Mapping[str, str]) -> dict[str, Any]:
    """Returns the sampling that a benchmark fixes, by another program's names. Raises UsageError where one has none."""
    settings: dict[str, Any] = msgspec.to_builtins(benchmark.sampling)
    for setting in settings.keys() - names.keys():
        refuse(benchmark.source, f"it fixes {setting}={settings[setting]}")
    return {names[setting]: value for setting, value in settings.items()}


def sampling_in_words(benchmark: Benchmark) -> str:
    """Returns the sampling that a benchmark fixes, in words."""
    settings: dict[str, Any] = msgspec.to_builtins(benchmark.sampling)
    return ", ".join(f"{name} {value}" for name, value in settings.items()) or "sampled as the model's server does"


def readme(benchmark: Benchmark, tasks: Sequence[Task], format: str, run: str, note: str) -> str:
    """Returns the README.md of an exported benchmark: `run` are commands, `said` what the other program does."""
    return _README.format(
        name=benchmark.name,
        version=benchmark.version,
        source=benchmark.source,
        count=len(tasks),
        format=format,
        run=run,
        said=note,
        repeats=benchmark.repeats,
        sampling=sampling_in_words(benchmark),
        score=benchmark.score,
    )


def system_of(benchmark: Benchmark, tasks: list[Task]) -> str:
    """Returns the system message of all tasks. Raises UsageError for other prompts than that and one message."""
    systems: set[str] = set()
    for task in tasks:
        messages = [item for item in task.input if isinstance(item, Message)]
        *before, question = messages or [Message(role="", content="")]
        if question.role != "user" or len(before) > 1 or any(one.role != "system" for one in before):
            roles = ", ".join(one.role for one in messages)
            refuse(benchmark.source, f"the prompt of task {task.id} is the messages {roles}; expected one of the user")
        systems.add("".join(one.text for one in before))
    if len(systems) > 1:
        refuse(benchmark.source, f"its tasks have {len(systems)} different system messages")
    return systems.pop() if systems else ""


def prompt_of(task: Task) -> str:
    """Returns the last message of a task's prompt."""
    return [item.text for item in task.input if isinstance(item, Message)][-1]


def _is_text(message: Message) -> bool:
    return isinstance(message.content, str) or all(isinstance(part, Text | InputText) for part in message.content)


def _copy_files(benchmark: Benchmark, folder: Path) -> str:
    """Copies what is not part of a package, and returns the name under which it is found from the folder."""
    name, place = benchmark.source, folder / FILES
    if benchmark.folder and benchmark.origin and not benchmark.origin.package:
        shutil.copytree(benchmark.folder, place, ignore=lambda _, names: filter(LEFT_OUT.fullmatch, names))
        return f"{{here}}/{FILES}"
    path = path_of(name)
    if path != name and Path(path).is_file():
        place.mkdir()
        for file in benchmark.files.values():
            shutil.copy(file, place)
        return name.replace(path, f"{{here}}/{FILES}/{Path(path).name}", 1)
    return name


class Package:
    """A folder that `write_package` wrote. Raises UsageError where its verifier is not the one that it was."""

    def __init__(self, folder: Path) -> None:
        path = folder / MANIFEST
        try:
            self._manifest = msgspec.json.decode(read_input(path), type=Manifest)
        except BROKEN as error:
            raise InputError(path, None, str(error), "the JSON that `assay export` wrote") from None
        except OSError as error:
            raise UsageError(f"{path} can't be read: {error.strerror}") from None
        self.benchmark = benchmark = load(self._manifest.benchmark.replace("{here}", str(folder)))
        if changes := changed_files(self._manifest.sources, score_code(benchmark)):
            raise UsageError(
                f"{folder}: the verifier of {benchmark.name} is not the one that was exported: {', '.join(changes)}\n"
                "  Install what was there, or export the benchmark again."
            )
        self.tasks = {task.id: task for task in read_lines(folder / TASKS, Task)}
        self._threads = ThreadPoolExecutor(1)
        self._now(self.benchmark.environment.ready())

    async def score(self, task: str, text: str, *, is_cut: bool = False) -> Score:
        """Returns the score of a message that answers a task; `is_cut` says that the token limit cut it.

        Raises what the verifier raises: that is no zero.
        """
        answer = Response(
            output=[Message(role="assistant", content=[Text(text=text)])],
            status="incomplete" if is_cut else "completed",
            incomplete_reason="max_output_tokens" if is_cut else None,
        )
        return await score_of(self.benchmark.environment, self.tasks[task], answer)

    def score_now(self, task: str, text: str) -> Score:
        """Returns what `score` does, also where an event loop is running."""
        return self._now(self.score(task, text))

    def mean(self, rewards: Mapping[str, float]) -> float:
        """Returns the benchmark's score of rewards by task; NaN where there are none."""
        if not rewards:
            return math.nan
        rule = self.benchmark.score
        tasks = [self.tasks[task] for task in rewards]
        sample = sample_of(rule, layout_of(rule, tasks), np.array([[reward] for reward in rewards.values()]))
        return sample.score if sample else math.nan

    def _now(self, work: Coroutine[Any, Any, T]) -> T:
        return self._threads.submit(asyncio.run, work).result()

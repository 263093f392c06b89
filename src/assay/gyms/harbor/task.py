"""A Harbor task's folder: what is asked, in which image, and what judges it. All that is wrong with it is said here."""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from assay.errors import InputError, UsageError
from assay.gyms.harbor.config import (
    Artifact,
    Collect,
    Environment,
    Healthcheck,
    Network,
    Step,
    TaskConfig,
    User,
    Verifier,
    artifacts_of,
    read_config,
    resolved,
)
from assay.input import read_input

UNSUPPORTED = (
    *("environment/docker-compose.yaml", "tests/docker-compose.yaml", "steps/*/tests/docker-compose.yaml"),
    *("trajectory.json", "steps/*/trajectory.json", "**/.harborignore"),
)
"""Files that change what a task is, and that nothing here reads."""
_CANARY = re.compile(r"(<!--.*canary.*-->|#.*canary.*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Source:
    """What a machine is made of: a folder with a Dockerfile, or the name of an image."""

    folder: Path
    settings: Environment

    @property
    def image(self) -> str | None:
        """The name; None where the Dockerfile is built."""
        return self.settings.docker_image

    @property
    def env(self) -> dict[str, str]:
        """The variables of all that runs in the machine."""
        return resolved(self.settings.env)


@dataclass(frozen=True, slots=True)
class Stage:
    """One instruction and what judges it: a task has one, or one for each of its steps."""

    name: str
    """The step's; empty where the task has none."""
    instruction: str
    tests: tuple[Path, ...]
    """Folders that come to /tests, one after the other."""
    solution: Path | None
    """The folder that comes to /solution; None where there is none."""
    workdir: Path | None
    """The folder that comes into the working directory before the agent, with a setup.sh that is run."""
    agent_user: User
    agent_s: float | None
    verifier_user: User
    verifier_s: float
    env: dict[str, str]
    """Of the tests."""
    separate: Source | None
    """What the tests' own machine is made of; None where they run in the agent's."""
    bundled: bool
    """Whether the tests' own image holds them already."""
    collect: tuple[Collect, ...]
    artifacts: tuple[Artifact, ...]
    healthcheck: Healthcheck | None = None
    min_reward: float | dict[str, float] | None = None


@dataclass(frozen=True, slots=True)
class HarborTask:
    """One task."""

    id: str
    folder: Path
    config: TaskConfig
    source: Source
    stages: tuple[Stage, ...]

    def files(self) -> Iterator[Path]:
        """Yields the files that decide what is asked and how it is judged."""
        for name in ("task.toml", "instruction.md", "environment", "tests", "solution", "steps"):
            place = self.folder / name
            yield from (file for file in sorted(place.rglob("*")) if file.is_file()) if place.is_dir() else ()
            if place.is_file():
                yield place


def tasks_in(folder: Path) -> dict[str, HarborTask]:
    """Returns the tasks of a folder by id: it is a task itself, or holds them. Raises UsageError."""
    folder = Path(os.path.realpath(folder))
    inside = sorted(file.parent for file in folder.glob("*/task.toml"))
    folders = [folder] if (folder / "task.toml").is_file() else inside
    if not folders:
        raise UsageError(f"harbor:{folder}: there is no task.toml in it; expected a Harbor task, or a folder of them")
    return {one.name: read_task(one) for one in folders}


def read_task(folder: Path) -> HarborTask:
    """Returns the task in a folder. Raises UsageError for what is missing, wrong or can't be run here."""
    id, folder = folder.name, Path(os.path.realpath(folder))
    config = read_config(folder / "task.toml")
    _check_files(folder)
    source = Source(folder / "environment", replace(config.environment, network_mode=_network(folder, config)))
    if source.image is None and not (source.folder / "Dockerfile").is_file():
        raise InputError(source.folder / "Dockerfile", None, "it is missing", "it, or an environment.docker_image")
    steps = config.steps or [Step("")]
    return HarborTask(id, folder, config, source, tuple(_stage(folder, config, step) for step in steps))


def _network(folder: Path, config: TaskConfig) -> Network:
    """Returns the network that the agent's machine has, which is one for all steps. Raises InputError."""
    agents = [step.agent for step in config.steps or ()] or [config.agent]
    stated: set[Network] = {
        one.network_mode or config.agent.network_mode or config.environment.network for one in agents
    }
    if len(stated) > 1:
        got = f"steps with the networks {' and '.join(sorted(stated))}"
        raise InputError(folder / "task.toml", None, got, "one for all steps: a machine keeps its network")
    return stated.pop()


def _stage(folder: Path, config: TaskConfig, step: Step) -> Stage:
    """Returns a step with what it inherits from the task. A task without steps is one that has no name."""
    task = config.verifier
    at = folder / "steps" / step.name if step.name else folder
    verifier = step.verifier if step.name else task
    separate, bundled = _separate(folder, at, config, verifier)
    tests = tuple(place for place in dict.fromkeys((folder / "tests", at / "tests")) if place.is_dir())
    if not bundled and not any((place / "test.sh").is_file() for place in tests):
        raise InputError(at / "tests/test.sh", None, "it is missing", "a script that writes the reward")
    solution = next((place for place in (at / "solution", folder / "solution") if (place / "solve.sh").is_file()), None)
    agent = step.agent if step.name else config.agent
    both = (task, step.verifier) if step.name else (task,)
    return Stage(
        name=step.name,
        instruction=_instruction(at / "instruction.md"),
        tests=tests,
        solution=solution,
        workdir=at / "workdir" if step.name and (at / "workdir").is_dir() else None,
        agent_user=config.agent.user if agent.user is None else agent.user,
        agent_s=config.agent.timeout_sec if agent.timeout_sec is None else agent.timeout_sec,
        verifier_user=task.user if verifier.user is None else verifier.user,
        # A step that states none has the default and not the task's, as in Harbor.
        verifier_s=verifier.timeout_sec,
        env={name: value for one in both for name, value in resolved(one.env).items()},
        separate=separate,
        bundled=bundled,
        collect=tuple(hook for one in both for hook in one.collect),
        artifacts=tuple(artifacts_of([*config.artifacts, *step.artifacts])),
        healthcheck=step.healthcheck,
        min_reward=step.min_reward,
    )


def _separate(folder: Path, at: Path, config: TaskConfig, verifier: Verifier) -> tuple[Source | None, bool]:
    """Returns what the tests' own machine is made of, None where they have none, and whether it holds the tests.

    The order is Harbor's: the step's image or Dockerfile, the task's, and else the agent's image as it was.
    """
    if (verifier.mode or config.verifier.mode or "shared") == "shared":
        return None, False
    settings = verifier.environment or config.verifier.environment or config.environment
    for environment, place in ((verifier.environment, at / "tests"), (config.verifier.environment, folder / "tests")):
        named = environment.docker_image if environment else None
        if named or (place / "Dockerfile").is_file():
            return Source(place, replace(settings, docker_image=named)), True
    return Source(folder / "environment", replace(settings, docker_image=config.environment.docker_image)), False


def _check_files(folder: Path) -> None:
    """Raises InputError for a file that can't be honoured here, and for what is no file of the task's own."""
    if not folder.name.isprintable():
        raise InputError(repr(str(folder)), None, "a name that can't be printed", "a folder whose name is a task's")
    for path in (found for pattern in UNSUPPORTED for found in folder.glob(pattern)):
        raise InputError(path, None, f"{path.name} is not supported here", "a task without it")
    for path in folder.rglob("*"):
        mode, shown = path.lstat().st_mode, repr(str(path))
        if stat.S_ISLNK(mode) and not Path(os.path.realpath(path)).is_relative_to(folder):
            raise InputError(path, None, "a link that leads out of the task", "files of the task's own folder")
        if not (stat.S_ISLNK(mode) or stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise InputError(shown, None, "a pipe, a socket or a device", "files, folders and links")
        if not path.name.isprintable():
            raise InputError(shown, None, "a name that can't be printed", "names in UTF-8 without control characters")
        if not stat.S_ISLNK(mode) and not os.access(path, os.R_OK):
            raise InputError(path, None, "it can't be read", "files that you can read")


def _instruction(path: Path) -> str:
    """Returns the text without the lines in front by which its authors find it in training data."""
    try:
        lines = read_input(path).decode().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, None, str(error), "the instruction, as UTF-8 text") from None
    while lines and _CANARY.fullmatch(lines[0].strip()):
        del lines[0]
    while lines and not lines[0].strip():
        del lines[0]
    if not lines:
        raise InputError(path, None, "it is empty", "the instruction")
    return "\n".join(lines)

"""`task.toml` of Harbor's tasks: schema 1.0 to 1.4 with its defaults, and what of it can't be run here.

Keys and defaults are those of the package harbor 0.25, whose own models the tests compare with. Harbor leaves out a key
that it does not know; here it is refused, as it may decide what the task asks.
"""

import math
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from assay.config import LONGEST_S, read_toml
from assay.errors import InputError

SCHEMAS = ("1.0", "1.1", "1.2", "1.3", "1.4")
MAIN = "main"
"""The service of a compose file in which the agent works: the only one where there is no compose file."""

Network = Literal["no-network", "public", "allowlist"]
VARIABLE = re.compile(r"\$\{([^}:]+)(?::-(.*))?\}")
"""A variable that Harbor takes from its own environment, and its default."""

IMAGE = re.compile(r"[A-Za-z0-9][\w.:/@-]*")
"""The name of an image in a registry."""
Seconds = Annotated[float, Meta(gt=0, le=LONGEST_S)]
Wait = Annotated[float, Meta(ge=0, le=LONGEST_S)]
Megabytes = Annotated[int, Meta(ge=1, le=2**30)]
User = str | Annotated[int, Meta(ge=0, lt=2**31)] | None
"""A user's name or number; None is the image's own."""


class _Table(Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file, whose keys are all known."""


class Package(_Table, frozen=True):
    name: str
    version: str | None = None
    description: str = ""
    authors: list[dict[str, str]] = []
    keywords: list[str] = []


class Healthcheck(_Table, frozen=True):
    command: str
    interval_sec: Wait = 5.0
    timeout_sec: Seconds = 30.0
    start_period_sec: Wait = 0.0
    start_interval_sec: Wait = 5.0
    retries: Annotated[int, Meta(ge=0)] = 3


class Environment(_Table, frozen=True):
    network_mode: Network | None = None
    allowed_hosts: list[str] | None = None
    build_timeout_sec: Seconds = 600.0
    docker_image: str | None = None
    os: str = "linux"
    cpus: Annotated[float, Meta(gt=0, le=2**20)] | None = None
    memory_mb: Megabytes | None = None
    storage_mb: Megabytes | None = None
    gpus: int | None = None
    gpu_types: list[str] | None = None
    tpu: dict[str, Any] | None = None
    mcp_servers: list[dict[str, Any]] = []
    env: dict[str, str] = {}
    skills_dir: str | None = None
    healthcheck: Healthcheck | None = None
    workdir: str | None = None
    allow_internet: bool | None = None
    memory: str | None = None
    storage: str | None = None

    @property
    def network(self) -> Network:
        """What the task states, in the old way where not in the new one. Harbor's default is `public`."""
        if self.network_mode is None and self.allowed_hosts is None and self.allow_internet is False:
            return "no-network"
        return self.network_mode or "public"

    @property
    def memory_limit_mb(self) -> int | None:
        return self.memory_mb if self.memory is None else _megabytes(self.memory)

    @property
    def storage_limit_mb(self) -> int | None:
        return self.storage_mb if self.storage is None else _megabytes(self.storage)


class Agent(_Table, frozen=True):
    network_mode: Network | None = None
    allowed_hosts: list[str] | None = None
    timeout_sec: Seconds | None = None
    user: User = None


class Collect(_Table, frozen=True):
    """A command that runs after the agent, so that artifacts hold what was only in memory."""

    command: str
    service: str = MAIN
    timeout_sec: Seconds = 60.0
    user: User = None


class Verifier(_Table, frozen=True):
    network_mode: Network | None = None
    allowed_hosts: list[str] | None = None
    timeout_sec: Seconds = 600.0
    env: dict[str, str] = {}
    user: User = None
    environment_mode: Literal["shared", "separate"] | None = None
    environment: Environment | None = None
    collect: list[Collect] = []

    @property
    def mode(self) -> Literal["shared", "separate"] | None:
        """None where the table says nothing."""
        return self.environment_mode or ("separate" if self.environment else None)


class Solution(_Table, frozen=True):
    env: dict[str, str] = {}


class Artifact(_Table, frozen=True):
    """A file or folder that a separate verifier gets from the agent's machine, at the same place."""

    source: str
    destination: str | None = None
    exclude: list[str] = []
    service: str | None = None


class Step(_Table, frozen=True):
    name: str
    agent: Agent = Agent()
    verifier: Verifier = Verifier()
    min_reward: float | dict[str, float] | None = None
    healthcheck: Healthcheck | None = None
    artifacts: list[str | Artifact] = []


class TaskConfig(_Table, frozen=True):
    """The file."""

    schema_version: str | None = None
    version: str | None = None
    """The name of `schema_version` before 1.1."""
    task: Package | None = None
    metadata: dict[str, Any] = {}
    verifier: Verifier = Verifier()
    agent: Agent = Agent()
    environment: Environment = Environment()
    solution: Solution = Solution()
    source: str | None = None
    multi_step_reward_strategy: Literal["mean", "final"] | None = None
    steps: list[Step] | None = None
    artifacts: list[str | Artifact] = []


def read_config(path: Path) -> TaskConfig:
    """Returns what a task.toml says. Raises InputError for an unknown key, and for what can't be run here."""
    config = read_toml(path, TaskConfig)
    texts = _texts(msgspec.to_builtins(config))
    nul = ((key, repr(text[:80]), "a text without the character NUL") for key, text in texts if "\0" in text)
    for key, got, expected in chain(nul, _refusals(config)):
        raise InputError(path, None, f"{key} = {got}" if got else key, expected)
    return config


def _refusals(config: TaskConfig) -> Iterator[tuple[str, Any, str]]:
    """Yields key, value and what is expected, for each setting that can't be run here."""
    schema = config.schema_version or config.version or SCHEMAS[-1]
    if schema not in SCHEMAS:
        yield "schema_version", schema, f"one of {', '.join(SCHEMAS)}"
    verifiers = [("verifier", config.verifier)]
    verifiers += [(f"steps.{step.name}.verifier", step.verifier) for step in config.steps or ()]
    yield from _refused_environment("environment", config.environment)
    for key, verifier in verifiers:
        if verifier.environment and verifier.environment_mode == "shared":
            yield f"{key}.environment", "", "none, as environment_mode is shared"
        yield from _refused_variables(key, verifier.env)
        if verifier.environment:
            yield from _refused_environment(f"{key}.environment", verifier.environment)
        for hook in verifier.collect:
            if hook.service != MAIN:
                yield f"{key}.collect.service", hook.service, f"{MAIN}: compose files are not supported"
    yield from _refused_variables("solution", config.solution.env)
    names = [step.name for step in config.steps or ()]
    for name in names:
        if not name.strip(". ") or "/" in name or "\0" in name or names.count(name) > 1:
            yield "steps.name", name, "the name of a folder in steps/, each once"
    for artifact in artifacts_of(config.artifacts + [one for step in config.steps or () for one in step.artifacts]):
        if artifact.service not in (None, MAIN):
            yield "artifacts.service", artifact.service, f"{MAIN}: compose files are not supported"
        parts = artifact.source.split("/")
        if parts[0] or ".." in parts or not any(parts):
            yield "artifacts.source", artifact.source, "an absolute path without .., and not /"


def _refused_variables(key: str, env: dict[str, str]) -> Iterator[tuple[str, Any, str]]:
    for name, value in env.items():
        if not name or "=" in name:
            yield f"{key}.env", repr(name), "names of variables, without ="
        if (template := VARIABLE.fullmatch(value)) and template[2] is None:
            yield f"{key}.env.{name}", value, "a value, or ${NAME:-DEFAULT}: tasks get no variable of this machine"


def resolved(env: dict[str, str]) -> dict[str, str]:
    """Returns variables with the defaults of those that Harbor takes from its own environment."""
    templates = {name: VARIABLE.fullmatch(value) for name, value in env.items()}
    return {name: template[2] if (template := templates[name]) else value for name, value in env.items()}


def _refused_environment(key: str, environment: Environment) -> Iterator[tuple[str, Any, str]]:
    yield from _refused_variables(key, environment.env)
    if (image := environment.docker_image) is not None and (not IMAGE.fullmatch(image) or Path(image).exists()):
        yield f"{key}.docker_image", repr(image), "the name of an image; no file of this machine"
    if environment.os.lower() != "linux":
        yield f"{key}.os", environment.os, "linux"
    for name in ("gpus", "gpu_types", "tpu", "mcp_servers", "skills_dir"):
        if value := getattr(environment, name):
            yield f"{key}.{name}", value, "none: this is not supported here"
    for name in ("memory", "storage"):
        text = getattr(environment, name)
        if text is not None and not _megabytes(text):
            yield f"{key}.{name}", text, "a size such as 512M or 2G"


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yields the texts in a table, each with its key."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict | list):
        entries: Any = value.items() if isinstance(value, dict) else ((key, one) for one in value)  # pyright: ignore
        for name, one in entries:
            yield from _texts(one, f"{key}.{name}".lstrip(".") if isinstance(value, dict) else key)


def artifacts_of(entries: list[str | Artifact]) -> list[Artifact]:
    """Returns the entries as tables."""
    return [Artifact(entry) if isinstance(entry, str) else entry for entry in entries]


def _megabytes(text: str) -> int | None:
    """Returns the megabytes of such as `2G`; None for what is no size."""
    factor = {"G": 1024.0, "M": 1.0, "K": 1 / 1024}.get(text.strip().upper()[-1:], 0)
    try:
        size = float(text.strip()[:-1]) * factor
    except ValueError:
        return None
    return int(size) if factor and math.isfinite(size) and size >= 0 else None

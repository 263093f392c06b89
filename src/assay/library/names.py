"""Finds a benchmark, model, suite or agent by its name, or takes the object itself."""

import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from msgspec import structs

from assay.benchmark import Benchmark
from assay.benchmark.catalog import load as load_benchmark
from assay.config import (
    NO_FILE,
    OBJECT,
    AssayToml,
    ModelConfig,
    Suite,
    assay_toml,
    load_model,
    load_suite,
    name_of_id,
    suite_of,
)
from assay.errors import UsageError
from assay.model import Model
from assay.model.wrappers.budget import Budget
from assay.sandbox import Place
from assay.types import Task

T = TypeVar("T")
AnyModel = str | ModelConfig | Model
"""A model's name, its configuration, or an object with `async def respond(request)`."""


def load(benchmark: str | Path | Benchmark, *, sandbox: str | Place | None = None, unsafe: bool = False) -> Benchmark:
    """Returns a benchmark by its name or its folder's path; a Benchmark is returned as it is. Raises UsageError.

    `sandbox` is where models' code runs: `bubblewrap`, `docker`, `podman`, `docker:IMAGE`, a `Place`, or `subprocess`,
    which isolates nothing and therefore needs `unsafe=True`.
    """
    found = benchmark if isinstance(benchmark, Benchmark) else load_benchmark(str(benchmark))
    return found.with_place(Place.parse(sandbox, unsafe=unsafe) if isinstance(sandbox, str) else sandbox)


def toml_of(config: str | Path | None) -> AssayToml:
    """Returns the content of a file such as `assay.toml`. Raises UsageError if there is no such file."""
    if config is None:
        return NO_FILE
    if not Path(config).is_file():
        raise UsageError(f"{config} is not there; expected a file of models, such as assay.toml")
    return assay_toml(Path(config))


def model_of(model: AnyModel, base_url: str | None, own: AssayToml) -> tuple[str, ModelConfig, Model | None]:
    """Returns the model's short name, its configuration, and the object itself if the model is one."""
    if isinstance(model, str):
        name, server = load_model(model, base_url, own=own)
        return name, server, None
    if isinstance(model, ModelConfig):
        server = model if base_url is None else structs.replace(model, base_url=base_url)
        return name_of_id(server.id or server.dialect), server, None
    if isinstance(model, type) or not callable(getattr(model, "respond", None)):
        expected = "a name, a ModelConfig, or an object with async def respond(request)"
        raise UsageError(f"model {model!r}: expected {expected}")
    name = type(model).__qualname__.replace("<locals>.", "")
    return name, ModelConfig(dialect=OBJECT, id=f"{type(model).__module__}.{name}"), model


def list_of(names: Sequence[T], what: str) -> Sequence[T]:
    """Returns the names. Raises UsageError where they are one text, which is a sequence of letters."""
    if isinstance(names, str):
        raise UsageError(f"{what}: expected a list of names, such as [{names!r}]")
    return names


def roles_of(roles: Mapping[str, str | ModelConfig] | None, own: AssayToml) -> dict[str, ModelConfig]:
    """Returns the configuration of the model in each role."""
    named = (roles or {}).items()
    return {role: load_model(model, own=own)[1] if isinstance(model, str) else model for role, model in named}


def find_suite(
    suite: str | Path | Suite | None, models: Sequence[str] | None, own: AssayToml, assign: tuple[str, ...] = ()
) -> Suite:
    """Returns a suite by its name, by its file's path, as it is, or made of some models. Raises UsageError."""
    if models is not None:
        if suite is not None:
            raise UsageError("suite and models both say which models to run; give one")
        return suite_of(list_of(models, "models"), assign, own=own)
    return suite if isinstance(suite, Suite) else load_suite(str(suite or "embedded"), assign)


def find_tasks(tasks: Sequence[Task], ids: Sequence[str] | None) -> list[Task]:
    """Returns the tasks with these ids, in this order; None gives all. Raises UsageError for an unknown id."""
    if ids is None:
        return list(tasks)
    known = {task.id: task for task in tasks}
    if lacking := [name for name in list_of(ids, "tasks") if name not in known]:
        some = ", ".join(list(known)[:3])
        raise UsageError(f"there is no task {', '.join(map(repr, lacking[:5]))}; expected ids such as {some}")
    return [known[name] for name in ids]


def budget_of(tokens: int | None, usd: float | None) -> Budget | None:
    """Returns the budget of `tokens` and `usd` US dollars; None if both are None. Raises UsageError."""
    if tokens is None and usd is None:
        return None
    if (tokens is not None and tokens < 1) or (usd is not None and not usd > 0):
        raise UsageError("a budget has to be above 0")
    return Budget(tokens=tokens, usd=usd)


class TemporaryFolder:
    """A folder that is removed when the last reference to this object goes, or when the process ends."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="assay-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

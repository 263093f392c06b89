"""hf: a data set of the Hugging Face Hub that says in its `eval.yaml` how it is asked and scored, in Inspect's terms.

hf:ORG/NAME[@REVISION][#TASK]. The data are had as for maths:hf:…, and Inspect's own solvers and scorers do the rest.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from assay.benchmark import Benchmark
from assay.benchmarks.files.hub import PREFIX, Reference, fetch
from assay.errors import InputError, UnknownName, UsageError
from assay.gyms import divided, inspect, require
from assay.gyms.rows import read_rows
from assay.input import read_input

PACKAGES = False
FILE = "eval.yaml"
_ORDER = 0
"""The seed of `shuffle_choices`, which Inspect leaves to chance."""


def load(request: str) -> Benchmark:
    """Returns the benchmark of a data set with an eval.yaml. Raises UsageError."""
    name, gold = divided(f"{PREFIX}{request}")
    asked = Reference.parse(name)
    library = require("inspect_ai", "inspect")
    forms = require("inspect_ai._eval.task.hf", "inspect")
    at = f"{PREFIX}{asked.repo}" + (f"@{asked.revision}" if asked.revision else "")
    described, remark = fetch(f"{at}#{FILE}")
    [(key, path)] = described.items()
    commit = key.partition("@")[2].partition("/")[0]
    stated = _task(path, asked.part, forms)
    data, _ = fetch(f"{PREFIX}{asked.repo}@{commit}#{stated.config}/{stated.split}")
    samples = [_sample(forms, row.place, row.cells, stated.field_spec) for row in read_rows(list(data.values()))]
    dataset = require("inspect_ai.dataset", "inspect").MemoryDataset(samples)
    if stated.shuffle_choices:
        dataset.shuffle_choices(seed=_ORDER)
    solvers, scorers = require("inspect_ai.solver", "inspect"), require("inspect_ai.scorer", "inspect")
    task = library.Task(
        dataset=dataset,
        solver=[_task_of(path, solvers, one) for one in stated.solvers],
        scorer=[_task_of(path, scorers, one) for one in stated.scorers],
        epochs=library.Epochs(stated.epochs, stated.epoch_reducer),
    )
    made = inspect.benchmark_of(name, task, commit[:12], gold)
    made.environment.remark = remark
    return replace(made, files={**described, **data})


def _task(path: Path, id: str | None, forms: Any) -> Any:
    """The task of that id, or the only one. Raises UsageError and InputError."""
    yaml = require("yaml", "inspect")
    try:
        content: Any = yaml.safe_load(read_input(path))
        tasks = [forms.HFTask.model_validate(one) for one in content["tasks"]]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise InputError(path, None, str(error), "an eval.yaml with tasks, as Inspect reads it") from None
    found = [one for one in tasks if id in (None, one.id)]
    ids = [str(one.id) for one in tasks]
    if not found:
        raise UnknownName("task", str(id), ids)
    if len(found) > 1:
        raise UsageError(f"{path} has {len(found)} tasks; name one of them: #{', #'.join(ids)}")
    return found[0]


def _sample(forms: Any, place: str, cells: Mapping[str, Any], fields: Any) -> Any:
    try:
        return forms._record_to_sample_hf(cells, fields)
    except (KeyError, IndexError) as error:
        raise InputError(place, None, f"no {error}", f"for {FILE}, one of {', '.join(cells)}") from None


def _task_of(path: Path, module: Any, stated: Any) -> Any:
    try:
        return getattr(module, stated.name)(**stated.args)
    except (TypeError, ValueError) as error:
        raise InputError(path, None, f"{stated.name}: {error}", "arguments that Inspect's function takes") from None

"""Files of other gyms: benchmarks made of their rows, and runs written as theirs."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from assay.benchmark import Benchmark
from assay.errors import InputError
from assay.gyms.nemo_gym.gymnasium import GymnasiumEnvironment
from assay.gyms.nemo_gym.remote import RemoteEnvironment
from assay.gyms.nemo_gym.rows import AGENT, PARAMS, TASK_INDEX, Row, read_rows, reserved, rollout_row, row_of
from assay.input import check_vacant
from assay.store import read_record, read_rollouts, read_tasks
from assay.types import Failure, Sampling, Task

_SAMPLED = ("temperature", "top_p", "max_output_tokens")
_WITHOUT_EFFECT: Row = {
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "metadata": {},
    "store": False,
    "stream": False,
}
"""Parameters of a row that have no effect with these values."""
_BENCHMARK = '''"""Tasks of NeMo Gym. A running resources server holds their tools and verifies.

rows.jsonl   the tasks, as NeMo Gym has them
url          where the server is: one of NeMo Gym's, or of `assay serve environment`
"""

from pathlib import Path

from assay.benchmark import Benchmark
from {module} import {kind}
from assay.types import {types}

BENCHMARK = Benchmark(
    environment={kind}({name}, url={url}, rows=Path(__file__).parent / "rows.jsonl"{gold}),
    repeats=1,
    sampling=Sampling({sampling}),{limits}
)
'''
_LIMITS = (
    "\n    limits=RolloutLimits(steps=10),  # as max_steps of NeMo Gym's gymnasium_agent, which its configurations set"
)


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of an import."""

    tasks: int
    dropped: list[str]
    """Settings of the rows that a run here ignores, a line each."""


def import_nemo_gym(file: Path, folder: Path, *, url: str, gold_field: str | None = None) -> Imported:
    """Make a benchmark's folder of a JSONL file of NeMo Gym.

    Sampling that all rows agree on becomes the benchmark's. `gold_field` is the field of the rows that holds the
    reference answer, with dots for nested ones. Raises UsageError where the folder is not empty, no row has the field,
    or the rows or the server, if it is up, are of a kind that can't be driven.
    """
    rows = read_rows(file)
    gold = _gold_of(gold_field, rows, file) if gold_field else None
    check_vacant(folder)
    kind = asyncio.run(_kind_of(folder.resolve().name, url, file))
    asked = [dict[str, Any](row[PARAMS]) for _, row in rows]
    shared = {
        name: value
        for name in _SAMPLED
        if (value := asked[0].get(name)) is not None and all(params.get(name) == value for params in asked)
    }
    try:
        sampling = msgspec.to_builtins(msgspec.convert(shared, Sampling))
    except msgspec.ValidationError as error:
        raise InputError(file, None, f"{error} in {PARAMS}", "numbers") from None
    # JSON's strings are Python's too.
    is_gymnasium = kind is GymnasiumEnvironment
    source = _BENCHMARK.format(
        module=kind.__module__,
        kind=kind.__name__,
        types="RolloutLimits, Sampling" if is_gymnasium else "Sampling",
        limits=_LIMITS if is_gymnasium else "",
        name=msgspec.json.encode(folder.resolve().name).decode(),
        url=msgspec.json.encode(url).decode(),
        gold=f", gold={gold!r}" if gold else "",
        sampling=", ".join(f"{name}={value!r}" for name, value in sampling.items()),
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.jsonl").write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for _, row in rows))
    (folder / "benchmark.py").write_text(source, encoding="utf-8")
    return Imported(tasks=len(rows), dropped=_dropped(asked, shared))


async def _kind_of(name: str, url: str, rows: Path) -> type[RemoteEnvironment]:
    """Returns the class of the environment that can drive the rows. Raises UsageError where none can."""
    kind = (
        GymnasiumEnvironment if await RemoteEnvironment(name, url=url, rows=rows).is_gymnasium() else RemoteEnvironment
    )
    await kind(name, url=url, rows=rows).ready()
    return kind


def _gold_of(field: str, rows: Sequence[tuple[Task, Row]], file: Path) -> str:
    """The template that writes the reference answer from a row's field. Raises InputError."""
    first, *inner = field.split(".")
    for task, row in rows:
        value: Any = row
        try:
            for name in (first, *inner):
                value = value[name]
        except (KeyError, TypeError):
            value = None
        if not isinstance(value, str | int | float):
            names = ", ".join(name for name in row if not reserved(name) and name != AGENT)
            got = f"{field} of task {task.id} is {str(value)[:60]}"
            raise InputError(file, None, got, f"text or a number in the field of --gold-field; the row has {names}")
    return f"{{{first}{''.join(f'[{name}]' for name in inner)}}}"


def _dropped(all_params: list[Row], shared: Row) -> list[str]:
    carried = {"input", "instructions", "tools", "text", *shared}
    counts = Counter(
        name
        for params in all_params
        for name, value in params.items()
        if name not in carried and value is not None and value != _WITHOUT_EFFECT.get(name)
    )
    return [f"{name} ({count} rows)" for name, count in sorted(counts.items())]


def export_tasks(benchmark: Benchmark, file: Path) -> int:
    """Write a benchmark's tasks as input rows of NeMo Gym. Returns their number."""
    agent = {AGENT: {"name": f"{benchmark.name}_simple_agent"}}
    tasks = list(benchmark.environment.tasks())
    rows = [agent | row_of(task) | {TASK_INDEX: index} for index, task in enumerate(tasks)]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    return len(tasks)


def export_run(folder: Path, file: Path) -> tuple[int, int]:
    """Write a run's rollouts in NeMo Gym's form. Returns the numbers of scores and of failures.

    Failures go to a second file, which ends in `_failures.jsonl`. Existing files are replaced.
    """
    record = read_record(folder)
    tasks = {task.id: (index, task) for index, task in enumerate(read_tasks(folder))}
    agent = f"{record.benchmark}_simple_agent"
    created_s = int(datetime.fromisoformat(record.started).timestamp())
    counts = Counter[bool]()
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as scores, failures_beside(file).open("wb") as failures:
        for rollout in read_rollouts(folder):
            index, task = tasks[rollout.task]
            failed = isinstance(rollout.outcome, Failure)
            row = rollout_row(task, index, rollout, agent=agent, model=record.model, created_s=created_s)
            (failures if failed else scores).write(msgspec.json.encode(row) + b"\n")
            counts[failed] += 1
    return counts[False], counts[True]


def failures_beside(file: Path) -> Path:
    """Returns the path of NeMo Gym's file of failures for a file of rollouts."""
    return file.with_name(f"{file.stem}_failures.jsonl")

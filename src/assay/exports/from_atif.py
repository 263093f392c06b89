"""Trajectories in ATIF as a run: those that `assay export --format atif` wrote come back as they were."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from assay.config import AgentConfig
from assay.digest import digest, task_digest, tasks_digest
from assay.errors import InputError, UsageError
from assay.exports.atif import Trajectory, turns_of
from assay.input import BROKEN, check_vacant, read_input
from assay.store import RunRecord, write_json, write_lines
from assay.types import Failure, Rollout, Sampling, Task, Tool

NO_REWARD = Failure("verifier", "no_reward", "the trajectory states no reward", retryable=False)
FORMAT = "a trajectory of ATIF 1.0 to 1.8"
NO_TIME = "1970-01-01T00:00:00+00:00"


def import_atif(files: Sequence[Path], folder: Path) -> tuple[int, int]:
    """Makes a run directory of trajectories, each a file, or a folder of them. Returns its rollouts and tasks.

    Those of others state no reward, so they are failures that say so. Raises UsageError and InputError.
    """
    paths = [path for file in files for path in (sorted(file.glob("*.json")) if file.is_dir() else [file])]
    if not paths:
        raise UsageError("no trajectories; expected files of ATIF, or a folder of .json files")
    repeats = Counter[str]()
    tasks: dict[str, Task] = {}
    rollouts: list[Rollout] = []
    records: list[RunRecord] = []
    for path in paths:
        task, rollout, record = _read(path, repeats)
        if tasks.setdefault(task.id, task) != task:
            raise InputError(path, None, f"another task {task.id} than in a file before", "one task for each id")
        rollouts.append(rollout)
        records.append(record)
    if len({(one.benchmark, one.model, one.code, one.id) for one in records}) > 1:
        raise UsageError(f"the {len(paths)} trajectories are of several runs; import those of each run by themselves")
    write_run(folder, records[0], list(tasks.values()), rollouts)
    return len(rollouts), len(tasks)


def write_run(folder: Path, record: RunRecord, tasks: Sequence[Task], rollouts: Sequence[Rollout]) -> None:
    """Writes a run directory. Raises UsageError where the folder is not empty."""
    check_vacant(folder)
    repeats = max(rollout.repeat for rollout in rollouts) + 1
    counts = {"tasks": len(tasks), "tasks_digest": tasks_digest(tasks), "repeats": repeats}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "run.json", structs.replace(record, **counts))
    write_lines(folder / "tasks.jsonl", tasks)
    write_lines(folder / "rollouts.jsonl", rollouts)


def is_trajectory(path: Path) -> bool:
    """Returns whether a file, or the first in a folder, says that it is of ATIF."""
    first = next(iter(sorted(path.glob("*.json"))), path) if path.is_dir() else path
    if first.suffix != ".json" or not first.is_file():
        return False
    try:
        version = msgspec.json.decode(read_input(first), type=_Version).schema_version
    except BROKEN:
        return False
    return version.startswith("ATIF-")


class _Version(Struct):
    schema_version: str = ""


def _read(path: Path, repeats: Counter[str]) -> tuple[Task, Rollout, RunRecord]:
    """Returns a trajectory's task, rollout and run. Raises UsageError and InputError."""
    try:
        document = msgspec.json.decode(read_input(path), type=Trajectory)
        turns = list(turns_of(document.steps))
        roles = {one.trajectory_id or "": list(turns_of(one.steps)) for one in document.subagent_trajectories or ()}
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}") from None
    except (*BROKEN, ValueError) as error:
        raise InputError(path, None, str(error), FORMAT) from None
    if not document.schema_version.startswith("ATIF-v1."):
        raise InputError(path, None, f"schema_version {document.schema_version!r}", FORMAT)
    if document.extra and (own := document.extra.assay):
        return own.task, structs.replace(own.rollout, turns=turns, roles=roles), own.record
    id = document.trajectory_id or document.session_id or path.stem
    tools = [_tool(path, one.get("function", one)) for one in document.agent.tool_definitions or ()]
    task = Task(id=id, input=turns[0].input if turns else [], tools=tools)
    rollout = Rollout(id, task_digest(task), repeats[id], 0, 0, turns, "completed", NO_REWARD, roles=roles)
    repeats[id] += 1
    return task, rollout, _record(document)


def _tool(path: Path, definition: object) -> Tool:
    try:
        return msgspec.convert({"parameters": {}, **definition}, Tool)  # type: ignore[dict-item]
    except (TypeError, msgspec.ValidationError) as error:
        raise InputError(path, None, f"tool_definitions: {error}", "functions with name and parameters") from None


def _record(document: Trajectory) -> RunRecord:
    """Returns what is known of the run of somebody else's trajectory."""
    agent = document.agent
    models = [agent.model_name, *(step.model_name for step in document.steps if step.is_call)]
    times = [step.timestamp.replace("Z", "+00:00") for step in document.steps if step.timestamp]
    return RunRecord(
        benchmark="atif",
        version=document.schema_version,
        tasks=1,
        tasks_digest="",
        code=digest({}),
        model=next(filter(None, models), "unknown"),
        server={},
        identity={},
        sampling=Sampling(),
        agent=AgentConfig(agent=agent.name, settings={"version": agent.version}),
        seed=0,
        repeats=1,
        versions={agent.name: agent.version},
        started=next(iter(times), NO_TIME),
    )

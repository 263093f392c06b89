"""Logs of other harnesses as a run, by the readers that parity's references have (`assay.gyms.logs`)."""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, structs

from assay.config import AgentConfig
from assay.digest import digest, task_digest
from assay.errors import InputError, UnknownName, UsageError
from assay.exports.atif import Trajectory, turns_of
from assay.exports.from_atif import write_run
from assay.fidelity.original.reference import PromptMessage
from assay.gyms.logs import LOGS, chat, read_log
from assay.gyms.nemo_gym.rows import divided
from assay.gyms.rows import Row
from assay.input import BROKEN, read_input
from assay.store import RunRecord
from assay.types import Failure, Item, Message, Response, Rollout, Sampling, Score, Task, Turn, Usage


class Import(Struct, frozen=True):
    """What was made of a log."""

    harness: str
    rollouts: int
    tasks: int
    score: str | None
    """The name of the score that is the reward, where a sample has several."""


def import_log(files: Sequence[Path], folder: Path, score: str | None = None) -> Import:
    """Makes a run directory of a harness's log. Raises UsageError and InputError, with the row.

    `score` names the reward where samples have several; without it, the first is the reward. The others are metrics.
    """
    log, log_rows = read_log(files)
    if log is None:
        raise UsageError(
            f"{', '.join(map(str, files))}: no log that Assay knows; expected a log of {harnesses()}, or ATIF"
        )
    rows = list(log_rows)
    names = list(dict.fromkeys(name for row in rows for name in row.cells.get("scores", ())))
    if score is not None and score not in names:
        raise UnknownName("score in this log", score, names)
    score = score or next(iter(names), None)
    repeats, tasks, rollouts = Counter[str](), dict[str, Task](), dict[tuple[str, int], Rollout]()
    for row in rows:
        try:
            task, rollout = _read(row, repeats, score, is_one=len(files) == 1)
        except (*BROKEN, KeyError, TypeError, AttributeError, ValueError) as error:
            raise row.error(f"{type(error).__name__}: {error}", f"a sample as {log.name} writes it") from None
        first_task = tasks.setdefault(task.id, task)
        if first_task.input != task.input and "prompt" in row.cells:
            raise row.error(f"another prompt of task {task.id} than before", "one prompt for each task")
        rollouts.setdefault(rollout.key, structs.replace(rollout, task_digest=task_digest(first_task)))
    if len(rollouts) < len(rows):
        raise InputError(rows[-1].place, None, "a repeat of a task twice", "each repeat of a task once")
    write_run(folder, _record(log.name, files, rows), list(tasks.values()), list(rollouts.values()))
    return Import(log.name, len(rollouts), len(tasks), score if len(names) > 1 else None)


def harnesses() -> str:
    """Returns the names of the harnesses whose logs are known."""
    return ", ".join(log.name for log in LOGS)


def _read(row: Row, repeats: Counter[str], score: str | None, *, is_one: bool) -> tuple[Task, Rollout]:
    cells = row.cells
    number = next((cells[name] for name in ("task", "doc_id") if cells.get(name) is not None), row.number)
    # A number is one's place in a file.
    id = str(number) if is_one or "task" in cells else f"{Path(row.place.rpartition(', ')[0]).stem}-{number}"
    gold = cells.get("gold", cells.get("target"))
    played = _trajectory_turns(cells["trajectories"]) if "trajectories" in cells else None
    prompt = _prompt(cells.get("prompt")) if played is None else played[0].input if played else []
    task = Task(id=id, input=prompt, gold=gold if isinstance(gold, str) else None)
    repeat = cells.get("repeat", repeats[id])
    repeats[id] += 1
    stop = "failed" if "failed" in cells else cells.get("stop") or ("token_cap" if cells.get("is_cut") else "completed")
    turns = _turns(task, cells) if played is None else played
    outcome, wall_s = _outcome(cells, score), cells.get("wall_s", 0.0)
    return task, Rollout(id, task_digest(task), repeat, 0, 0, turns, stop, outcome, wall_s)


def _trajectory_turns(files: Sequence[str]) -> list[Turn]:
    """Returns the turns of trajectories, one after the other. One that is none has no turns: agents write them."""
    turns: list[Turn] = []
    for file in map(Path, files):
        with suppress(*BROKEN, ValueError):
            turns += turns_of(msgspec.json.decode(read_input(file), type=Trajectory).steps)
    return turns


def _prompt(prompt: Any) -> list[Item]:
    if isinstance(prompt, str):
        # lm-evaluation-harness writes the messages of a chat as a text.
        with suppress(*BROKEN):
            prompt = msgspec.json.decode(prompt, type=list[PromptMessage])
            return [Message(one.role, one.content) for one in prompt]
        return [Message(role="user", content=prompt)]
    if prompt is None:
        return []
    return [item for message in prompt for item in chat.items(message)]


def _turns(task: Task, cells: dict[str, Any]) -> list[Turn]:
    output = cells.get("items", cells.get("output"))
    items = (
        [Message("assistant", output)] if isinstance(output, str) else msgspec.convert(_flat(output or []), list[Item])
    )
    turns = [Turn(input=asked, response=Response(output=answer)) for asked, answer in divided(task.input, items)]
    usage = {name: int(cells.get("usage", {}).get(name) or 0) for name in Usage.__struct_fields__}
    cut = {"status": "incomplete", "incomplete_reason": "max_output_tokens"} if cells.get("is_cut") else {}
    last = structs.replace(turns[-1].response, usage=Usage(**usage), **cut)
    return [*turns[:-1], structs.replace(turns[-1], response=last)]


def _flat(turns: Iterable[Any]) -> list[Any]:
    """Items of a list of items or of turns, of which some are texts alone."""
    items: list[Any] = []
    for turn in turns:
        message = {"type": "message", "role": "assistant", "content": turn}
        items += turn if isinstance(turn, list) else [message if isinstance(turn, str) else turn]
    return items


def _outcome(cells: dict[str, Any], score: str | None) -> Score | Failure:
    if "failed" in cells:
        where = cells.get("where", "environment")
        return Failure(where, "failed_there", str(cells["failed"])[:10_000], retryable=False)
    reward = cells.get(score) if score else cells.get("score")
    if isinstance(reward, bool) or not isinstance(reward, int | float):
        return Failure("verifier", "no_reward", "the log states no score", retryable=False)
    others = {name: float(cells[name]) for name in cells.get("scores", ()) if name != score}
    metrics_there: dict[str, Any] = cells.get("metrics") or {}
    metrics = {name: float(value) for name, value in metrics_there.items()} | others
    answer = cells.get("answer") if isinstance(cells.get("answer"), str) else None
    return msgspec.convert({"type": "score", "reward": float(reward), "metrics": metrics, "answer": answer}, Score)


def _record(harness: str, files: Sequence[Path], rows: Sequence[Row]) -> RunRecord:
    """Returns what is known of somebody else's run. It began when its log was written, or before."""
    cells = [row.cells for row in rows]
    models = (one.get("model") for one in cells)
    drivers = sorted({(one["agent"], one["agent_version"], one["model"]) for one in cells if "agent" in one})
    if len(drivers) > 1:
        several = "; ".join(" ".join(filter(None, one)) for one in drivers)
        raise UsageError(f"the {len(rows)} rollouts are of several agents or models: {several}; import each by itself")
    began = datetime.fromtimestamp(files[0].stat().st_mtime, UTC).isoformat()
    return RunRecord(
        benchmark=cells[0].get("benchmark", files[0].stem),
        version=harness,
        tasks=0,
        tasks_digest="",
        code=digest({}),
        model=next((one for one in models if isinstance(one, str) and one), "unknown"),
        server={},
        identity={},
        sampling=Sampling(),
        agent=AgentConfig(agent=drivers[0][0], version=drivers[0][1]) if drivers else AgentConfig(agent=harness),
        seed=0,
        repeats=1,
        versions={},
        started=min((one["started"] for one in cells if one.get("started")), default=began),
    )

"""NeMo Gym's rollouts: JSONL with the task's row, the `response` and the `reward`; see `assay.gyms.nemo_gym.rows`."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from assay.gyms.logs import chat
from assay.gyms.logs.log import Log
from assay.gyms.nemo_gym.rows import FAILURE_CLASS, IDS, OWN, PARAMS, ROLLOUT_INDEX, TASK_INDEX, turns_of
from assay.gyms.rows import Row
from assay.types import Task


def _fits(cells: dict[str, Any]) -> bool:
    return PARAMS in cells and ("response" in cells or FAILURE_CLASS in cells)


def _read(rows: Iterable[Row]) -> Iterator[Row]:
    for row in rows:
        try:
            yield Row(row.number, row.place, row.cells | _cells(row.cells))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise row.error(f"{type(error).__name__}: {error}", "a rollout as NeMo Gym writes it") from None


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    own: dict[str, Any] = row.get(OWN) or {}
    ids: list[Any] = [own.get("id"), *(row.get(name) for name in IDS), row.get(TASK_INDEX)]
    cells: dict[str, Any] = {"task": next((id for id in ids if isinstance(id, str | int)), None)}
    if ROLLOUT_INDEX in row:
        cells["repeat"] = row[ROLLOUT_INDEX]
    if FAILURE_CLASS in row or row.get("mask_sample"):
        return cells | {"failed": str(row.get("failure_reason") or row.get(FAILURE_CLASS))}
    turns = turns_of(Task(id="", input=[]), row["response"])
    last = turns[-1].response
    return cells | {
        "prompt": _prompt(row[PARAMS]),
        "output": [msgspec.to_builtins(turn.response.output) for turn in turns],
        "items": chat.plain(item for turn in turns for item in (*turn.input, *turn.response.output)),
        "score": row.get("reward"),
        "gold": own.get("gold"),
        "answer": row.get("extracted_answer"),
        "is_cut": last.incomplete_reason == "max_output_tokens",
        "model": last.model,
        "usage": msgspec.to_builtins(last.usage),
    }


def _prompt(params: dict[str, Any]) -> Any:
    said = params["input"]
    messages = [{"role": "user", "content": said}] if isinstance(said, str) else said
    if params.get("instructions"):
        messages = [{"role": "system", "content": params["instructions"]}, *messages]
    # A prompt with calls of tools is no rendered text.
    return messages if all("role" in message for message in messages) else None


LOG = Log("NeMo Gym", _fits, _read)

"""verifiers' rollouts: the `results.jsonl` that `vf-eval --save-results` writes.

    {"example_id": 0, "prompt": [{"role": "user", "content": "..."}], "completion": [...], "answer": "4", "reward": 1.0,
     "metrics": {"exact": 1.0}, "error": null, "is_truncated": false, "token_usage": {"input_tokens": 9.0, ...}}

The rollouts of an example are its repeats, in their order. The fields are those of verifiers 0.1.14 to 0.3.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from assay.gyms.logs import chat
from assay.gyms.logs.log import Log
from assay.gyms.rows import Row


def _fits(cells: dict[str, Any]) -> bool:
    return {"example_id", "prompt", "completion", "reward"} <= cells.keys()


def _read(rows: Iterable[Row]) -> Iterator[Row]:
    for row in rows:
        try:
            yield Row(row.number, row.place, _cells(row.cells))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise row.error(f"{type(error).__name__}: {error}", "a rollout as verifiers writes it") from None


def _cells(rollout: dict[str, Any]) -> dict[str, Any]:
    said: Any = rollout["completion"] or []
    messages: list[dict[str, Any]] = [{"role": "assistant", "content": said}] if isinstance(said, str) else said
    cells: dict[str, Any] = {
        "task": str(rollout["example_id"]),
        "prompt": rollout["prompt"],
        "output": [chat.plain(chat.items(one)) for one in messages if one["role"] == "assistant"],
        "items": chat.plain(item for one in messages for item in chat.items(one)),
        "gold": rollout.get("answer"),
        "metrics": rollout.get("metrics") or {},
        "is_cut": bool(rollout.get("is_truncated")),
        "usage": rollout.get("token_usage") or {},
    }
    if error := rollout.get("error"):
        return cells | {"failed": str(error.get("error_chain_repr", error) if isinstance(error, dict) else error)}  # pyright: ignore
    return cells | {"score": rollout["reward"]}


LOG = Log("verifiers", _fits, _read)

"""Inspect's logs: `.eval`, a ZIP archive with a JSON file a sample, and JSON, which holds all samples.

A sample:

    {"id": 1, "epoch": 1, "input": "...", "target": "...", "messages": [...], "output": {"completion": "..."},
     "scores": {"match": {"value": "C", "answer": "...", "explanation": "..."}}}

Nothing but JSON is read: the library writes no other content.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from assay.gyms.inspect import number_of
from assay.gyms.logs import chat
from assay.gyms.logs.log import Log, scored
from assay.gyms.rows import Row


def samples(names: list[str]) -> list[str]:
    """Returns the samples among the members of an archive. None is there where the archive is no log of Inspect's."""
    logs = "header.json" in names or "_journal/start.json" in names
    return [name for name in names if name.startswith("samples/")] if logs else []


def _fits(cells: dict[str, Any]) -> bool:
    return {"id", "epoch", "input", "messages", "output"} <= cells.keys()


def _read(rows: Iterable[Row]) -> Iterator[Row]:
    for row in rows:
        try:
            yield Row(row.number, row.place, _cells(row.cells))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise row.error(f"{type(error).__name__}: {error}", "a sample as Inspect writes it") from None


def _cells(sample: dict[str, Any]) -> dict[str, Any]:
    messages = sample["messages"]
    begin = next((i for i, message in enumerate(messages) if _is_generated(message)), len(messages))
    cells: dict[str, Any] = {
        "task": str(sample["id"]),
        "repeat": sample["epoch"] - 1,
        "prompt": [{"role": message["role"], "content": message["content"]} for message in messages[:begin]],
        "target": sample.get("target"),
        "metadata": sample.get("metadata"),
        "output": _output([message for message in messages[begin:] if message["role"] == "assistant"], sample),
        "items": chat.plain(item for message in messages[begin:] for item in chat.items(message)),
        "is_cut": any(one.get("stop_reason") == "max_tokens" for one in sample["output"].get("choices") or ()),
        "model": sample["output"].get("model"),
        "usage": sample["output"].get("usage") or {},
    }
    if sample.get("error"):
        return cells | {"failed": sample["error"].get("message", "an error")}
    if not sample.get("scores"):
        return cells | {"failed": "it has no score"}
    return cells | scored(_scores(sample["scores"]))


def _is_generated(message: dict[str, Any]) -> bool:
    return message["role"] == "assistant" and message.get("source") == "generate"


def _scores(scores: dict[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, score in scores.items():
        values = score["value"]
        for key, value in values.items() if isinstance(values, dict) else [("", values)]:  # pyright: ignore
            found[f"{name}.{key}" if key else name] = number_of(name, value)
    return found


def _output(said: list[dict[str, Any]], sample: dict[str, Any]) -> Any:
    """Returns the text of one turn without thinking or calls, else the items of each turn."""
    if len(said) <= 1 and all(isinstance(one["content"], str) and not one.get("tool_calls") for one in said):
        return said[0]["content"] if said else sample["output"].get("completion", "")
    return [chat.plain(chat.items(message)) for message in said]


LOG = Log("Inspect", _fits, _read)

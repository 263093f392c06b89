"""lm-evaluation-harness's samples: `samples_TASK_TIME.jsonl`, which `--log_samples` writes.

A line is a sample under one filter:

    {"doc_id": 0, "doc": {...}, "target": "...", "arguments": {"gen_args_0": {"arg_0": ["..."], "arg_1": {...}}},
     "resps": [["..."]], "filtered_resps": ["..."], "filter": "strict-match", "metrics": ["exact_match"],
     "exact_match": 0.0}

A score is called METRIC,FILTER, as in the harness's results; METRIC where there is no filter. The number of a document
is no task's id: it is a position in the data. `results_TIME.json` holds scores of whole tasks, and is passed over.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from assay.errors import InputError
from assay.gyms.logs.log import Log, scored
from assay.gyms.rows import Row


def _fits(cells: dict[str, Any]) -> bool:
    return {"doc_id", "doc", "resps"} <= cells.keys() or _is_aggregate(cells)


def _is_aggregate(cells: dict[str, Any]) -> bool:
    return "alias" in cells and any("," in name for name in cells)


def _read(rows: Iterable[Row]) -> Iterator[Row]:
    samples: dict[tuple[str, Any], tuple[Row, dict[str, float]]] = {}
    place = ""
    for row in rows:
        place = row.place
        if _is_aggregate(row.cells):
            continue
        file = row.place.rpartition(", ")[0]
        _, scores = samples.setdefault((file, row.cells["doc_id"]), (row, {}))
        label = row.cells.get("filter", "none")
        for metric in row.cells.get("metrics", ()):
            value = row.cells.get(metric)
            if isinstance(value, int | float):
                scores[metric if label == "none" else f"{metric},{label}"] = float(value)
    if not samples:
        raise InputError(place, None, "scores of whole tasks alone", "the samples that lm_eval --log_samples writes")
    for row, scores in samples.values():
        given = {name: row.cells.get(name) for name in ("doc_id", "doc", "target")}
        prompt = _text(row.cells.get("arguments"))
        yield Row(row.number, row.place, given | {"prompt": prompt} | _output(row.cells["resps"]) | scored(scores))


def _output(responses: Any) -> dict[str, Any]:
    """Returns the output, where there is one: of several, the filter says which is scored; likelihoods are none."""
    match responses:
        case [[str(text)]]:
            return {"output": text}
        case _:
            return {}


def _text(arguments: Any) -> str | None:
    """Returns the first text in the arguments of the first request, which is the prompt."""
    while isinstance(arguments, dict | list) and arguments:
        arguments = next(iter(arguments.values())) if isinstance(arguments, dict) else arguments[0]  # pyright: ignore
    return arguments if isinstance(arguments, str) else None


LOG = Log("lm-evaluation-harness", _fits, _read)

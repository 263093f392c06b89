"""bfcl-eval's files: the results that `bfcl generate` writes, with the scores that `bfcl evaluate` writes beside them.

JSONL in `BFCL_v4_CATEGORY_result.json`, a line a task, whose `result` is a text, the calls of one response, or, of a
conversation, the responses of each turn; and in `BFCL_v4_CATEGORY_score.json`, a line for each task that is wrong:

    {"id": "simple_python_0", "result": [{"f": "{\"x\": 1}"}], "latency": 0.5, "input_token_count": 9, …}

    {"accuracy": 0.5, "correct_count": 1, "total_count": 2}
    {"id": "simple_python_1", "model_name": "…", "test_category": "simple_python", "valid": false, …}
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from assay.errors import InputError
from assay.gyms.logs.log import Log
from assay.gyms.rows import Row
from assay.types import FunctionCall

TOTAL = "total_count"


def _fits(cells: dict[str, Any]) -> bool:
    return _is_result(cells) or {"accuracy", TOTAL} <= cells.keys() or {"id", "test_category", "valid"} <= cells.keys()


def _is_result(cells: dict[str, Any]) -> bool:
    return {"id", "result"} <= cells.keys() and ("latency" in cells or "traceback" in cells)


def _read(rows: Iterable[Row]) -> Iterator[Row]:
    results: dict[str, Row] = {}
    wrong, judged, place = set[str](), 0, ""
    for row in rows:
        place = row.place
        try:
            if TOTAL in row.cells:
                judged += int(row.cells[TOTAL])
            elif not _is_result(row.cells):
                wrong.add(row.cells["id"])
            elif results.setdefault(row.cells["id"], plain := _plain(row)) is not plain:
                raise row.error(f"a second result of {row.cells['id']}", "the files of one model")
        except (TypeError, AttributeError, ValueError) as error:
            raise row.error(f"{type(error).__name__}: {error}", "a line as bfcl-eval writes it") from None
    if judged != len(results):
        got = f"{len(results):,} results, and scores of {judged:,}"
        raise InputError(place, None, got, "the result and the score file of each category")
    for id, row in results.items():
        yield Row(row.number, row.place, row.cells | {"score": float(id not in wrong)})


def _plain(row: Row) -> Row:
    """Returns a result without its score. That of an error is none: the original counts it as wrong."""
    result = row.cells["result"]
    cells = {"failed": result} if "traceback" in row.cells else {"output": _output(result)}
    return Row(row.number, row.place, {"task": row.cells["id"]} | cells)


def _output(result: Any) -> Any:
    match result:
        case [[*_], *_]:
            return [_text_of(response) for turn in result for response in turn]
        case [*_]:
            return [_text_of(result)]
        case _:
            return result


def _text_of(response: Any) -> Any:
    """Returns a response: its text, or its calls as items."""
    if isinstance(response, str):
        return response
    calls = [call for one in response for call in one.items()]
    return [
        msgspec.to_builtins(FunctionCall(f"call_{at}", name, arguments)) for at, (name, arguments) in enumerate(calls)
    ]


LOG = Log("bfcl-eval", _fits, _read)

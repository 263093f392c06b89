"""What servers of NeMo Gym's rows share: reading a row and its task, errors as NeMo Gym gives them, statistics."""

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from assay.digest import task_digest
from assay.gyms.nemo_gym.rows import OWN, ROLLOUT_INDEX, TASK_INDEX, Own, Row, task_of
from assay.model.dialects.serving import BadRequest
from assay.serve.http import read_body
from assay.types import Task

_encode = msgspec.json.Encoder().encode


def task_in(row: Row, name: str, tasks: Mapping[str, Task]) -> tuple[Own, Task]:
    """Returns the task of a row: one of an environment's own, or a training task that the row holds whole.

    Raises BadRequest where the row was not written by Assay, or its task has changed since.
    """
    remedy = f"rows for this server are written by: assay export {name} --format nemo-gym"
    try:
        own = msgspec.convert(row.get(OWN), Own)
    except msgspec.ValidationError as error:
        raise BadRequest(f"{OWN}: {error}; {remedy}", param=f"body.{OWN}") from None
    try:
        task = task_of(row, own.id) if own.training else tasks.get(own.id)
    except (msgspec.ValidationError, AttributeError, TypeError) as error:
        raise BadRequest(f"{error}; {remedy}") from None
    if task is None or task_digest(task) != own.digest:
        what = "has no task" if task is None else "has another version of task"
        raise BadRequest(f"environment {name} {what} '{own.id}'; {remedy}", param=f"body.{OWN}")
    return own, task


async def unprocessable(request: Request, error: Exception) -> Response:
    assert isinstance(error, BadRequest)
    place = (error.param or "body").split(".")
    detail = [{"type": error.code or "value_error", "loc": place, "msg": error.message}]
    status = 422 if error.status == 400 else error.status
    return Response(_encode({"detail": detail}), status, media_type="application/json")


async def health(request: Request) -> Response:
    return Response(_encode({"status": "ok"}), media_type="application/json")


def row_in(body: bytes) -> Row:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is no row ({error})", param="body") from None


async def aggregate(request: Request) -> Response:
    rows = row_in(await read_body(request)).get("verify_responses")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):  # pyright: ignore[reportUnknownVariableType]
        raise BadRequest("verify_responses: expected a list of rows", param="body.verify_responses")
    return Response(_encode(statistics(rows)), media_type="application/json")  # pyright: ignore[reportUnknownArgumentType]


def statistics(rows: Iterable[Row]) -> Row:
    """Mean, largest, smallest, median and standard deviation of every number of the rows, a task and over all.

    The standard deviation is that of a sample, 0 for one row. Rows whose reward is no measurement are left out. What is
    too large for a float is infinite, which is null in JSON.
    """
    groups: dict[bytes, list[dict[str, float]]] = {}
    for row in rows:
        if not row.get("mask_sample"):
            numbers = _numbers(row | _fields(_fields(row.get("response")).get("usage")))
            groups.setdefault(_encode(row.get(TASK_INDEX)), []).append(numbers)
    over_all = _statistics_of([numbers for group in groups.values() for numbers in group])
    return {
        "group_level_metrics": [
            {TASK_INDEX: msgspec.json.decode(index), **_statistics_of(group)} for index, group in groups.items()
        ],
        "agent_metrics": over_all,
        "key_metrics": {name: value for name, value in over_all.items() if name == "mean/reward"},
    }


def _fields(value: Any) -> Row:
    return value if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def _numbers(row: Row) -> dict[str, float]:
    return {
        name: value if abs(value) <= sys.float_info.max else math.inf
        for name, value in row.items()
        if isinstance(value, int | float) and name not in (TASK_INDEX, ROLLOUT_INDEX)
    }


@np.errstate(all="ignore")
def _statistics_of(rows: list[dict[str, float]]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = np.array([row[name] for row in rows if name in row], dtype=float)
        for statistic, function in _STATISTICS.items():
            figures[f"{statistic}/{name}"] = float(function(values))
    return figures


def _deviation(values: "np.ndarray[Any, Any]") -> Any:
    return np.std(values, ddof=1) if len(values) > 1 else 0.0


_STATISTICS: dict[str, Callable[..., Any]] = {
    "mean": np.mean,
    "max": np.max,
    "min": np.min,
    "median": np.median,
    "std": _deviation,
}

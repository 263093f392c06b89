"""Batches: a wrapper that sends requests by a provider's batch API, at half the price, with answers within a day.

Each batch is written to a file with its requests before it is submitted, and again with its id. So after a kill the
same requests wait for their batch, and nothing is paid twice.
"""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec
from msgspec import Struct

from assay.config import ModelConfig, RateLimits
from assay.digest import digest
from assay.errors import ModelError, UsageError
from assay.input import is_present
from assay.model import BatchError, BatchResults, ContextOverflow, Model
from assay.model.http import OVERLOAD
from assay.model.wrappers.base import Wrapper
from assay.store import append_line, read_lines
from assay.types import Request, Response

FILE = "batches.jsonl"
"""The file in the run's directory."""
MOST_ROWS, MOST_BYTES = 1000, 100 * 2**20
"""The most requests and bytes of one batch. Both APIs take many more; these answers fit into memory."""
MOST_IN_FLIGHT = 10_000
"""The most rollouts that wait for batches at once."""
QUIET_S = 1.0
"""A batch is submitted when no request has come for this many seconds."""
FIRST_POLL_S, LONGEST_POLL_S = 0.5, 60.0
MOST_ERRORS = 30
"""The most polls in a row that may fail: up to half an hour."""
SUBMISSIONS = 6
"""The most times that a batch is submitted if the server certainly did not accept it."""
LONGEST_S = 36 * 3600.0
"""The deadline of one rollout in seconds: a batch takes at most a day, and a smaller output cap needs another one."""
DIALECTS = ("responses", "messages")
"""The dialects whose servers have a batch API."""


def batch_config(config: ModelConfig) -> ModelConfig:
    """Returns a model's configuration for batches: half its prices, no limits, a long deadline. Raises UsageError."""
    if config.dialect not in DIALECTS:
        raise UsageError(f"--batch: the dialect {config.dialect} has no batch API; expected {' or '.join(DIALECTS)}")
    prices = config.prices and config.prices.half()
    changes = {"prices": prices, "limits": RateLimits(), "deadline_s": LONGEST_S, "attempts": 1, "stream": False}
    return msgspec.structs.replace(config, **changes)


class Batches(Protocol):
    """A batch API. A row's custom id is `KEY-INDEX`."""

    async def submit(self, key: str, bodies: Sequence[dict[str, Any]]) -> str: ...

    async def candidates(self, key: str, count: int) -> list[str]: ...

    async def results(self, id: str) -> BatchResults | None: ...

    def smaller(self, body: dict[str, Any]) -> dict[str, Any] | None: ...


class Client(Model, Protocol):
    """A dialect with a batch API."""

    def batches(self) -> Batches: ...

    def body(self, request: Request) -> dict[str, Any]: ...

    def read(self, request: Request, content: bytes) -> Response: ...


class BatchLine(Struct, omit_defaults=True):
    """A line of `batches.jsonl`: the rows of a batch before it is submitted, its id afterwards."""

    key: str
    rows: list[str] = []
    """The digests of the requests, in their order."""
    batch: str = ""


class BatchModel(Wrapper):
    """A model whose requests wait for batches."""

    def __init__(self, model: Model, file: Path) -> None:
        super().__init__(model)
        self._client = cast(Client, model)
        self._batches = self._client.batches()
        self._file = file
        self._queue: dict[str, tuple[dict[str, Any], asyncio.Future[bytes]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._rows: dict[str, list[str]] = {}
        """The rows of each batch of an earlier process, by its key, and its id if that was written."""
        self._ids: dict[str, str] = {}
        self._earlier: dict[str, asyncio.Task[BatchResults]] = {}
        for line in read_lines(file, BatchLine) if is_present(file) else ():
            if line.batch:
                self._ids[line.key] = line.batch
            else:
                self._rows[line.key] = line.rows
        self._place = {row: (key, index) for key, rows in self._rows.items() for index, row in enumerate(rows)}

    def identity(self) -> dict[str, str]:
        return {**super().identity(), "batch": "true"}

    async def respond(self, request: Request) -> Response:
        """Raises ModelError."""
        body = self._client.body(request)
        while True:
            try:
                return await self._answer(request, body)
            except ContextOverflow:
                if (smaller := self._batches.smaller(body)) is None:
                    raise
                body = smaller

    async def _answer(self, request: Request, body: dict[str, Any]) -> Response:
        row = digest([request.task, request.repeat, request.turn, body])[:32]
        if place := self._place.pop(row, None):
            key, index = place
            try:
                result = _answer_in((await self._collect(key)).pop(f"{key}-{index}", None))
                return self._client.read(request, result)
            except ModelError as error:
                # Where that batch has no answer that can be read, or is deleted, the request is sent in another one.
                if not isinstance(error, BatchError) and error.kind not in ("bad_response", "http_404"):
                    raise
        self._queue[row] = body, (waiting := asyncio.get_running_loop().create_future())
        self._stir()
        return self._client.read(request, await waiting)

    def _stir(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(QUIET_S, self._submit_all)
        if len(self._queue) >= MOST_ROWS:
            self._submit_all()

    def _submit_all(self) -> None:
        """Submit all that is in the queue, in batches that are not too large."""
        rows: dict[str, tuple[dict[str, Any], asyncio.Future[bytes]]] = {}
        size = 0
        for row, (body, waiting) in self._queue.items():
            length = len(msgspec.json.encode(body))
            if rows and size + length > MOST_BYTES:
                self._begin(self._carry(rows))
                rows, size = {}, 0
            rows[row] = body, waiting
            size += length
        self._queue = {}
        if rows:
            self._begin(self._carry(rows))

    def _begin(self, work: Any) -> asyncio.Task[Any]:
        self._tasks.add(task := asyncio.create_task(work))
        task.add_done_callback(self._tasks.discard)
        return task

    async def _carry(self, rows: Mapping[str, tuple[dict[str, Any], asyncio.Future[bytes]]]) -> None:
        """Submit one batch, and give each row its result."""
        key = secrets.token_hex(12)
        results: BatchResults = {}
        error: Exception | None = None
        try:
            append_line(self._file, BatchLine(key, rows=list(rows)))
            id = await self._submit(key, [body for body, _ in rows.values()])
            append_line(self._file, BatchLine(key, batch=id))
            results = await self._wait_for(id)
        except Exception as problem:  # whoever waits gets it
            error = problem
        for index, (_, waiting) in enumerate(rows.values()):
            if waiting.done():
                continue  # who asked was cancelled
            try:
                if error:
                    raise error
                waiting.set_result(_answer_in(results.get(f"{key}-{index}")))
            except Exception as problem:
                waiting.set_exception(problem)

    async def _submit(self, key: str, bodies: list[dict[str, Any]]) -> str:
        """Returns the new batch's id. It is submitted again only where the server surely did not take it."""
        pause_s = 1.0
        for left in reversed(range(SUBMISSIONS)):
            try:
                return await self._batches.submit(key, bodies)
            except ModelError as error:
                if error.kind not in OVERLOAD | {"connect"} or not error.retryable or not left:
                    raise BatchError(f"batch_{error.kind}", str(error)) from None
                await asyncio.sleep(max(pause_s, error.retry_after_s or 0.0))
                pause_s *= 2
        raise AssertionError("unreachable")

    async def _wait_for(self, id: str) -> BatchResults:
        """Returns the results of a batch once it has ended."""
        pause_s, errors = FIRST_POLL_S, 0
        while True:
            try:
                if (results := await self._batches.results(id)) is not None:
                    return results
                errors = 0
            except ModelError as error:
                errors += 1
                if isinstance(error, BatchError) or not error.retryable or errors > MOST_ERRORS:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(1.5 * pause_s, LONGEST_POLL_S)

    async def _collect(self, key: str) -> BatchResults:
        """Returns the results of a batch of an earlier process."""
        if key not in self._earlier:
            self._earlier[key] = self._begin(self._recall(key))
        return await asyncio.shield(self._earlier[key])

    async def _recall(self, key: str) -> BatchResults:
        if known := self._ids.get(key):
            return await self._wait_for(known)
        # The process died between submitting the batch and writing its id, or before it submitted it.
        for id in await self._batches.candidates(key, len(self._rows[key])):
            results = await self._wait_for(id)
            if any(row.startswith(f"{key}-") for row in results):
                append_line(self._file, BatchLine(key, batch=id))
                return results
        return {}

    async def aclose(self) -> None:
        if self._timer:
            self._timer.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await super().aclose()


def _answer_in(result: bytes | ModelError | None) -> bytes:
    """Returns the answer to a row. Raises ContextOverflow, and BatchError where there is none."""
    match result:
        case bytes():
            return result
        case None:
            raise BatchError("batch_lacks", "the batch ended without a result of this request")
        case ContextOverflow() | BatchError():
            raise result
        case ModelError():
            raise BatchError(f"batch_{result.kind}", str(result))

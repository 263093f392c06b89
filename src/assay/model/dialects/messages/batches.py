"""Anthropic's Message Batches API.

As documented in https://platform.claude.com/docs/en/build-with-claude/batch-processing and
https://platform.claude.com/docs/en/api/messages/batches.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from assay.errors import ModelError
from assay.model import BatchError, BatchResults
from assay.model.http import Endpoint, error_of, with_smaller_cap

MOST_PAGES = 20
"""Of batches that are looked through for a lost one, 100 a page."""


class MessagesBatches:
    """A batch is one request with all others in it, and its results are lines."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def submit(self, key: str, bodies: Sequence[dict[str, Any]]) -> str:
        """Returns the id of a new batch. Raises ModelError."""
        rows = [{"custom_id": f"{key}-{index}", "params": body} for index, body in enumerate(bodies)]
        sent = msgspec.json.encode({"requests": rows})
        return self._decode(await self._endpoint.post("/messages/batches", sent), _Batch).id

    async def candidates(self, key: str, count: int) -> list[str]:
        """Returns the ids of the batches of this many rows, the newest first: their results alone tell the key."""
        found: list[str] = []
        query = {"limit": "100"}
        for _ in range(MOST_PAGES):
            page = self._decode(await self._endpoint.get("/messages/batches", query), _Page)
            found += [one.id for one in page.data if sum(one.request_counts.values()) == count]
            if not page.has_more or not page.data:
                break
            query["after_id"] = page.data[-1].id
        return found

    async def results(self, id: str) -> BatchResults | None:
        """Returns what came of each row, by its custom id; None while the batch goes on. Raises ModelError."""
        batch = self._decode(await self._endpoint.get(f"/messages/batches/{id}"), _Batch)
        if batch.processing_status != "ended":
            return None
        # `results_url` is this path: the key goes to no other address, whatever a server names.
        lines = (await self._endpoint.get(f"/messages/batches/{id}/results")).splitlines()
        rows = [self._decode(line, _Row) for line in lines if line.strip()]
        return {row.custom_id: _result(row.result) for row in rows}

    def smaller(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """Returns what to send after input and output cap didn't fit together; None where the input is too long."""
        return with_smaller_cap(body, "max_tokens", needed=True)

    def _decode(self, content: bytes, kind: Any) -> Any:
        return self._endpoint.decode(msgspec.json.Decoder(kind), content)


class _Batch(Struct):
    id: str
    processing_status: str
    request_counts: dict[str, int] = {}


class _Page(Struct):
    data: list[_Batch]
    has_more: bool = False


class _Result(Struct):
    type: str
    message: Raw = Raw(b"{}")
    error: Any = None


class _Row(Struct):
    custom_id: str
    result: _Result


def _result(result: _Result) -> bytes | ModelError:
    if result.type == "succeeded":
        return bytes(result.message)
    if result.type == "errored":
        inner: Any = result.error.get("error", result.error) if isinstance(result.error, dict) else result.error  # pyright: ignore
        return error_of(inner)
    return BatchError(f"batch_{result.type}", f"the request is {result.type}: it was not answered")

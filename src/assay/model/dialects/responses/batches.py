"""OpenAI's Batch API, for requests of the Responses API.

As documented in https://platform.openai.com/docs/guides/batch and https://platform.openai.com/docs/api-reference/batch.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from assay.errors import ModelError
from assay.model import BatchError, BatchResults
from assay.model.http import Endpoint, status_error, with_smaller_cap

MOST_PAGES = 20
"""Of batches that are looked through for a lost one, 100 a page."""


class ResponsesBatches:
    """A file of requests is uploaded, a batch is made of it, and its answers and errors are files again."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def submit(self, key: str, bodies: Sequence[dict[str, Any]]) -> str:
        """Returns the id of a new batch. Raises ModelError."""
        rows = [
            {"custom_id": f"{key}-{index}", "method": "POST", "url": "/v1/responses", "body": body}
            for index, body in enumerate(bodies)
        ]
        lines = b"\n".join(map(msgspec.json.encode, rows))
        uploaded = await self._endpoint.post("/files", _form(key, lines), f"multipart/form-data; boundary={key}")
        wanted = {
            "input_file_id": self._decode(uploaded, _Named).id,
            "endpoint": "/v1/responses",
            "completion_window": "24h",
            "metadata": {"assay": key},
        }
        return self._decode(await self._endpoint.post("/batches", msgspec.json.encode(wanted)), _Named).id

    async def candidates(self, key: str, count: int) -> list[str]:
        """Returns the ids of the batches that were submitted with this key. Raises ModelError."""
        query = {"limit": "100"}
        for _ in range(MOST_PAGES):
            page: _Page = self._decode(await self._endpoint.get("/batches", query), _Page)
            if mine := [one.id for one in page.data if one.key == key]:
                return mine
            if not page.has_more or not page.data:
                break
            query["after"] = page.data[-1].id
        return []

    async def results(self, id: str) -> BatchResults | None:
        """Returns what came of each row, by its custom id; None while the batch goes on. Raises ModelError."""
        batch = self._decode(await self._endpoint.get(f"/batches/{id}"), _Batch)
        if batch.status not in ("completed", "failed", "expired", "cancelled"):
            return None
        if batch.status == "failed" and not batch.output_file_id:
            words = "; ".join(error.message or "" for error in batch.errors.data) if batch.errors else "no reason given"
            raise BatchError("batch_failed", f"batch {id} failed: {words}")
        found: BatchResults = {}
        for file in filter(None, (batch.output_file_id, batch.error_file_id)):
            for line in (await self._endpoint.get(f"/files/{file}/content")).splitlines():
                row = self._decode(line, _Row)
                found[row.custom_id] = _result(row)
        return found

    def smaller(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """Returns what to send after input and output cap didn't fit together; None where the input is too long."""
        return with_smaller_cap(body, "max_output_tokens", needed=False)

    def _decode(self, content: bytes, kind: Any) -> Any:
        return self._endpoint.decode(msgspec.json.Decoder(kind), content)


class _Named(Struct):
    id: str
    metadata: dict[str, str] | None = None

    @property
    def key(self) -> str | None:
        return self.metadata.get("assay") if self.metadata else None


class _Page(Struct):
    data: list[_Named]
    has_more: bool = False


class _Error(Struct):
    code: str | None = None
    message: str | None = None


class _Errors(Struct):
    data: list[_Error] = []


class _Batch(Struct):
    status: str
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: _Errors | None = None


class _Answer(Struct):
    status_code: int
    body: Raw = Raw(b"{}")


class _Row(Struct):
    custom_id: str
    response: _Answer | None = None
    error: _Error | None = None


def _result(row: _Row) -> bytes | ModelError:
    if row.error or row.response is None:
        error = row.error or _Error("no_response", "neither a response nor an error")
        return BatchError(error.code or "batch_errored", error.message or "no reason given")
    if row.response.status_code == 200:
        return bytes(row.response.body)
    return status_error("the batch", row.response.status_code, bytes(row.response.body), None)


def _form(boundary: str, lines: bytes) -> bytes:
    """Returns the upload of a batch's file as a form."""
    parts = (
        ('name="purpose"', b"batch"),
        (f'name="file"; filename="{boundary}.jsonl"\r\ncontent-type: application/jsonl', lines),
    )
    form = b"".join(
        f"--{boundary}\r\ncontent-disposition: form-data; {head}\r\n\r\n".encode() + value + b"\r\n"
        for head, value in parts
    )
    return form + f"--{boundary}--\r\n".encode()

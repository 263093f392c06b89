"""Server-sent events: a whole stream becomes the JSON body that the same API gives without streaming.

A stream that ends before its API says that it has ended was cut, and is never an answer.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from assay.errors import ModelError
from assay.model.http import UNREADABLE, error_of

_LINES = re.compile(rb"\r\n|\n|\r")


def events(stream: bytes) -> Iterator[bytes]:
    """Yields the data of each event by the HTML standard (9.2.6). One without a blank line after it is left out."""
    data: list[bytes] = []
    # What stands after the last line end is a line that was cut.
    for line in _LINES.split(stream.removeprefix(b"\xef\xbb\xbf"))[:-1]:
        if not line:
            if data:
                yield b"\n".join(data)
            data = []
        elif line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif line == b"data":
            data.append(b"")


def decode_events(stream: bytes) -> Iterator[Any]:
    for data in events(stream):
        if data == b"[DONE]":
            return
        try:
            event: Any = msgspec.json.decode(data)
        except UNREADABLE:
            raise malformed_error(repr(data[:200].decode("utf-8", "replace"))) from None
        if not isinstance(event, dict):
            raise malformed_error(repr(data[:200].decode("utf-8", "replace")))
        yield event


def check(chunk: Any) -> None:
    if chunk.get("error"):
        raise error_of(chunk["error"])


def fields(value: Any) -> dict[str, Any]:
    return value or {}


def each(value: Any) -> list[Any]:
    return value or []


def entries(value: Any) -> list[Any]:
    """Returns the value if it is a list, and nothing of one that is none."""
    return value if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType]


def non_null(value: Any) -> dict[str, Any]:
    """Returns the fields that are not null."""
    return {name: held for name, held in fields(value).items() if held is not None}


def add(whole: Any, piece: Any) -> None:
    """Adds a piece to earlier ones: texts and lists grow, objects grow by their fields, the rest is replaced."""
    for name, value in piece.items():
        known = whole.get(name)
        if value is None:
            continue
        if type(known) is type(value) and isinstance(known, str | list) and name != "role":
            whole[name] = known + value
        elif isinstance(known, dict) and isinstance(value, dict):
            add(known, value)
        else:
            whole[name] = value


def malformed_error(what: str) -> ModelError:
    return ModelError("bad_response", f"an event of the stream is not what this API gives: {what}", retryable=True)


def cut_error() -> ModelError:
    return ModelError("stream_cut", "the stream ended before the answer did", retryable=True)

"""Server-sent events: a whole stream becomes the JSON body that the same API gives without streaming.

A stream that ends before its API says that it has ended was cut, and is never an answer.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from assay.errors import ModelError
from assay.model.http import UNREADABLE, told_error

_encode = msgspec.json.Encoder().encode
_LINES = re.compile(rb"\r\n|\n|\r")


def events(stream: bytes) -> Iterator[bytes]:
    """The data of each event, by the rules of the HTML standard (9.2.6): one that no blank line ends is not told."""
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


def response(stream: bytes) -> bytes:
    """The response object of the Responses API's last event. Raises ModelError."""
    # The end first: it holds the whole response, and tens of thousands of pieces may come before it.
    for part in (_end(stream), stream):
        for event in _decoded(part):
            match event.get("type"):
                case "response.completed" | "response.incomplete" | "response.failed":
                    return _encode(event["response"])
                case "error":
                    raise told_error(event.get("error") or event)
                case _:
                    pass
    raise _cut()


def _end(stream: bytes) -> bytes:
    """The last two or three events; all of a stream whose lines do not end in a line feed alone."""
    start = len(stream)
    for _ in range(4):
        start = stream.rfind(b"\n\n", 0, max(0, start))
    return stream[start + 2 :] if start >= 0 else stream


def completion(stream: bytes) -> bytes:
    """The Chat Completion that chunks add up to. Raises ModelError."""
    whole: dict[str, Any] = {}
    choice: dict[str, Any] = {"finish_reason": None, "message": {}}
    calls: dict[Any, Any] = {}
    for chunk in _decoded(stream):
        _check(chunk)
        whole |= {name: value for name, value in chunk.items() if name != "choices" and value is not None}
        for piece in _all(chunk.get("choices")):
            if piece.get("index"):
                continue
            _check(piece)
            choice["finish_reason"] = piece.get("finish_reason") or choice["finish_reason"]
            delta = _fields(piece.get("delta"))
            for call in _all(delta.pop("tool_calls", None)):
                _add_call(calls, call)
            _add(choice["message"], delta)
            _add(choice, {name: piece[name] for name in ("logprobs", "token_ids") if piece.get(name)})
    if choice["finish_reason"] is None:
        raise _cut()
    if calls:
        choice["message"]["tool_calls"] = list(calls.values())
    return _encode({**whole, "choices": [choice]})


def _add_call(calls: dict[Any, Any], call: Any) -> None:
    """A piece of a call belongs to the call of its index. Servers that tell none give an id with each new call."""
    index = call.get("index")
    if index is None:
        index = len(calls) if call.get("id") or not calls else next(reversed(calls))
    function = _fields(call.get("function"))
    known = calls.setdefault(index, {"id": None, "type": "function", "function": {"name": "", "arguments": ""}})
    known["id"] = known["id"] or call.get("id")
    known["function"]["name"] = known["function"]["name"] or function.get("name") or ""
    known["function"]["arguments"] += function.get("arguments") or ""


def text_completion(stream: bytes) -> bytes:
    """The legacy completion that chunks add up to. Raises ModelError."""
    whole: dict[str, Any] = {}
    choice: dict[str, Any] = {"finish_reason": None, "text": ""}
    for chunk in _decoded(stream):
        _check(chunk)
        whole |= {name: value for name, value in chunk.items() if name != "choices" and value is not None}
        for piece in _all(chunk.get("choices")):
            _check(piece)
            choice["finish_reason"] = piece.get("finish_reason") or choice["finish_reason"]
            _add(choice, {name: piece[name] for name in ("text", "logprobs", "token_ids") if piece.get(name)})
            if piece.get("prompt_token_ids"):
                choice["prompt_token_ids"] = piece["prompt_token_ids"]
    if choice["finish_reason"] is None:
        raise _cut()
    return _encode({**whole, "choices": [choice]})


def message(stream: bytes) -> bytes:
    """The message that the Messages API's events add up to. Raises ModelError."""
    whole: dict[str, Any] = {}
    blocks: dict[int, Any] = {}
    inputs: dict[int, str] = {}
    for event in _decoded(stream):
        match event.get("type"):
            case "message_start":
                whole = event["message"]
            case "content_block_start":
                blocks[event["index"]] = event["content_block"]
            case "content_block_delta":
                _add_block(blocks[event["index"]], event["delta"], inputs, event["index"])
            case "message_delta":
                usage = {**_fields(whole.get("usage")), **_said(event.get("usage"))}
                whole = {**whole, **_said(event["delta"]), "usage": usage}
            case "message_stop":
                for index, text in inputs.items():
                    # Malformed input stays as the model wrote it: it is the model's mistake, and told to it.
                    blocks[index]["input"] = _json_or_text(text)
                return _encode({**whole, "content": [blocks[index] for index in sorted(blocks)]})
            case "error":
                raise told_error(event.get("error") or event)
            case _:
                pass
    raise _cut()


def _add_block(block: Any, delta: Any, inputs: dict[int, str], index: int) -> None:
    match delta.get("type"):
        case "text_delta":
            block["text"] = block.get("text", "") + delta["text"]
        case "thinking_delta":
            block["thinking"] = block.get("thinking", "") + delta["thinking"]
        case "signature_delta":
            block["signature"] = delta["signature"]
        case "input_json_delta":
            inputs[index] = inputs.get(index, "") + delta["partial_json"]
        case "citations_delta":
            block["citations"] = [*(block.get("citations") or []), delta["citation"]]
        case _:
            raise _malformed(f"a delta of type {delta.get('type')!r}")


def _json_or_text(text: str) -> Any:
    try:
        return msgspec.json.decode(text or "{}")
    except msgspec.DecodeError:
        return text


def _said(fields: Any) -> dict[str, Any]:
    return {name: value for name, value in _fields(fields).items() if value is not None}


def _fields(value: Any) -> dict[str, Any]:
    return value or {}


def _all(value: Any) -> list[Any]:
    return value or []


def _add(whole: Any, piece: Any) -> None:
    """Add a piece to what came before: texts and lists grow, objects grow by their fields, the rest is replaced."""
    for name, value in piece.items():
        known = whole.get(name)
        if value is None:
            continue
        if type(known) is type(value) and isinstance(known, str | list) and name != "role":
            whole[name] = known + value
        elif isinstance(known, dict) and isinstance(value, dict):
            _add(known, value)
        else:
            whole[name] = value


def _decoded(stream: bytes) -> Iterator[Any]:
    for data in events(stream):
        if data == b"[DONE]":
            return
        try:
            event: Any = msgspec.json.decode(data)
        except UNREADABLE:
            raise _malformed(repr(data[:200].decode("utf-8", "replace"))) from None
        if not isinstance(event, dict):
            raise _malformed(repr(data[:200].decode("utf-8", "replace")))
        yield event


def _check(chunk: Any) -> None:
    if chunk.get("error"):
        raise told_error(chunk["error"])


def _malformed(what: str) -> ModelError:
    return ModelError("bad_response", f"an event of the stream is not what this API gives: {what}", retryable=True)


def _cut() -> ModelError:
    return ModelError("stream_cut", "the stream ended before the answer did", retryable=True)

"""Makes a whole Chat Completion of a stream, for the streams of all servers."""

from typing import Any

import msgspec

from assay.model.dialects import sse
from assay.model.dialects.chat.wire import BESIDE_TEXT


def assemble(stream: bytes) -> bytes:
    """Returns the Chat Completion that the chunks add up to. Raises ModelError."""
    whole: dict[str, Any] = {}
    message: dict[str, Any] = {}
    choice: dict[str, Any] = {"finish_reason": None, "message": message}
    calls: list[Any] = []
    details: list[Any] = []
    for chunk in sse.decode_events(stream):
        sse.check(chunk)
        whole |= {name: value for name, value in chunk.items() if name != "choices" and value is not None}
        for piece in sse.each(chunk.get("choices")):
            if piece.get("index"):
                continue
            sse.check(piece)
            choice["finish_reason"] = piece.get("finish_reason") or choice["finish_reason"]
            # Some servers send a whole answer as the only chunk.
            delta = sse.fields(piece.get("message" if "delta" not in piece and not message else "delta"))
            for call in sse.each(delta.pop("tool_calls", None)):
                _add_call(calls, call)
            for detail in sse.entries(delta.pop("reasoning_details", None)):
                _add_detail(details, detail)
            if isinstance(delta.get("content"), list) or isinstance(message.get("content"), list):
                message["content"] = _add_parts(message.get("content"), delta.pop("content", None))
            sse.add(message, delta)
            sse.add(
                choice,
                {name: piece[name] for name in BESIDE_TEXT if piece.get(name)},
            )
    if choice["finish_reason"] is None:
        raise sse.cut_error()
    if calls:
        message["tool_calls"] = [{name: call[name] for name in call if name != "index"} for call in calls]
    if details:
        message["reasoning_details"] = details
    return msgspec.json.encode({**whole, "choices": [choice]})


def _add_call(calls: list[Any], piece: Any) -> None:
    """A piece of a call belongs to the last call of its index, or to the last of all where it has no index.

    A new id begins a call: Gemini gives all parallel calls the index 0 (https://github.com/su-kaka/gcli2api/pull/406).
    With an index it takes a name too: some send another id with each piece. Without an index, a name begins one too.
    """
    index, name = piece.get("index"), sse.fields(piece.get("function")).get("name")
    known: Any = next((call for call in reversed(calls) if index is None or call["index"] == index), None)
    fresh = known is not None and piece.get("id") not in (None, "", known["id"])
    if known is None or (fresh or name if index is None else fresh and name and known["id"]):
        known = {"index": index, "id": None, "type": "function", "function": {"name": "", "arguments": ""}}
        calls.append(known)
    function = known["function"]
    known["id"] = known["id"] or piece.get("id")
    function["name"] = function["name"] or name or ""
    arguments = sse.fields(piece.get("function")).get("arguments") or ""
    function["arguments"] += arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()


def _add_detail(details: list[Any], piece: Any) -> None:
    """OpenRouter streams its details in pieces, which belong together by type and index."""
    place = piece.get("type"), piece.get("index")
    known = next((one for one in reversed(details) if (one.get("type"), one.get("index")) == place), None)
    if known is None or (known.get("id") and piece.get("id") and known["id"] != piece["id"]):
        details.append(piece)
        return
    for name, value in sse.non_null(piece).items():
        grows = name in ("text", "summary", "data") and isinstance(known.get(name), str)
        known[name] = known[name] + value if grows else value


def _add_parts(content: Any, more: Any) -> list[Any]:
    """Mistral's content: parts of a stream that continue each other are one part, whether it thinks or speaks."""
    parts = _parts(content)
    for part in _parts(more):
        kind = "thinking" if "thinking" in part else "text"
        if parts and kind in parts[-1]:
            parts[-1][kind] += part[kind]
        else:
            parts.append(part)
    return parts


def _parts(content: Any) -> list[Any]:
    """A content as parts, with the text of thinking, which is a list itself, as one text."""
    parts: list[Any] = []
    for part in sse.entries(content) or [{"text": content}]:
        thought = part.get("thinking")
        if not isinstance(thought, str):
            thought = "".join(one.get("text") or "" for one in sse.entries(thought))
        if thought:
            parts.append({"type": "thinking", "thinking": thought})
        elif part.get("text"):
            parts.append({"type": "text", "text": part["text"]})
    return parts

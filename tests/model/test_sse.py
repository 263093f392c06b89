"""Streams: whole, they give what the API gives without streaming; cut anywhere, they are never an answer."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.config import ModelConfig
from assay.errors import ModelError
from assay.model import ContextOverflow, connect
from assay.model.dialects import completions as completions_format
from assay.model.dialects import sse
from assay.model.dialects.chat import client as chat
from assay.model.dialects.messages import client as messages_format
from assay.model.dialects.responses import client as responses
from assay.types import Message, Request, Response
from tests.endpoint import Call, Endpoint, http

REQUEST = Request(input=[Message(role="user", content="6*7?")])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
END = st.sampled_from(["\n", "\r\n", "\r"])


def stream(*data: Any, end: str = "\n", named: bool = False) -> bytes:
    """The bytes of an event stream."""
    lines: list[str] = []
    for value in data:
        if named and isinstance(value, dict):
            lines.append(f"event: {value['type']}")
        lines += [f"data: {value if isinstance(value, str) else json.dumps(value)}", ""]
    return "".join(line + end for line in lines).encode()


def pieces(draw: st.DrawFn, text: str) -> list[str]:
    """A text in pieces, some of them empty."""
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@st.composite
def completions(draw: st.DrawFn) -> tuple[bytes, dict[str, Any]]:
    """A streamed Chat Completion, and the same one whole."""
    said: dict[str, Any] = {"role": "assistant"}
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    for field in draw(st.permutations(["reasoning_content", "content"])):
        text = draw(TEXT)
        said[field] = text
        deltas += [{field: piece} for piece in pieces(draw, text)]
    said.setdefault("content", "")
    calls = [
        {"id": f"c{n}", "type": "function", "function": {"name": f"f{n}", "arguments": draw(TEXT)}}
        for n in range(draw(st.integers(0, 3)))
    ]
    indexed = draw(st.booleans())
    for n, call in enumerate(calls):
        place = {"index": n} if indexed else {}
        first = {**place, **call, "function": {"name": call["function"]["name"], "arguments": ""}}
        deltas.append({"tool_calls": [first]})
        deltas += [
            {"tool_calls": [{**place, "function": {"arguments": piece}}]}
            for piece in pieces(draw, call["function"]["arguments"])
        ]
    if calls:
        said["tool_calls"] = calls
    finish, usage = draw(st.sampled_from(["stop", "length"])), {"prompt_tokens": 9, "completion_tokens": 4}
    head = {"id": "c", "model": "m"}
    chunks = [
        {**head, "choices": [{"index": 0, "delta": delta, "token_ids": [n], "finish_reason": None}]}
        for n, delta in enumerate(deltas)
    ]
    chunks[0]["prompt_token_ids"] = [1, 2]
    chunks.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    chunks.append({**head, "choices": [], "usage": usage})
    choice = {"message": said, "finish_reason": finish, "token_ids": list(range(len(deltas)))}
    whole = {**head, "prompt_token_ids": [1, 2], "usage": usage, "choices": [choice]}
    return stream(*chunks, "[DONE]", end=draw(END)), whole


@given(completions())
def test_chunks_add_up_to_the_completion(case: tuple[bytes, dict[str, Any]]):
    streamed, whole = case
    assert json.loads(chat.assemble(streamed)) == whole


@st.composite
def messages(draw: st.DrawFn) -> tuple[bytes, dict[str, Any]]:
    """A streamed message of the Messages API, and the same one whole."""
    events: list[dict[str, Any]] = []
    blocks: list[dict[str, Any]] = []
    for n in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["text", "thinking", "tool_use", "redacted_thinking"]))
        text = draw(TEXT)
        start: dict[str, Any]
        match kind:
            case "text":
                start, whole = {"type": kind, "text": ""}, {"type": kind, "text": text}
                deltas = [{"type": "text_delta", "text": piece} for piece in pieces(draw, text)]
            case "thinking":
                start, whole = {"type": kind, "thinking": ""}, {"type": kind, "thinking": text, "signature": "S"}
                deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(draw, text)]
                deltas.append({"type": "signature_delta", "signature": "S"})
            case "tool_use":
                start = {"type": kind, "id": f"t{n}", "name": "add", "input": {}}
                whole = {**start, "input": {"a": text}}
                sent = pieces(draw, json.dumps({"a": text}))
                deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in sent]
            case _:
                start = whole = {"type": kind, "data": text}
                deltas = []
        events.append({"type": "content_block_start", "index": n, "content_block": start})
        events += [{"type": "content_block_delta", "index": n, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": n})
        blocks.append(whole)
    head = {"id": "m", "type": "message", "role": "assistant", "model": "m"}
    begun = {**head, "content": [], "stop_reason": None, "usage": {"input_tokens": 9, "output_tokens": 1}}
    ended = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}}
    all_events = [{"type": "message_start", "message": begun}, {"type": "ping"}, *events, ended]
    usage = {"input_tokens": 9, "output_tokens": 4}
    whole_message = {**head, "content": blocks, "stop_reason": "end_turn", "usage": usage}
    return stream(*all_events, {"type": "message_stop"}, end=draw(END), named=True), whole_message


@given(messages())
def test_events_add_up_to_the_message(case: tuple[bytes, dict[str, Any]]):
    streamed, whole = case
    assert json.loads(messages_format.assemble(streamed)) == whole


@given(st.data())
def test_chunks_add_up_to_the_text_completion(data: st.DataObject):
    text = data.draw(TEXT)
    chunks = [{"choices": [{"text": piece, "token_ids": [1]}]} for piece in pieces(data.draw, text)]
    last = {"choices": [{"text": "", "finish_reason": "length"}], "usage": {"prompt_tokens": 1}}
    body = json.loads(completions_format.assemble(stream(*chunks, last, "[DONE]")))
    choice = {"text": text, "finish_reason": "length", "token_ids": [1] * len(chunks)}
    assert body == {"usage": {"prompt_tokens": 1}, "choices": [choice]}


SAID = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "42"}]}
STREAMS: dict[str, tuple[str, Callable[[bytes], bytes], bytes, bytes]] = {
    # The dialect, its assembler, a stream, and what of the stream is enough to know the answer.
    "responses": (
        "responses",
        responses.assemble,
        stream({"type": "response.created", "response": {"status": "in_progress", "output": []}}, named=True)
        + (done := stream({"type": "response.completed", "response": {"status": "completed", "output": [SAID]}})),
        done,
    ),
    "chat": (
        "chat",
        chat.assemble,
        stream({"choices": [{"delta": {"content": "4"}}]}, {"choices": [{"delta": {"content": "2"}}]})
        + (done := stream({"choices": [{"delta": {}, "finish_reason": "stop"}]}))
        + stream("[DONE]"),
        done,
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_is_cut_anywhere_is_no_answer(name: str):
    _, assemble, whole, last = STREAMS[name]
    enough = whole.index(last) + len(last)
    for cut_error in range(len(whole)):
        if cut_error >= enough:
            assemble(whole[:cut_error])
            continue
        with pytest.raises(ModelError) as caught:
            assemble(whole[:cut_error])
        assert (caught.value.kind, caught.value.retryable) == ("stream_cut", True), cut_error


def ask(name: str, body: bytes) -> Response:
    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        assert call.json["stream"] is True
        writer.write(http(body, kind="text/event-stream; charset=utf-8"))

    async def main(url: str) -> Response:
        model = connect(ModelConfig(dialect=STREAMS[name][0], id="m", base_url=url, stream=True))  # type: ignore[arg-type]
        try:
            return await model.respond(REQUEST)
        finally:
            await model.aclose()

    with Endpoint(behave) as endpoint:
        return asyncio.run(main(endpoint.url))


@pytest.mark.parametrize("name", STREAMS)
def test_a_streamed_answer_over_a_real_connection(name: str):
    assert (ask(name, STREAMS[name][2]).text, ask(name, STREAMS[name][2]).status) == ("42", "completed")


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (stream({"type": "error", "error": {"message": "it broke", "code": "server_error"}}), "response_failed"),
        (stream("{not json"), "bad_response"),
        (stream("[1]"), "bad_response"),
        (b"", "stream_cut"),
        (b": a comment\n\n", "stream_cut"),
        (stream("[DONE]"), "stream_cut"),
        (stream({"choices": [3], "type": "response.completed"}), "bad_response"),
    ],
)
def test_what_is_no_answer_is_told(name: str, body: bytes, kind: str):
    with pytest.raises(ModelError) as caught:
        ask(name, body)
    assert caught.value.kind == kind


@pytest.mark.parametrize("name", STREAMS)
def test_a_context_that_overflows_in_a_stream_is_told_as_such(name: str):
    error = {"message": "This model's maximum context length is 8 tokens", "code": "context_length_exceeded"}
    with pytest.raises(ContextOverflow, match="maximum context length"):
        ask(name, stream({"type": "error", "error": error}))


@given(st.lists(TEXT.filter(lambda text: not set(text) & set("\r\n\x00")), max_size=5), END, st.booleans())
@settings(max_examples=50)
def test_events_are_read_by_the_rules_of_the_standard(data: list[str], end: str, mark: bool):
    lines = [line for text in data for line in (": comment", "id: 7", f"data: {text}", "")]
    body = "".join(line + end for line in lines).encode()
    assert list(sse.events((b"\xef\xbb\xbf" if mark else b"") + body)) == [text.encode() for text in data]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a\n\n", [b" a"]),
        (b"data\n\n", [b""]),
        (b"event: x\n\ndata: a\n\n", [b"a"]),
        (b"data: a\n", []),
        (b"data: a\r\n\r\ndata: b\r\r", [b"a", b"b"]),
    ],
)
def test_events_in_their_odder_forms(body: bytes, found: list[bytes]):
    assert list(sse.events(body)) == found

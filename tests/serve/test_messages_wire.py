"""The Messages API on the server's side: what is read, what is refused, what is written."""

import asyncio
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.config import ModelConfig
from assay.errors import ModelError
from assay.model import ContextOverflow, close, connect
from assay.model.dialects.messages.client import assemble
from assay.model.dialects.messages.server import Exchange
from assay.model.dialects.responses.wire import wire_items
from assay.model.dialects.serving import PIECE, BadRequest, Context
from assay.types import (
    FunctionCall,
    FunctionCallOutput,
    InputImage,
    InputText,
    Item,
    JsonSchema,
    Message,
    NamedTool,
    Reasoning,
    ReasoningText,
    Refusal,
    Request,
    Response,
    Sampling,
    SummaryText,
    Text,
    Tool,
    Usage,
)
from tests.serve.served import post, serving

ASKED: list[dict[str, Any]] = [{"role": "user", "content": "?"}]
ADD: dict[str, Any] = {"name": "add", "description": "d", "input_schema": {"type": "object"}}
HOSTED: dict[str, Any] = {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}
TOOL = Tool("add", {"type": "object"}, "d")


def read(messages: list[Any] = ASKED, **fields: Any) -> Request:
    return Exchange(json.dumps({"messages": messages, **fields}).encode(), Context("m")).request


def test_every_kind_of_block_becomes_items():
    text = {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}
    linked = {"type": "image", "source": {"type": "url", "url": "https://a/b"}}
    filed = {"type": "image", "source": {"type": "file", "file_id": "f"}}
    result = {"type": "tool_result", "tool_use_id": "c", "is_error": True}
    request = read(
        [
            {"role": "user", "content": [text, picture, linked, filed]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "so", "signature": "S"},
                    {"type": "redacted_thinking", "data": "R"},
                    text,
                    text,
                    {"type": "tool_use", "id": "c", "name": "add", "input": {"a": 1}, "caller": {"type": "direct"}},
                ],
            },
            {"role": "user", "content": [{**result, "content": [text]}, {**result, "content": "5"}, result, text]},
            {"role": "assistant", "content": "42"},
            {"role": "system", "content": "mind"},
        ],
        system=[text],
    )
    assert request.input == [
        Message("system", [InputText("hi")]),
        Message(
            "user",
            [
                InputText("hi"),
                InputImage("data:image/png;base64,AA"),
                InputImage("https://a/b"),
                InputImage(file_id="f"),
            ],
        ),
        Reasoning(content=[ReasoningText("so")], encrypted_content="S"),
        Reasoning(encrypted_content="R"),
        Message("assistant", [Text("hi"), Text("hi")]),
        FunctionCall("c", "add", '{"a": 1}'),
        FunctionCallOutput("c", [InputText("hi")]),
        FunctionCallOutput("c", "5"),
        FunctionCallOutput("c", ""),
        Message("user", [InputText("hi")]),
        Message("assistant", [Text("42")]),
        Message("system", [InputText("mind")]),
    ]


@pytest.mark.parametrize(
    ("fields", "request_"),
    [
        ({"max_tokens": 5, "temperature": 0}, {"sampling": Sampling(max_output_tokens=5, temperature=0)}),
        ({"stop_sequences": ["a"], "top_k": 3}, {"sampling": Sampling(stop=("a",), top_k=3)}),
        ({"thinking": {"type": "enabled", "budget_tokens": 9}, "metadata": {"user_id": "u"}, "betas": ["x"]}, {}),
        ({"system": "s"}, {"input": [Message("system", [InputText("s")]), Message("user", [InputText("?")])]}),
        ({"tools": [ADD, HOSTED]}, {"tools": [TOOL]}),
        ({"tools": [{**ADD, "type": "custom"}], "tool_choice": {"type": "auto"}}, {"tools": [TOOL]}),
        ({"tools": [ADD], "tool_choice": {"type": "any"}}, {"tools": [TOOL], "tool_choice": "required"}),
        ({"tools": [ADD], "tool_choice": {"type": "none"}}, {"tools": [TOOL], "tool_choice": "none"}),
        (
            {
                "tools": [ADD],
                "tool_choice": {"type": "tool", "name": "add", "disable_parallel_tool_use": True},
            },
            {"tools": [TOOL], "tool_choice": NamedTool("add"), "parallel_tool_calls": False},
        ),
        (
            {"output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"a": 1}}}},
            {"format": JsonSchema("answer", {"a": 1})},
        ),
    ],
)
def test_settings_are_read(fields: dict[str, Any], request_: dict[str, Any]):
    assert read(**fields) == Request(**({"input": [Message("user", [InputText("?")])]} | request_))


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"messages": []}, "messages", "at least one"),
        ({"messages": [{"role": "robot", "content": ""}]}, "messages[0].role", "robot"),
        (
            {"messages": [{"role": "user", "content": [{"type": "document"}]}]},
            "messages[0].content[0].type",
            "document",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "x"}}]}]}, None, "source"),
        ({"mcp_servers": [{"url": "https://x"}]}, "mcp_servers", "not served here"),
        ({"max_tokens": 0}, "max_tokens", ">= 1"),
        ({"tools": [HOSTED], "tool_choice": {"type": "any"}}, "tool_choice", "type web_search_20250305 are left out"),
        (
            {"tools": [HOSTED], "tool_choice": {"type": "tool", "name": "web_search"}},
            "tool_choice",
            "no tool web_search among tools; those of type web_search_20250305 are left out",
        ),
        ({"tool_choice": {"type": "all"}}, "tool_choice.type", "all"),
    ],
)
def test_what_cannot_be_carried_out_is_refused_and_named(fields: dict[str, Any], param: str | None, words: str):
    with pytest.raises(BadRequest) as caught:
        Exchange(json.dumps({"messages": ASKED} | fields).encode(), Context("m"))
    assert (caught.value.status, caught.value.param) == (400, param)
    assert words in caught.value.message


def answered(response: Response) -> Any:
    whole = Exchange(json.dumps({"messages": ASKED}).encode(), Context("m")).whole(response)
    return json.loads(msgspec.json.encode(whole))


def test_an_answer_is_a_message_with_all_that_it_holds():
    message = answered(
        Response(
            output=[
                Reasoning(content=[ReasoningText("so")]),
                Reasoning(content=[ReasoningText("sealed")], encrypted_content="S"),
                Reasoning(summary=[SummaryText("sum")], encrypted_content="R"),
                Reasoning(id="rs_only"),
                Message("assistant", [Text("4", annotations=[{"type": "x"}]), Refusal("no"), Text(" ")]),
                FunctionCall("c", "add", '{"a": 1}'),
                FunctionCall("d", "add", "{bad"),
                FunctionCall("e", "add", ""),
            ],
            usage=Usage(input_tokens=9, output_tokens=4, cached_tokens=3, reasoning_tokens=2),
            model="exactly-m",
        )
    )
    assert message.pop("id").startswith("msg_")
    assert message == {
        "type": "message",
        "role": "assistant",
        "model": "exactly-m",
        "content": [
            {"type": "thinking", "thinking": "so", "signature": ""},
            {"type": "thinking", "thinking": "sealed", "signature": "S"},
            {"type": "redacted_thinking", "data": "R"},
            {"type": "text", "text": "4"},
            {"type": "text", "text": "no"},
            {"type": "tool_use", "id": "c", "name": "add", "input": {"a": 1}},
            {"type": "tool_use", "id": "d", "name": "add", "input": {"arguments": "{bad"}},
            {"type": "tool_use", "id": "e", "name": "add", "input": {}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 6,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 3,
            "output_tokens": 4,
            "output_tokens_details": {"thinking_tokens": 2},
        },
    }


def test_thinking_that_nobody_signed_goes_on_to_other_apis_without_a_signature():
    unsigned = {"type": "thinking", "thinking": "so", "signature": ""}
    items = read([*ASKED, {"role": "assistant", "content": [unsigned]}]).input
    assert wire_items(items[1:], stored=False) == [
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "so"}]}
    ]


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (Response(output=[]), "end_turn"),
        (Response(output=[], status="incomplete", incomplete_reason="max_output_tokens"), "max_tokens"),
        (Response(output=[], status="incomplete", incomplete_reason="content_filter"), "refusal"),
    ],
)
def test_the_stop_reason_tells_why_the_answer_ends(response: Response, reason: str):
    assert answered(response)["stop_reason"] == reason


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=3) | st.just("ab" * PIECE)
WORDS = TEXT.filter(str.strip)
SAID: st.SearchStrategy[Item] = st.one_of(
    st.builds(Reasoning, content=st.builds(ReasoningText, TEXT).map(lambda part: [part]), encrypted_content=TEXT),
    st.builds(Reasoning, encrypted_content=TEXT),
    st.builds(Message, st.just("assistant"), st.lists(st.builds(Text, WORDS), min_size=1, max_size=3)),
    st.builds(
        FunctionCall,
        st.text("abc", min_size=1),
        st.just("add"),
        st.dictionaries(TEXT, st.integers(0, 9), max_size=2).map(lambda found: msgspec.json.encode(found).decode()),
    ),
)
RESPONSES = st.builds(
    Response,
    output=st.lists(SAID, min_size=1, max_size=5),
    status=st.sampled_from(["completed", "incomplete"]),
    incomplete_reason=st.sampled_from(["max_output_tokens", "content_filter"]),
    usage=st.sampled_from([Usage(), Usage(9, 4, 3, 2)]),
).map(lambda made: made if made.status == "incomplete" else msgspec.structs.replace(made, incomplete_reason=None))


@given(RESPONSES)
def test_a_stream_adds_up_to_the_message(response: Response):
    call = Exchange(json.dumps({"messages": ASKED, "stream": True}).encode(), Context("m"))
    events = list(call.closing(response))
    assert [name for name, data in events] == [data["type"] for _, data in events]
    stream = b"".join(b"data: " + msgspec.json.encode(data) + b"\n\n" for _, data in events)
    made = json.loads(assemble(stream))
    whole = answered(response)
    assert made | {"id": ""} == whole | {"id": ""}


def merged(response: Response) -> tuple[list[Any], Any]:
    """What the API can say of an answer: texts in a row are one message, a message ends where another item begins."""
    output: list[Any] = []
    for item in response.output:
        if isinstance(item, Message) and output and isinstance(output[-1], Message):
            output[-1] = msgspec.structs.replace(output[-1], content=[*output[-1].content, *item.content])
        else:
            output.append(msgspec.structs.replace(item, id=None, status=None))
    if response.status == "completed" and not any(isinstance(item, Message | FunctionCall) for item in output):
        output.append(Message("assistant", [Text("")]))
    return output, (response.status, response.incomplete_reason, response.usage)


@settings(max_examples=15)
@given(st.lists(RESPONSES, min_size=1, max_size=5), st.booleans())
def test_our_own_client_reads_back_what_the_model_answered(made: list[Response], stream: bool):
    """Through two real connections: client, server, model."""
    left = iter(made)

    async def main(url: str) -> list[Response]:
        config = ModelConfig(
            dialect="messages",
            id="m",
            base_url=f"{url}/v1",
            stream=stream,
            reasoning="none",
            sampling=Sampling(max_output_tokens=9),
        )
        model = connect(config)
        try:
            return [await model.respond(Request(input=[Message("user", "x")])) for _ in made]
        finally:
            await close(model)

    with serving(lambda request: next(left)) as url:
        got = asyncio.run(main(url))
    assert [merged(answer) for answer in got] == [merged(answer) for answer in made]


ERRORS = {
    "too long": (ContextOverflow("40960 tokens"), 400, "invalid_request_error", "prompt is too long: 40960 tokens"),
    "its key": (ModelError("http_401", "bad key", retryable=False), 401, "authentication_error", "bad key"),
    "slow down": (ModelError("http_429", "slow", retryable=True), 429, "rate_limit_error", "slow"),
    "overloaded": (ModelError("http_529", "busy", retryable=True), 503, "overloaded_error", "busy"),
    "down": (ModelError("connect", "refused", retryable=True), 502, "api_error", "refused"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_in_the_apis_own_words(case: str):
    error, status, kind, message = ERRORS[case]

    def answer(request: Request) -> str:
        raise error

    with serving(answer) as url:
        got, body = post(url, json.dumps({"messages": ASKED}).encode(), "/v1/messages")
    assert (got, body) == (status, {"type": "error", "error": {"type": kind, "message": message}})

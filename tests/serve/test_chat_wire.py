"""Chat Completions on the server's side: what is read, what is refused, what is written."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from assay.model.dialects.chat.server import ChatCall, chunks, completion, parse
from assay.model.dialects.serving import PIECE, BadRequest
from assay.types import (
    FunctionCall,
    FunctionCallOutput,
    InputImage,
    InputText,
    Item,
    JsonObject,
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
    TokenIds,
    Tool,
    Usage,
)

ASKED: list[dict[str, Any]] = [{"role": "user", "content": "?"}]
ADD: dict[str, Any] = {"type": "function", "function": {"name": "add"}}
FIND: dict[str, Any] = {
    "type": "function",
    "function": {"name": "find", "description": "d", "parameters": {"type": "object"}, "strict": True},
}


def read(messages: list[Any] = ASKED, **fields: Any) -> ChatCall:
    return parse(json.dumps({"messages": messages, **fields}).encode())


def test_every_kind_of_message_becomes_items():
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{bad"}}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low"}}
    text = {"type": "text", "text": "hi"}
    details = [{"type": "reasoning.encrypted", "data": "x"}]
    items = read(
        [
            {"role": "system", "content": [text], "name": "ignored"},
            {"role": "developer", "content": "d"},
            {"role": "user", "content": [text, image, {"type": "image_url", "image_url": {"url": "https://a/b"}}]},
            {"role": "assistant", "content": "", "tool_calls": [call], "reasoning_content": "so", "refusal": None},
            {"role": "tool", "tool_call_id": "c1", "content": [text]},
            {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_details": details, "audio": None},
            {"role": "assistant", "content": [text, {"type": "refusal", "refusal": "no"}], "reasoning": "so"},
            {"role": "assistant", "content": "x", "refusal": "no", "tool_calls": []},
            {"role": "assistant", "content": ""},
        ]
    ).request.input
    said = FunctionCall(call_id="c1", name="add", arguments="{bad")
    so = Reasoning(content=[ReasoningText(text="so")])
    assert items == [
        Message(role="system", content=[InputText("hi")]),
        Message(role="developer", content="d"),
        Message(
            role="user",
            content=[InputText("hi"), InputImage("data:image/png;base64,AA", detail="low"), InputImage("https://a/b")],
        ),
        *[so, said, FunctionCallOutput(call_id="c1", output=[InputText("hi")])],
        *[Reasoning(encrypted_content='{"reasoning_details":[{"type":"reasoning.encrypted","data":"x"}]}'), said],
        *[so, Message(role="assistant", content=[Text("hi"), Refusal("no")])],
        Message(role="assistant", content=[Text("x"), Refusal("no")]),
        Message(role="assistant", content=[Text("")]),
    ]


@pytest.mark.parametrize(
    ("fields", "request_"),
    [
        ({"stop": "a"}, {"sampling": Sampling(stop=("a",))}),
        ({"stop": ["a", "b"], "stream": False}, {"sampling": Sampling(stop=("a", "b"))}),
        ({"max_tokens": 5}, {"sampling": Sampling(max_output_tokens=5)}),
        ({"max_tokens": 5, "max_completion_tokens": 6}, {"sampling": Sampling(max_output_tokens=6)}),
        ({"temperature": 0, "top_p": 1, "seed": 3}, {"sampling": Sampling(temperature=0, top_p=1), "seed": 3}),
        ({"top_k": 20, "min_p": 0.1}, {"sampling": Sampling(top_k=20, min_p=0.1)}),
        ({"presence_penalty": 1, "n": 1}, {"sampling": Sampling(presence_penalty=1)}),
        ({"user": "u", "metadata": {"a": "b"}, "anything": [1], "temperature": None}, {}),
        ({"response_format": {"type": "text"}}, {}),
        ({"response_format": {"type": "json_object"}}, {"format": JsonObject()}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"a": 1}}}},
            {"format": JsonSchema("n", {"a": 1})},
        ),
        (
            {"tools": [{"type": "custom", "custom": {"name": "x"}}, FIND]},
            {"tools": [Tool("find", {"type": "object"}, "d", True)]},
        ),
        ({"tools": [FIND]}, {"tools": [Tool("find", {"type": "object"}, "d", True)]}),
        (
            {"tools": [ADD], "tool_choice": {"type": "function", "function": {"name": "add"}}},
            {"tools": [Tool("add", {"type": "object", "properties": {}})], "tool_choice": NamedTool("add")},
        ),
        (
            {
                "tools": [ADD, FIND],
                "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [FIND]}},
                "parallel_tool_calls": False,
            },
            {
                "tools": [Tool("find", {"type": "object"}, "d", True)],
                "tool_choice": "required",
                "parallel_tool_calls": False,
            },
        ),
    ],
)
def test_settings_are_read(fields: dict[str, Any], request_: dict[str, Any]):
    assert read(**fields).request == Request(input=[Message(role="user", content="?")], **request_)


def test_how_the_answer_is_to_look_is_read():
    call = read(model="m", stream=True, stream_options={"include_usage": True}, logprobs=True, return_token_ids=True)
    assert call == ChatCall(call.request, "m", stream=True, include_usage=True, return_token_ids=True, logprobs=True)
    assert read() == ChatCall(call.request, None)


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (b"{", None, "truncated"),
        (b"[]", None, "Expected `object`"),
        (b"{}", None, "missing required field `messages`"),
        ({"messages": []}, "messages", "at least one"),
        ({"messages": [*ASKED, {"role": "robot", "content": ""}]}, "messages[1].role", "robot"),
        ({"messages": [{"role": "function", "name": "f", "content": ""}]}, "messages[0].role", "function"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content", "Expected `str | array`"),
        ({"messages": [{"role": "user", "content": [{"type": "file"}]}]}, "messages[0].content[0].type", "file"),
        ({"messages": [{"role": "tool", "content": "1"}]}, "messages[0]", "tool_call_id"),
        (
            {"messages": [{"role": "assistant", "function_call": {"name": "f"}}]},
            "messages[0].function_call",
            "tool_calls",
        ),
        ({"messages": ASKED, "n": 2}, "n", "one a call"),
        ({"messages": ASKED, "functions": []}, "functions", "tools"),
        ({"messages": ASKED, "function_call": "auto"}, "function_call", "tool_choice"),
        ({"messages": ASKED, "audio": {"voice": "a"}}, "audio", "text"),
        ({"messages": ASKED, "temperature": "hot"}, "temperature", "float"),
        ({"messages": ASKED, "max_tokens": 0}, "max_tokens", ">= 1"),
        ({"messages": ASKED, "tools": [{"type": "function"}]}, "tools[0]", "missing required field `function`"),
        (
            {"messages": ASKED, "tools": [{"type": "custom"}], "tool_choice": "required"},
            "tool_choice",
            "of type custom are left out: only functions",
        ),
        (
            {"messages": ASKED, "tool_choice": {"type": "custom", "custom": {"name": "x"}}},
            "tool_choice.type",
            "offer a",
        ),
        ({"messages": ASKED, "tool_choice": "required"}, "tool_choice", "no tools"),
        (
            {"messages": ASKED, "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice",
            "no tool x",
        ),
    ],
)
def test_what_cannot_be_carried_out_is_refused_and_named(body: Any, param: str | None, words: str):
    with pytest.raises(BadRequest) as caught:
        parse(body if isinstance(body, bytes) else json.dumps(body).encode())
    assert (caught.value.status, caught.value.param) == (400, param)
    assert words in caught.value.message


def test_an_answer_is_a_completion_with_all_that_it_holds():
    response = Response(
        output=[
            Reasoning(summary=[SummaryText("sum")], encrypted_content="gAAA"),
            Reasoning(content=[ReasoningText("so")]),
            Message(role="assistant", content=[Text("4"), Text("2")], phase="commentary"),
            Message(role="assistant", content="."),
            FunctionCall(call_id="c", name="add", arguments="{}"),
        ],
        usage=Usage(input_tokens=9, output_tokens=4, cached_tokens=3, reasoning_tokens=2),
        tokens=TokenIds(prompt=[1], output=[5, 6], output_logprobs=[-0.5, -1.5]),
    )
    whole = completion(response, ChatCall(Request(input=[]), None), "m")
    assert whole["choices"][0]["message"] == {
        "role": "assistant",
        "content": "42\n.",
        "refusal": None,
        "reasoning_content": "sum\nso",
        "reasoning": "sum\nso",
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "add", "arguments": "{}"}}],
    }
    assert whole["usage"] == {
        "prompt_tokens": 9,
        "completion_tokens": 4,
        "total_tokens": 13,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    assert "prompt_token_ids" not in whole
    assert (whole["model"], whole["choices"][0]["logprobs"]) == ("m", None)
    asked = ChatCall(Request(input=[]), None, return_token_ids=True, logprobs=True)
    whole = completion(response, asked, "m")
    assert (whole["prompt_token_ids"], whole["choices"][0]["token_ids"]) == ([1], [5, 6])
    assert [(t["token"], t["logprob"]) for t in whole["choices"][0]["logprobs"]["content"]] == [
        ("token_id:5", -0.5),
        ("token_id:6", -1.5),
    ]


def test_log_probabilities_with_their_text_are_passed_on():
    given = [{"token": "4", "logprob": -0.5, "bytes": [52], "top_logprobs": []}]
    response = Response(output=[Message(role="assistant", content=[Text("4", logprobs=given)])])
    whole = completion(response, ChatCall(Request(input=[]), None, logprobs=True), "m")
    assert whole["choices"][0]["logprobs"] == {"content": given, "refusal": None}
    silent = completion(Response(output=[]), ChatCall(Request(input=[]), None, logprobs=True), "m")
    assert silent["choices"][0]["logprobs"] is None


@pytest.mark.parametrize(
    ("response", "content", "finish"),
    [
        (Response(output=[Message(role="assistant", content=[Text("")])]), "", "stop"),
        (Response(output=[Message(role="assistant", content=[Refusal("No.")])]), None, "stop"),
        (Response(output=[FunctionCall(call_id="c", name="f", arguments="")]), None, "tool_calls"),
        (Response(output=[], status="incomplete", incomplete_reason="max_output_tokens"), None, "length"),
        (Response(output=[], status="incomplete", incomplete_reason="content_filter"), None, "content_filter"),
    ],
)
def test_the_finish_reason_tells_why_the_answer_ends(response: Response, content: str | None, finish: str):
    whole = completion(response, ChatCall(Request(input=[]), None), "m")
    (choice,) = whole["choices"]
    assert (choice["message"]["content"], choice["finish_reason"], whole["usage"]) == (content, finish, None)


text = st.text(max_size=3) | st.integers(PIECE - 1, 3 * PIECE).map(lambda length: "ab" * (length // 2))
said: st.SearchStrategy[Item] = st.one_of(
    st.builds(Reasoning, content=st.lists(st.builds(ReasoningText, text), max_size=2)),
    st.builds(Message, st.just("assistant"), st.lists(st.builds(Text, text) | st.builds(Refusal, text), max_size=3)),
    st.builds(FunctionCall, st.text(min_size=1), st.just("add"), text),
)
responses = st.builds(
    Response,
    output=st.lists(said, max_size=5),
    status=st.sampled_from(["completed", "incomplete"]),
    usage=st.sampled_from([Usage(), Usage(9, 4, 3, 2)]),
    tokens=st.sampled_from([None, TokenIds(prompt=[1], output=[5], output_logprobs=[-0.5])]),
)
calls = st.builds(
    ChatCall,
    request=st.just(Request(input=[])),
    model=st.none(),
    include_usage=st.booleans(),
    return_token_ids=st.booleans(),
    logprobs=st.booleans(),
)


@given(responses, calls)
def test_a_stream_adds_up_to_the_completion(response: Response, call: ChatCall):
    whole = completion(response, call, "m")
    stream = list(chunks(response, call, "m"))
    ChatCompletion.model_validate(whole)
    message: dict[str, Any] = {"refusal": None}
    rest: dict[str, Any] = {}
    for chunk in stream:
        ChatCompletionChunk.model_validate(chunk)
        assert (chunk["object"], chunk["id"], "usage" in chunk) == (
            "chat.completion.chunk",
            stream[0]["id"],
            call.include_usage,
        )
        for choice in chunk["choices"]:
            rest |= {name: value for name, value in choice.items() if name != "delta" and value is not None}
            for name, value in choice["delta"].items():
                if name == "tool_calls":
                    for part in value:
                        made = message.setdefault("tool_calls", {})
                        if part["index"] not in made:
                            made[part["index"]] = {name: value for name, value in part.items() if name != "index"}
                        else:
                            made[part["index"]]["function"]["arguments"] += part["function"]["arguments"]
                else:
                    message[name] = value if message.get(name) is None else message[name] + value
                    assert len(value or "") <= PIECE
    if "tool_calls" in message:
        message["tool_calls"] = list(message["tool_calls"].values())
    (choice,) = whole["choices"]
    assert message == choice["message"]
    assert rest == {name: value for name, value in choice.items() if name != "message" and value is not None}
    assert stream[0].get("prompt_token_ids") == whole.get("prompt_token_ids")
    assert stream[-1].get("usage") == (whole["usage"] if call.include_usage else None)
    assert msgspec.json.encode(stream)

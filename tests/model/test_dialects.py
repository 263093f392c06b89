"""Both wire dialects: what is sent, and what becomes of what comes back."""

import asyncio
from typing import Any

import pytest

from assay.config import ModelConfig
from assay.model import connect
from assay.types import (
    FunctionCall,
    FunctionCallOutput,
    InputImage,
    InputText,
    Message,
    Reasoning,
    ReasoningText,
    Refusal,
    Request,
    Response,
    Sampling,
    Text,
    Tool,
    Usage,
)
from tests.endpoint import Call, Endpoint, chat_body, http, responses_body, say

TOOL = Tool(name="add", description="Adds.", parameters={"type": "object", "properties": {"a": {"type": "integer"}}})
HISTORY = Request(
    input=[
        Message(role="system", content="Be brief."),
        Message(
            role="user", content=[InputText(text="What is this?"), InputImage(image_url="data:image/png;base64,AA")]
        ),
        Reasoning(content=[ReasoningText(text="hm")], encrypted_content="E"),
        FunctionCall(call_id="c1", name="add", arguments='{"a": 1}'),
        FunctionCall(call_id="c2", name="add", arguments='{"a": 2}'),
        FunctionCallOutput(call_id="c1", output="1"),
        FunctionCallOutput(call_id="c2", output="2"),
        Message(role="assistant", content=[Text(text="Three.")]),
        Message(role="user", content="Sure?"),
    ],
    sampling=Sampling(temperature=0.6, top_k=20, max_output_tokens=99),
    tools=[TOOL],
    seed=5,
    task="secret",
)


def exchange(body: bytes, request: Request = HISTORY, **config: Any) -> tuple[Any, Response]:
    """What was sent, and the response."""

    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(http(body))

    async def main(url: str) -> Response:
        model = connect(ModelConfig(id="m", base_url=url, **config))
        try:
            return await model.respond(request)
        finally:
            await model.aclose()

    with Endpoint(behave) as endpoint:
        response = asyncio.run(main(endpoint.url))
        return endpoint.calls[0].json, response


def test_chat_sends_a_conversation_as_the_api_wants_it():
    sent, _ = exchange(chat_body("42"), dialect="chat", extra_body={"chat_template_kwargs": {"enable_thinking": True}})
    assert [m["role"] for m in sent["messages"]] == ["system", "user", "assistant", "tool", "tool", "assistant", "user"]
    assert sent["messages"][1]["content"][1] == {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64,AA", "detail": "auto"},
    }
    assert [call["id"] for call in sent["messages"][2]["tool_calls"]] == ["c1", "c2"]
    assert sent["messages"][3] == {"role": "tool", "tool_call_id": "c1", "content": "1"}
    assert (sent["temperature"], sent["top_k"], sent["max_tokens"], sent["seed"]) == (0.6, 20, 99, 5)
    assert sent["chat_template_kwargs"] == {"enable_thinking": True}
    assert sent["tools"][0]["function"]["name"] == "add"
    assert "top_p" not in sent
    assert "secret" not in str(sent)


def test_chat_takes_reasoning_back_where_its_field_is_named():
    sent, _ = exchange(chat_body("42"), dialect="chat", reasoning="field")
    assert sent["messages"][2]["reasoning_content"] == "hm"


def test_responses_sends_items_as_they_are():
    sent, _ = exchange(responses_body(say("42")), dialect="responses", sampling=Sampling(top_p=0.9, temperature=1.0))
    assert [item["type"] for item in sent["input"]] == [
        *["message", "message", "reasoning", "function_call", "function_call"],
        *["function_call_output", "function_call_output", "message", "message"],
    ]
    assert sent["input"][2] == {
        "type": "reasoning",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "hm"}],
        "encrypted_content": "E",
    }
    assert sent["tools"] == [
        {"type": "function", "strict": False, "name": "add", "description": "Adds."} | {"parameters": TOOL.parameters}
    ]
    assert (sent["temperature"], sent["top_p"], sent["store"]) == (0.6, 0.9, False)
    assert "secret" not in str(sent)


@pytest.mark.parametrize(
    ("config", "message", "reasoning", "text"),
    [
        ({}, {"content": "<think>so</think>42"}, "so", "42"),
        ({}, {"content": "so</think>\n\n42"}, "so", "42"),
        ({"reasoning": "none"}, {"content": "<think>so</think>42"}, "", "<think>so</think>42"),
        ({"reasoning": "field"}, {"content": "42", "reasoning_content": "so"}, "so", "42"),
        ({}, {"content": "42", "reasoning": "so"}, "so", "42"),
        ({}, {"content": "", "reasoning_content": "so"}, "so", ""),
    ],
)
def test_chat_finds_thinking_where_it_is(config: dict[str, Any], message: dict[str, Any], reasoning: str, text: str):
    content = message.pop("content")
    _, response = exchange(chat_body(content, **message), dialect="chat", **config)
    assert (response.reasoning, response.text) == (reasoning, text)


def test_chat_tells_calls_refusals_and_caps():
    call = {"id": "c9", "type": "function", "function": {"name": "add", "arguments": "{bad"}}
    _, response = exchange(chat_body(None, "tool_calls", tool_calls=[call]), dialect="chat")
    assert response.output == [FunctionCall(call_id="c9", name="add", arguments="{bad")]
    _, response = exchange(chat_body(None, refusal="No."), dialect="chat")
    assert response.output == [Message(role="assistant", content=[Refusal(refusal="No.")])]
    _, response = exchange(chat_body("<think>never en", "length"), dialect="chat")
    assert (response.status, response.incomplete_reason) == ("incomplete", "max_output_tokens")
    assert (response.text, response.reasoning) == ("", "never en")
    assert response.usage == Usage(input_tokens=9, output_tokens=4)


def test_responses_keeps_items_usage_and_what_cut_it_short():
    items = [
        {
            "type": "reasoning",
            "id": "r1",
            "summary": [{"type": "summary_text", "text": "sum"}],
            "encrypted_content": "E",
        },
        {"type": "function_call", "id": "f", "call_id": "c", "name": "add", "arguments": "{}", "status": "completed"},
        say("4"),
    ]
    body = responses_body(*items, status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    _, response = exchange(body, dialect="responses")
    assert [type(item).__name__ for item in response.output] == ["Reasoning", "FunctionCall", "Message"]
    assert (response.reasoning, response.text) == ("sum", "4")
    assert (response.status, response.incomplete_reason) == ("incomplete", "max_output_tokens")
    assert response.usage == Usage(input_tokens=9, output_tokens=4, cached_tokens=3, reasoning_tokens=2)


def test_responses_splits_tags_that_a_server_left_in_the_text():
    _, response = exchange(responses_body(say("<think>so</think>42")), dialect="responses")
    assert (response.reasoning, response.text) == ("so", "42")


def test_token_ids_and_logprobs_are_kept_untouched():
    body = chat_body("42").replace(
        b'"finish_reason"', b'"token_ids": [5, 6], "logprobs": {"content": [{"logprob": -0.5}]}, "finish_reason"'
    )
    _, response = exchange(
        body.replace(b'"usage"', b'"prompt_token_ids": [1, 2], "usage"'), dialect="chat", logprobs=True
    )
    assert response.tokens is not None
    assert (response.tokens.prompt, response.tokens.output) == ([1, 2], [5, 6])
    assert response.tokens.output_logprobs == [-0.5]

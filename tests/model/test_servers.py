"""What real servers send, in the bytes that they send: each is read as what it means, whole and as a stream."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from assay.config import ModelConfig
from assay.errors import ModelError
from assay.model import ContextOverflow, connect
from assay.types import (
    FunctionCall,
    FunctionCallOutput,
    Item,
    Message,
    Reasoning,
    ReasoningText,
    Request,
    Response,
    Sampling,
    Text,
    Tool,
    Usage,
)
from tests.endpoint import Call, Endpoint, chat_body, http, responses_body, say

QUESTION = Message(role="user", content="6*7?")
ADD = Tool(name="add", parameters={"type": "object", "properties": {"a": {"type": "integer"}}})
ASKED = Request(input=[QUESTION], tools=[ADD], sampling=Sampling(max_output_tokens=99))


def ask(body: bytes, *, status: int = 200, request: Request = ASKED, dialect: str = "chat", **config: Any) -> Response:
    return exchange(body, status=status, request=request, dialect=dialect, **config)[0]


def exchange(body: bytes, *, status: int = 200, request: Request = ASKED, **config: Any) -> tuple[Response, list[Call]]:
    """The response, and what was sent for it."""
    kind = "text/event-stream" if body.startswith((b"data:", b"event:")) else "application/json"

    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(http(body, status, kind))

    async def main(url: str) -> Response:
        model = connect(ModelConfig(id=config.pop("id", "m"), base_url=url, **config))
        try:
            return await model.respond(request)
        finally:
            await model.aclose()  # type: ignore[attr-defined]

    with Endpoint(behave) as endpoint:
        return asyncio.run(main(endpoint.url)), endpoint.calls


def stream(*events: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"


def chunks(*deltas: dict[str, Any], finish: str | None = "stop") -> bytes:
    """A streamed Chat Completion."""
    ends = {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}
    return stream(*({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas), ends)


def calls(response: Response) -> list[tuple[str, str, str]]:
    return [(one.call_id, one.name, one.arguments) for one in response.output if isinstance(one, FunctionCall)]


# ---- How an answer ends


CAPS = ("length", "max_tokens", "MAX_TOKENS", "model_length", "model_context_window_exceeded")
FILTERS = ("content_filter", "sensitive", "SAFETY", "PROHIBITED_CONTENT", "RECITATION", "content_filter: SAFETY")
BROKEN = ("network_error", "error", "abort", "OTHER", "a reason of tomorrow", "stop: error")


@pytest.mark.parametrize("finish", [*CAPS, *FILTERS])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_known_reason_is_read_by_its_meaning(finish: str, streamed: bool):
    response = ask(chunks({"content": ""}, finish=finish) if streamed else chat_body("", finish))
    reason = "max_output_tokens" if finish in CAPS else "content_filter"
    assert (response.status, response.incomplete_reason, response.text) == ("incomplete", reason, "")


@pytest.mark.parametrize("finish", BROKEN)
@pytest.mark.parametrize("text", ["", " \n", None, "<think>so"])
@pytest.mark.parametrize("streamed", [False, True])
def test_an_unknown_reason_without_an_answer_is_a_failure_that_is_tried_again(
    finish: str, text: str | None, streamed: bool
):
    with pytest.raises(ModelError, match=finish) as caught:
        ask(chunks({"content": text}, finish=finish) if streamed else chat_body(text, finish))
    assert (caught.value.kind, caught.value.retryable) == ("bad_response", True)


def test_an_unknown_reason_does_not_undo_an_answer_and_a_broken_one_does():
    assert ask(chat_body("42", "a reason of tomorrow")).text == "42"
    with pytest.raises(ModelError, match="network_error"):
        ask(chat_body("4", "network_error"))


@pytest.mark.parametrize("dialect", ["completions"])
@pytest.mark.parametrize("finish", [*CAPS, *FILTERS, *BROKEN])
def test_base_models_end_by_the_same_reasons(finish: str, dialect: str):
    body = json.dumps({"choices": [{"text": "", "finish_reason": finish}]}).encode()
    request = Request(input=[QUESTION], sampling=Sampling(max_output_tokens=99))
    if finish in BROKEN:
        with pytest.raises(ModelError, match=finish):
            ask(body, request=request, dialect=dialect)
    else:
        assert ask(body, request=request, dialect=dialect).status == "incomplete"


ERROR = {"message": "the provider died", "code": 502}


@pytest.mark.parametrize("text", ["", "half an ans"])
@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("chat", lambda text: choice(message={"content": text}, finish_reason="stop", native_finish_reason="error")),
        ("chat", lambda text: choice(message={"content": text, "error": ERROR}, finish_reason="stop")),
        ("chat", lambda text: choice(message={"content": text}, finish_reason="stop", error=ERROR)),
        ("chat", lambda text: whole({"message": {"content": text}, "finish_reason": "stop"}, status="failed")),
        ("chat", lambda text: whole({"message": {"content": text}, "finish_reason": "stop"}, error=ERROR)),
        ("chat", lambda text: ended({"delta": {"content": text}, "native_finish_reason": "error"})),
        ("chat", lambda text: ended({"delta": {"content": text, "error": ERROR}})),
        ("chat", lambda text: ended({"delta": {"content": text}}, status="failed")),
        ("completions", lambda text: choice(text=text, finish_reason="stop", native_finish_reason="error")),
        ("completions", lambda text: choice(text=text, finish_reason="stop", error=ERROR)),
        ("completions", lambda text: ended({"text": text, "native_finish_reason": "error"})),
    ],
)
def test_an_error_beside_an_answer_is_a_failure_that_is_tried_again(
    dialect: str, body: Callable[[str], bytes], text: str
):
    request = Request(input=[QUESTION], sampling=Sampling(max_output_tokens=99))
    with pytest.raises(ModelError) as caught:
        ask(body(text), request=request, dialect=dialect)
    assert caught.value.retryable


def whole(piece: dict[str, Any], **fields: Any) -> bytes:
    return json.dumps({"choices": [{"index": 0, **piece}], **fields}).encode()


def ended(piece: dict[str, Any], **fields: Any) -> bytes:
    """A stream of one chunk, which ends with `stop`."""
    return stream({"choices": [{"index": 0, **piece, "finish_reason": "stop"}], **fields})


def choice(**fields: Any) -> bytes:
    return json.dumps({"choices": [{"index": 0, **fields}]}).encode()


def test_a_filter_may_let_no_message_through_and_nothing_else_may():
    for body in (
        choice(finish_reason="content_filter: PROHIBITED_CONTENT"),
        choice(finish_reason="content_filter", message=None),
        stream({"choices": [{"index": 0, "finish_reason": "content_filter: PROHIBITED_CONTENT"}]}),
    ):
        response = ask(body)
        assert (response.output, response.incomplete_reason) == ([], "content_filter")
    for body in (choice(finish_reason="stop"), choice(text="42", finish_reason="stop"), choice(message=None)):
        with pytest.raises(ModelError, match="broke off"):
            ask(body)


def test_a_call_that_gemini_could_not_read_is_the_models():
    for body in (chat_body(None, "malformed_function_call"), choice(finish_reason="MALFORMED_FUNCTION_CALL")):
        response = ask(body)
        assert (response.status, response.text, calls(response)) == ("completed", "", [])


def test_a_stream_whose_only_chunk_holds_a_message_is_read():
    message = {"role": "assistant", "content": "42", "reasoning_content": "so"}
    response = ask(stream({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}))
    assert (response.reasoning, response.text) == ("so", "42")
    last = {"index": 0, "delta": {}, "message": {"content": "42"}, "finish_reason": "stop"}
    assert ask(stream({"choices": [{"delta": {"content": "42"}}]}, {"choices": [last]})).text == "42"


COULD_NOT_FINISH = "Could not finish the message because max_tokens or model output limit was reached. Please try again"


def test_the_cap_may_come_as_an_error_and_the_request_is_not_sent_again_without_it():
    error = {"message": COULD_NOT_FINISH + " with higher max_tokens.", "type": "invalid_request_error", "code": None}
    response, sent = exchange(json.dumps({"error": error}).encode(), status=400, dialect="chat")
    assert (response.status, response.incomplete_reason, response.output) == ("incomplete", "max_output_tokens", [])
    assert [call.json["max_tokens"] for call in sent] == [99]


FAILED = "Failed to call a function. Please adjust your prompt. See 'failed_generation' for more details."
GENERATIONS = {
    '<function=add={"a": 1</function>': ("add", '<function=add={"a": 1</function>'),
    '{"name": "add", "arguments": {"a": "x"}}': ("add", '{"a":"x"}'),
    '<tool_call>{"name": "add", "parameters": {"a": "x"}}</tool_call>': ("add", '{"a":"x"}'),
    '[{"name": "address"}]': None,
    "": None,
}


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_call_that_groq_refuses_is_the_models_malformed_call(generation: str, streamed: bool):
    error = {"message": FAILED, "type": "invalid_request_error", "code": "tool_use_failed"}
    body = {"error": {**error, "failed_generation": generation}}
    response = ask(stream(body)) if streamed else ask(json.dumps(body).encode(), status=400)
    expected = GENERATIONS[generation]
    assert response.status == "completed"
    assert calls(response) == ([("refused_1", *expected)] if expected else [])
    assert response.text == ("" if expected else generation)


def test_a_call_that_litellm_cannot_read_is_the_models_malformed_call():
    message = "Failed to parse tool call arguments for tool 'add' (Anthropic pass-through adapter). Error: Expecting "
    message += 'value: line 1 column 7 (char 6). Arguments: {"a": '
    body = {"type": "error", "error": {"type": "api_error", "message": message}}
    response = ask(json.dumps(body).encode(), status=500, dialect="messages")
    assert calls(response) == [("refused_1", "add", '{"a": ')]


def test_a_call_that_does_not_fit_its_schema_is_one_of_the_tool_that_the_server_names():
    message = (
        "tool call validation failed: parameters for tool add did not match schema: errors: [`/a`: expected integer]"
    )
    error = {"message": message, "type": "invalid_request_error", "code": "tool_use_failed"}
    body = {"error": {**error, "failed_generation": '{"a": "x"}'}}
    assert calls(ask(json.dumps(body).encode(), status=400)) == [("refused_1", "add", '{"a": "x"}')]


# ---- Contexts that overflow


def said(message: str, **fields: Any) -> bytes:
    return json.dumps({"error": {"message": message, **fields}}).encode()


TOO_MANY = "The input token count (134123) exceeds the maximum number of tokens allowed (131072)."
GEMINI = {"code": 400, "message": TOO_MANY}
OVERFLOWS: dict[str, tuple[int, bytes]] = {
    "Gemini": (400, json.dumps({"error": {**GEMINI, "status": "INVALID_ARGUMENT"}}).encode()),
    "Gemini, in a list": (400, json.dumps([{"error": {**GEMINI, "status": "INVALID_ARGUMENT"}}]).encode()),
    "Bedrock": (400, b'{"message":"Input is too long for requested model."}'),
    "Bedrock behind LiteLLM": (400, said('BedrockException: {"message":"Input is too long for requested model."}')),
    "TensorRT-LLM": (
        400,
        b'{"object": "error", "message": "The sum of prompt length (9351.0), query length (0) should not exceed '
        b'max_num_tokens (8192)", "type": "BadRequestError", "param": null, "code": 400}',
    ),
    "TensorRT-LLM's Triton": (500, said("Prompt length (200) exceeds maximum input length (100)")),
    "TGI": (
        422,
        b'{"error":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 3474 `inputs` '
        b'tokens and 60 `max_new_tokens`","error_type":"validation"}',
    ),
    "TGI, the input alone": (
        422,
        b'{"error":"Input validation error: `inputs` must have less than 1024 tokens. Given: 1500",'
        b'"error_type":"validation"}',
    ),
    "Z.ai": (400, said("tokens in request more than max tokens allowed", code="1261")),
}


@pytest.mark.parametrize("server", OVERFLOWS)
def test_a_context_that_overflows_is_recognised(server: str):
    status, body = OVERFLOWS[server]
    with pytest.raises(ContextOverflow):
        ask(body, status=status)


def test_an_error_in_a_list_is_told_in_its_own_words():
    with pytest.raises(ModelError, match="API key not valid") as caught:
        ask(b'[{"error": {"code": 401, "message": "API key not valid."}}]', status=401)
    assert (caught.value.kind, caught.value.retryable) == ("http_401", False)
    with pytest.raises(ModelError, match="API key not valid"):
        ask(b'[{"error": {"code": 401, "message": "API key not valid."}}]')


# ---- Fields of another type

CALLED = [{"id": 7, "type": "function", "function": {"name": "add", "arguments": {"a": 1}}}]
ODD: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # What is odd about the body, and about its choice.
    "float usage": ({"usage": {"prompt_tokens": 9.0, "completion_tokens": 4.0}}, {}),
    "usage as text": ({"usage": {"prompt_tokens": "9", "completion_tokens": "4"}}, {}),
    "usage with odd details": (
        {"usage": {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": [], "total_tokens": 13.5}},
        {},
    ),
    "an integer id": ({"id": 1234}, {}),
    "a model that is none": ({"model": {"name": "m"}}, {}),
    "odd log-probabilities": ({}, {"logprobs": {"content": [{"token": "42", "logprob": None}]}}),
    "log-probabilities of another API": ({}, {"logprobs": [-0.5]}),
    "token ids as text": ({}, {"token_ids": "5 6"}),
    "an odd end": ({}, {"finish_reason": 1}),
}


@pytest.mark.parametrize("oddity", ODD)
def test_a_field_of_another_type_costs_no_answer(oddity: str):
    whole, choice = ODD[oddity]
    body = json.loads(chat_body("42"))
    body["choices"][0] |= choice
    response = ask(json.dumps(body | whole).encode())
    assert (response.text, response.usage) == ("42", Usage(input_tokens=9, output_tokens=4))


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        ("reasoning", {"content": "so"}, '{"content":"so"}'),
        ("reasoning", "so", "so"),
        ("reasoning_content", [{"type": "text", "text": "so"}], '[{"type":"text","text":"so"}]'),
        ("reasoning_details", "so", ""),
        ("reasoning_details", {"text": "so"}, ""),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_reasoning_of_another_type_costs_no_answer(field: str, value: Any, kept: str, streamed: bool):
    body = chunks({field: value, "content": "42"}) if streamed else chat_body("42", **{field: value})
    response = ask(body)
    assert (response.text, response.reasoning) == ("42", kept)


@pytest.mark.parametrize("streamed", [False, True])
def test_arguments_may_be_an_object_and_an_id_a_number(streamed: bool):
    body = chunks({"tool_calls": CALLED}, finish="tool_calls") if streamed else chat_body(None, tool_calls=CALLED)
    assert calls(ask(body)) == [("7", "add", '{"a":1}')]


@pytest.mark.parametrize("content", [{"text": "42"}, 42, [3], [{"type": "text", "text": {"value": "42"}}]])
def test_an_answer_of_another_type_is_none(content: Any):
    with pytest.raises(ModelError, match="not what this API gives") as caught:
        ask(chat_body(content))
    assert caught.value.kind == "bad_response"


def test_the_responses_api_is_read_as_patiently():
    message = {**say("42"), "id": 5, "status": "completed"}
    usage = {"input_tokens": 9.0, "output_tokens": 4.0, "output_tokens_details": "none"}
    response = ask(responses_body(message, usage=usage, id=1), dialect="responses")
    assert (response.text, response.usage) == ("42", Usage(input_tokens=9, output_tokens=4))


def test_geminis_thinking_counts_as_output():
    usage = {"prompt_tokens": 21, "completion_tokens": 4, "total_tokens": 85}
    body = json.loads(chat_body("42")) | {"usage": usage}
    assert ask(json.dumps(body).encode()).usage == Usage(input_tokens=21, output_tokens=64)
    body["usage"] = {"prompt_tokens": 21, "completion_tokens": 4, "total_tokens": 21}
    assert ask(json.dumps(body).encode()).usage == Usage(input_tokens=21, output_tokens=4)


# ---- Streams


def call_piece(name: str | None, arguments: str, **fields: Any) -> dict[str, Any]:
    return {"tool_calls": [{**fields, "function": {"name": name, "arguments": arguments}}]}


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        pytest.param(
            [call_piece("add", '{"a": 1}', index=0, id="x"), call_piece("add", '{"a": 2}', index=0, id="y")],
            [("x", "add", '{"a": 1}'), ("y", "add", '{"a": 2}')],
            id="Gemini's parallel calls have one index",
        ),
        pytest.param(
            [
                call_piece("add", "", index=0, id="x"),
                call_piece(None, '{"a"', index=0),
                call_piece("mul", "", index=0, id="y"),
                call_piece(None, "{}", index=0),
            ],
            [("x", "add", '{"a"'), ("y", "mul", "{}")],
            id="pieces belong to the last call of their index",
        ),
        pytest.param(
            [call_piece("add", '{"a"', index=0, id="x"), call_piece(None, ": 1}", index=0, id="y")],
            [("x", "add", '{"a": 1}')],
            id="another id with each piece",
        ),
        pytest.param(
            [call_piece("add", '{"a"', index=0, id="x"), call_piece("add", ": 1}", index=0, id="x")],
            [("x", "add", '{"a": 1}')],
            id="the same id and name with each piece",
        ),
        pytest.param(
            [
                call_piece("add", "{", index=0, id="x"),
                call_piece("mul", "[", index=1, id="y"),
                call_piece(None, "}", index=0),
                call_piece(None, "]", index=1),
            ],
            [("x", "add", "{}"), ("y", "mul", "[]")],
            id="pieces that take turns",
        ),
        pytest.param(
            [call_piece("add", "{}"), call_piece("mul", "{}")],
            [("call_0", "add", "{}"), ("call_1", "mul", "{}")],
            id="neither an index nor an id",
        ),
    ],
)
def test_streamed_calls_are_told_apart(pieces: list[dict[str, Any]], expected: list[tuple[str, str, str]]):
    assert calls(ask(chunks(*pieces, finish="tool_calls"))) == expected


def test_reasoning_details_of_a_stream_are_merged_by_type_and_index():
    text = {"type": "reasoning.text", "index": 0, "format": "anthropic-claude-v1"}
    sealed = {"type": "reasoning.encrypted", "index": 1, "id": "rs_1", "data": "gAAA", "format": "openai-responses-v1"}
    body = chunks(
        {"reasoning": "so ", "reasoning_details": [{**text, "text": "so "}]},
        {"reasoning": "be it", "reasoning_details": [{**text, "text": "be it"}]},
        {"reasoning_details": [{**text, "signature": "S"}]},
        {"reasoning_details": [sealed]},
        {"reasoning_details": [{**sealed, "id": "rs_2", "data": "gBBB"}]},
        {"content": "42"},
    )
    response = ask(body)
    expected = [{**text, "text": "so be it", "signature": "S"}, sealed, {**sealed, "id": "rs_2", "data": "gBBB"}]
    thought = response.output[0]
    assert isinstance(thought, Reasoning) and thought.encrypted_content is not None
    assert json.loads(thought.encrypted_content) == {"reasoning_details": expected}
    assert (response.reasoning, response.text) == ("so be it", "42")


def test_mistrals_content_lists_keep_thinking_apart_in_a_stream():
    def thinks(text: str) -> dict[str, Any]:
        return {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]}

    body = chunks(
        {"role": "assistant", "content": ""},
        thinks("so"),
        thinks(" be"),
        thinks(" it"),
        {"content": [{"type": "text", "text": "4"}]},
        {"content": "2"},
    )
    response = ask(body)
    assert (response.reasoning, response.text) == ("so be it", "42")
    assert ask(chunks({"content": "4"}, {"content": [{"type": "text", "text": "2"}]}, {"content": "!"})).text == "42!"


# ---- LiteLLM's /v1/messages


def message_body(*content: dict[str, Any], stop: str) -> dict[str, Any]:
    usage = {"input_tokens": 9, "output_tokens": 4}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
    return {**head, "content": content, "stop_reason": stop, "stop_sequence": None, "usage": usage}


THOUGHT = {"type": "thinking", "thinking": "so", "signature": None}
LITELLM: dict[str, tuple[list[dict[str, Any]], str, list[Item], str | None]] = {
    "an unsigned thought": (
        [THOUGHT, {"type": "text", "text": "42"}],
        "end_turn",
        [
            Reasoning(content=[ReasoningText(text="so")], encrypted_content=""),
            Message(role="assistant", content=[Text(text="42")], status="completed"),
        ],
        None,
    ),
    "a text that is null": (
        [{"type": "text", "text": None}, {"type": "tool_use", "id": "c", "name": "add", "input": {"a": 1}}],
        "tool_use",
        [
            Message(role="assistant", content=[Text(text="")], status="completed"),
            FunctionCall(call_id="c", name="add", arguments='{"a":1}'),
        ],
        None,
    ),
    "a call without input": (
        [{"type": "tool_use", "id": "c", "name": "add"}],
        "tool_calls",
        [FunctionCall(call_id="c", name="add", arguments="{}")],
        None,
    ),
    "a call whose input is null": (
        [{"type": "tool_use", "id": "c", "name": "add", "input": None}],
        "tool_use",
        [FunctionCall(call_id="c", name="add", arguments="{}")],
        None,
    ),
    "the reason of another API": (
        [{"type": "text", "text": "4"}],
        "length",
        [Message(role="assistant", content=[Text(text="4")], status="incomplete")],
        "max_output_tokens",
    ),
}


@pytest.mark.parametrize("name", LITELLM)
@pytest.mark.parametrize("streamed", [False, True])
def test_what_litellm_makes_of_the_messages_api_is_read(name: str, streamed: bool):
    content, stop, expected, reason = LITELLM[name]
    whole = message_body(*content, stop=stop)
    body = json.dumps(whole).encode()
    if streamed:
        events: list[dict[str, Any]] = [{"type": "message_start", "message": {**whole, "content": []}}]
        for index, block in enumerate(content):
            events.append({"type": "content_block_start", "index": index, "content_block": block})
            events.append({"type": "content_block_stop", "index": index})
        events.append({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 4}})
        body = stream(*events, {"type": "message_stop"})
    response = ask(body, dialect="messages")
    assert (response.output, response.incomplete_reason) == (expected, reason)


def test_a_streamed_message_may_begin_and_go_on_with_nulls():
    deltas = [
        {"type": "text_delta", "text": None},
        {"type": "text_delta", "text": "42"},
    ]
    body = stream(
        {"type": "message_start", "message": message_body(stop="end_turn")},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": None}},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
        {"type": "message_stop"},
    )
    assert ask(body, dialect="messages").text == "42"


# ---- Reasoning that goes back


def thought(text: str) -> Reasoning:
    return Reasoning(content=[ReasoningText(text=text)])


def turn(name: str, *before: Item) -> list[Item]:
    call = FunctionCall(call_id=name, name="add", arguments="{}")
    return [*before, call, FunctionCallOutput(call_id=name, output="1")]


HISTORY = Request(
    input=[
        QUESTION,
        *turn("c1", thought("a")),
        thought("b"),
        Message(role="assistant", content="1."),
        QUESTION,
        thought("no tools"),
        Message(role="assistant", content="2."),
        QUESTION,
        *turn("c3", thought("c")),
        *turn("c4"),
    ]
)


def sent_back(**config: Any) -> list[str | None]:
    """The reasoning in each assistant message that is sent; None where it has no such field."""
    _, sent = exchange(chat_body("42"), request=HISTORY, dialect="chat", **config)
    messages = [message for message in sent[0].json["messages"] if message["role"] == "assistant"]
    return [message.get("reasoning_content") for message in messages]


LOOP = [None, None, None, "c", None]
TOOLS = ["a", "b", None, "c", ""]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, [None] * 5),
        ({"reasoning": "field"}, LOOP),
        ({"send_reasoning": "loop"}, LOOP),
        ({"send_reasoning": "tools"}, TOOLS),
        ({"id": "deepseek-v4-pro"}, TOOLS),
        ({"id": "deepseek-v4-pro", "send_reasoning": "loop"}, LOOP),
        ({"id": "deepseek-ai/DeepSeek-V3.1"}, [None] * 5),
    ],
)
def test_deepseek_gets_the_reasoning_of_all_turns_with_tools_back(config: dict[str, Any], expected: list[str | None]):
    assert sent_back(**config) == expected


@pytest.mark.parametrize(
    ("tags", "opens", "closes"), [((), "<think>", "</think>"), (("[THINK]",), "[THINK]", "[/THINK]")]
)
def test_thinking_goes_back_in_tags_where_the_template_keeps_it(tags: tuple[str, ...], opens: str, closes: str):
    given = {"thinking_tags": tags} if tags else {}
    _, sent = exchange(chat_body("42"), request=HISTORY, dialect="chat", send_reasoning="tags", **given)
    contents = [message["content"] for message in sent[0].json["messages"] if message["role"] == "assistant"]
    assert contents == [None, "1.", "2.", f"{opens}\nc\n{closes}\n\n", None]
    assert "reasoning_content" not in json.dumps(sent[0].json)


def test_the_settings_of_thinking_are_part_of_a_models_identity():
    plain = ModelConfig(dialect="chat", id="m", base_url="http://localhost/v1")
    assert not {"thinking_tags", "send_reasoning"} & plain.identity().keys()
    other = msgspec.structs.replace(plain, thinking_tags=("<think>",), send_reasoning="tools")
    assert list(other.identity()["thinking_tags"]) == ["<think>"]
    assert other.identity()["send_reasoning"] == "tools"

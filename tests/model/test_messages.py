"""The Messages API: what is sent, what becomes of what comes back, and that nothing is lost on the way."""

import asyncio
import itertools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.agent.loop import ToolLoop
from assay.config import ModelConfig
from assay.errors import ModelError, UsageError
from assay.model import ContextOverflow, Model, connect
from assay.model.dialects.messages.client import conversation
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
    Score,
    StopReason,
    Task,
    Text,
    Tool,
    Turn,
    Usage,
)
from tests.endpoint import Call, Endpoint, http

TOOL = Tool(name="add", description="Adds.", parameters={"type": "object", "properties": {"a": {"type": "integer"}}})
CAPPED = Sampling(max_output_tokens=99)
QUESTION = Message(role="user", content="6*7?")
USAGE = {"input_tokens": 5, "output_tokens": 4, "cache_creation_input_tokens": 1, "cache_read_input_tokens": 3}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}


def message_body(*content: dict[str, Any], stop: str | None = "end_turn", **fields: Any) -> bytes:
    """An answer of the Messages API."""
    base = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m-1", "stop_sequence": None}
    return json.dumps({**base, "content": content, "stop_reason": stop, "usage": USAGE, **fields}).encode()


def text(said: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **fields}


def thought(said: str, signature: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": said, "signature": signature}


def tool_use(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": name, "name": "add", "input": arguments}


def tool_result(name: str, content: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": name, "content": content}


def exchange(
    body: bytes,
    request: Request | None = None,
    *,
    status: int = 200,
    kind: str = "application/json",
    **config: Any,
) -> tuple[Call, Response]:
    """What was sent, and the response."""

    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(http(body, status, kind))

    async def main(url: str) -> Response:
        model = connect(ModelConfig(dialect="messages", id="m", base_url=url, **config))
        try:
            return await model.respond(request or Request(input=[QUESTION], sampling=CAPPED))
        finally:
            await model.aclose()

    with Endpoint(behave) as endpoint:
        response = asyncio.run(main(endpoint.url))
        return endpoint.calls[0], response


def sent(request: Request, **config: Any) -> Any:
    return exchange(message_body(text("42")), request, **config)[0].json


CONVERSATION: list[Item] = [
    Message(role="system", content="Be brief."),
    Message(role="developer", content=[InputText(text="Be kind.")]),
    Message(role="user", content=[InputText(text="What?"), InputImage(image_url="data:image/png;base64,AA==")]),
    Message(role="user", content=[InputImage(image_url="https://x/y.png"), InputImage(file_id="file_1")]),
    Reasoning(content=[ReasoningText(text="hm")], encrypted_content="S", id="rs_1"),
    Reasoning(encrypted_content="R"),
    Reasoning(content=[ReasoningText(text="unsigned")]),
    Message(role="assistant", content=[Text(text="Let me see. "), Text(text=" \n")], phase="commentary"),
    FunctionCall(call_id="c1", name="add", arguments='{"a": 1.0}', id="fc_1"),
    FunctionCall(call_id="c2", name="add", arguments=" "),
    FunctionCallOutput(call_id="c1", output="1"),
    Message(role="user", content="Go on."),
    FunctionCallOutput(
        call_id="c2", output=[InputText(text="two"), InputImage(image_url="data:image/png;base64,AA==")]
    ),
    Message(role="assistant", content=[Refusal(refusal="No.")]),
    Message(role="user", content="Sure?"),
]
AS_SENT: list[Any] = [
    {
        "role": "user",
        "content": [
            text("What?"),
            IMAGE,
            {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
            {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
        ],
    },
    {
        "role": "assistant",
        "content": [
            thought("hm", "S"),
            {"type": "redacted_thinking", "data": "R"},
            text("Let me see. "),
            tool_use("c1", {"a": 1.0}),
            tool_use("c2", {}),
        ],
    },
    {
        "role": "user",
        "content": [tool_result("c1", "1"), tool_result("c2", [text("two"), IMAGE]), text("Go on.")],
    },
    {"role": "assistant", "content": [text("No.")]},
    {"role": "user", "content": [text("Sure?")]},
]


def test_a_conversation_is_sent_as_the_api_wants_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CANARY_KEY", "sk-canary")
    sampling = Sampling(temperature=0.6, top_p=0.9, top_k=20, stop=("END",), max_output_tokens=99)
    request = Request(input=CONVERSATION, sampling=sampling, tools=[TOOL], seed=5, task="secret")
    call, _ = exchange(message_body(text("42")), request, api_key_env="CANARY_KEY")
    assert call.path == "/v1/messages"
    assert (call.headers["x-api-key"], call.headers["anthropic-version"]) == ("sk-canary", "2023-06-01")
    assert "authorization" not in call.headers
    assert call.json == {
        "model": "m",
        "system": "Be brief.\n\nBe kind.",
        "messages": AS_SENT,
        "temperature": 0.6,
        "top_p": 0.9,
        "top_k": 20,
        "stop_sequences": ["END"],
        "max_tokens": 99,
        "tools": [{"name": "add", "description": "Adds.", "input_schema": TOOL.parameters}],
    }


@pytest.mark.parametrize("arguments", ["{bad", "[1]", "3", '"x"', '{"a": NaN}', "[" * 5000, '{"a": ' + "[" * 5000])
def test_malformed_arguments_go_back_inside_an_object(arguments: str):
    call = FunctionCall(call_id="c", name="add", arguments=arguments)
    _, messages = conversation([QUESTION, call, FunctionCallOutput(call_id="c", output="error")])
    assert json.loads(msgspec.json.encode(messages))[1]["content"] == [tool_use("c", {"arguments": arguments})]


def test_no_message_ends_in_thinking():
    signed = Reasoning(content=[ReasoningText(text="hm")], encrypted_content="S")
    empty = Message(role="assistant", content=[Text(text="")])
    said = Message(role="assistant", content="42")
    _, messages = conversation([QUESTION, signed, empty, QUESTION, said, signed])
    assert json.loads(msgspec.json.encode(messages)) == [
        {"role": "user", "content": [text("6*7?"), text("6*7?")]},
        {"role": "assistant", "content": [text("42")]},
    ]


def test_an_image_that_is_quoted_rather_than_base64_is_sent_as_base64():
    _, messages = conversation([Message(role="user", content=[InputImage(image_url="data:image/png,%00")])])
    assert json.loads(msgspec.json.encode(messages))[0]["content"] == [IMAGE]


CHOICES: list[tuple[dict[str, Any], Any]] = [
    ({}, None),
    ({"tool_choice": "required"}, {"type": "any"}),
    ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
    ({"tool_choice": NamedTool(name="add")}, {"type": "tool", "name": "add"}),
    ({"parallel_tool_calls": True}, None),
    ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
    (
        {"tool_choice": "required", "parallel_tool_calls": False},
        {"type": "any", "disable_parallel_tool_use": True},
    ),
]


@pytest.mark.parametrize(("asked", "choice"), CHOICES)
def test_a_tool_choice_is_sent_in_this_apis_words(asked: dict[str, Any], choice: Any):
    strict = msgspec.structs.replace(TOOL, strict=True)
    body = sent(Request(input=[QUESTION], sampling=CAPPED, tools=[TOOL, strict], **asked))
    assert body.get("tool_choice") == choice
    assert [tool.get("strict") for tool in body["tools"]] == [None, True]


def test_a_schema_is_sent_beside_the_effort_that_the_server_is_configured_for():
    schema = {"type": "object", "properties": {}}
    request = Request(input=[QUESTION], sampling=CAPPED, format=JsonSchema(name="answer", definition=schema))
    wanted = {"format": {"type": "json_schema", "schema": schema}}
    assert sent(request)["output_config"] == wanted
    body = sent(request, extra_body={"output_config": {"effort": "high"}, "thinking": {"type": "adaptive"}})
    assert body["output_config"] == {**wanted, "effort": "high"}
    assert body["thinking"] == {"type": "adaptive"}


IMAGE_PROMPT = Message(role="system", content=[InputImage(image_url="https://x/y.png")])
UNSUPPORTED: dict[str, tuple[Request, dict[str, Any], str]] = {
    "JSON without a schema": (Request(input=[QUESTION], sampling=CAPPED, format=JsonObject()), {}, "JsonSchema"),
    "a penalty": (Request(input=[QUESTION], sampling=Sampling(presence_penalty=1.5)), {}, r'omit = \["presence_p'),
    "min_p": (Request(input=[QUESTION], sampling=CAPPED), {"sampling": Sampling(min_p=0.1)}, "no min_p"),
    "log-probabilities": (Request(input=[QUESTION], sampling=CAPPED), {"logprobs": True}, "log-prob"),
    "an image in the system prompt": (Request(input=[IMAGE_PROMPT], sampling=CAPPED), {}, "user message"),
}


@pytest.mark.parametrize("what", UNSUPPORTED)
def test_what_the_api_has_no_words_for_is_refused_before_it_is_asked(what: str):
    request, config, words = UNSUPPORTED[what]
    with pytest.raises(ModelError, match=words) as caught:
        exchange(message_body(text("42")), request, **config)
    assert (caught.value.kind, caught.value.retryable) == ("unsupported", False)


def test_settings_that_change_nothing_and_those_left_out_on_purpose_are_not_sent():
    sampling = Sampling(min_p=0.0, presence_penalty=0.0, frequency_penalty=0.5, temperature=0.6, max_output_tokens=9)
    body = sent(Request(input=[QUESTION], sampling=sampling), omit=["frequency_penalty", "temperature"])
    assert set(body) == {"model", "messages", "max_tokens"}


def test_an_output_limit_has_to_come_from_somewhere():
    with pytest.raises(ModelError, match=r"set sampling\.max_output_tokens") as caught:
        sent(Request(input=[QUESTION]))
    assert (caught.value.kind, caught.value.retryable) == ("bad_request", False)
    assert sent(Request(input=[QUESTION]), sampling=CAPPED)["max_tokens"] == 99
    assert sent(Request(input=[QUESTION]), extra_body={"max_tokens": 7})["max_tokens"] == 7
    assert "max_tokens" not in sent(Request(input=[QUESTION]), omit=["max_tokens"])


def test_the_provider_is_asked_where_no_base_url_is_set():
    connect(ModelConfig(dialect="messages", id="m"))
    with pytest.raises(UsageError, match="expected http"):
        connect(ModelConfig(dialect="messages", id="m", base_url="api.anthropic.com/v1"))


def test_blocks_become_items_in_their_order():
    citation = {"type": "char_location", "cited_text": "42", "document_index": 0}
    _, response = exchange(
        message_body(
            thought("so", "S1"),
            text("The answer is "),
            text("42", citations=[citation]),
            {"type": "redacted_thinking", "data": "R"},
            tool_use("c1", {"a": 1}),
            tool_use("c2", {}),
            stop="tool_use",
        )
    )
    assert response.output == [
        Reasoning(content=[ReasoningText(text="so")], encrypted_content="S1"),
        Message(
            role="assistant",
            content=[Text(text="The answer is "), Text(text="42", annotations=[citation])],
            status="completed",
        ),
        Reasoning(encrypted_content="R"),
        FunctionCall(call_id="c1", name="add", arguments='{"a": 1}'),
        FunctionCall(call_id="c2", name="add", arguments="{}"),
    ]
    assert response.text == "The answer is 42"
    assert (response.status, response.id, response.model) == ("completed", "msg_1", "m-1")


def test_all_input_is_counted_and_what_was_cached_of_it():
    _, response = exchange(message_body(text("42")))
    assert response.usage == Usage(input_tokens=9, output_tokens=4, cached_tokens=3)
    usage = {"input_tokens": 9, "output_tokens": 4, "cache_creation_input_tokens": None, "output_tokens_details": None}
    _, response = exchange(message_body(text("42"), usage=usage))
    assert response.usage == Usage(input_tokens=9, output_tokens=4)
    _, response = exchange(message_body(text("42"), usage={**USAGE, "output_tokens_details": {"thinking_tokens": 2}}))
    assert response.usage.reasoning_tokens == 2


ENDS: list[tuple[str, str, str | None, StopReason]] = [
    ("end_turn", "completed", None, "completed"),
    ("stop_sequence", "completed", None, "completed"),
    ("max_tokens", "incomplete", "max_output_tokens", "token_cap"),
    ("model_context_window_exceeded", "incomplete", "max_output_tokens", "token_cap"),
    ("refusal", "incomplete", "content_filter", "refused"),
]


@pytest.mark.parametrize(("stop", "status", "reason", "reached"), ENDS)
def test_each_stop_reason_ends_the_rollout_as_it_should(stop: str, status: str, reason: str | None, reached: str):
    body = message_body(text("42"), stop=stop)
    _, response = exchange(body)
    assert (response.status, response.incomplete_reason, response.text) == (status, reason, "42")
    assert run(Task(id="t", input=[QUESTION]), [body]) == (reached, [[{"role": "user", "content": [text("6*7?")]}]])


def test_a_refusal_keeps_its_explanation():
    details = {"type": "refusal", "category": "bio", "explanation": "Not this."}
    _, response = exchange(message_body(stop="refusal", stop_details=details))
    assert response.output == [Message(role="assistant", content=[Refusal(refusal="Not this.")])]
    assert exchange(message_body(stop="refusal", stop_details=None))[1].output == []


@pytest.mark.parametrize("content", [[], [text("")], [thought("so", "S")]])
def test_silence_is_an_empty_answer_and_no_error(content: list[dict[str, Any]]):
    _, response = exchange(message_body(*content))
    assert (response.status, response.text) == ("completed", "")
    assert response.output[-1] == Message(role="assistant", content=[Text(text="")], status="completed")
    assert not exchange(message_body(stop="max_tokens"))[1].output


@pytest.mark.parametrize(
    ("reasoning", "said", "stop", "thinks", "answers"),
    [
        ("auto", "<think>so</think>42", "end_turn", "so", "42"),
        ("auto", "so</think>\n\n42", "end_turn", "so", "42"),
        ("auto", "so and", "max_tokens", "", "so and"),
        ("tags", "so and", "max_tokens", "so and", ""),
        ("none", "<think>so</think>42", "end_turn", "", "<think>so</think>42"),
    ],
)
def test_thinking_in_tags_becomes_reasoning(reasoning: str, said: str, stop: str, thinks: str, answers: str):
    _, response = exchange(message_body(text(said), stop=stop), reasoning=reasoning)
    assert (response.reasoning, response.text) == (thinks, answers)


ERROR = '{"type": "error", "error": {"type": "%s", "message": "%s"}, "request_id": "req_1"}'
FAULTS: dict[str, tuple[int, bytes, str, bool, str]] = {
    "401": (401, (ERROR % ("authentication_error", "invalid x-api-key")).encode(), "http_401", False, "invalid x-api"),
    "429": (429, (ERROR % ("rate_limit_error", "slow down")).encode(), "http_429", True, "slow down"),
    "529": (529, (ERROR % ("overloaded_error", "Overloaded")).encode(), "http_529", True, "Overloaded"),
    "overloaded in a 200": (200, (ERROR % ("overloaded_error", "Overloaded")).encode(), "http_529", True, "Overloaded"),
    "broken in a 200": (200, (ERROR % ("api_error", "oops")).encode(), "response_failed", True, "oops"),
    "refused in a 200": (200, (ERROR % ("invalid_request_error", "no")).encode(), "response_failed", False, "no"),
    "another shape": (200, b'{"content": 3}', "bad_response", True, "content"),
    "an object of another API": (200, b'{"choices": []}', "bad_response", True, "stop_reason None"),
    "a stop reason of tomorrow": (200, message_body(text("4"), stop="tired"), "bad_response", True, "'tired'"),
    "a paused turn": (200, message_body(text("4"), stop="pause_turn"), "unsupported", False, "pause_turn"),
    "an unknown block": (200, message_body({"type": "hologram"}), "bad_response", True, "hologram"),
    "arguments that are no text": (
        200,
        message_body(tool_use("c", {"a": "?"}), stop="tool_use").replace(b"?", b"\xff"),
        "bad_response",
        True,
        "add",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_an_error_that_says_what_happened(fault: str):
    status, body, kind, retryable, words = FAULTS[fault]
    with pytest.raises(ModelError, match=words) as caught:
        exchange(body, status=status)
    assert (caught.value.kind, caught.value.retryable) == (kind, retryable)


@pytest.mark.parametrize("status", [400, 200])
@pytest.mark.parametrize(
    "words",
    [
        "prompt is too long: 209000 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000",
    ],
)
def test_an_overflowing_context_is_told_in_the_servers_words(status: int, words: str):
    with pytest.raises(ContextOverflow) as caught:
        exchange((ERROR % ("invalid_request_error", words)).encode(), status=status)
    assert words in str(caught.value)


def stream(*events: dict[str, Any]) -> bytes:
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


def block_events(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def streamed(arguments: str) -> list[dict[str, Any]]:
    """The events of an answer that thinks, speaks and calls."""
    empty = {**json.loads(message_body()), "stop_reason": None}
    half = len(arguments) // 2
    pieces = [{"type": "input_json_delta", "partial_json": piece} for piece in (arguments[:half], arguments[half:])]
    return [
        {"type": "message_start", "message": empty},
        *block_events(
            0,
            thought("", ""),
            {"type": "thinking_delta", "thinking": "s"},
            {"type": "thinking_delta", "thinking": "o"},
            {"type": "signature_delta", "signature": "S"},
        ),
        {"type": "ping"},
        *block_events(1, text(""), {"type": "text_delta", "text": "Ad"}, {"type": "text_delta", "text": "ding."}),
        *block_events(2, tool_use("c", {}), *pieces),
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 7}},
        {"type": "message_stop"},
    ]


@pytest.mark.parametrize(
    ("arguments", "kept"), [('{"a": 1}', '{"a":1}'), ("", "{}"), ('{"a": ', '{"a": '), ("[1]", "[1]")]
)
def test_a_streamed_answer_is_the_same_as_any_other(arguments: str, kept: str):
    body = stream(*streamed(arguments))
    call, response = exchange(body, kind="text/event-stream; charset=utf-8", stream=True)
    assert call.json["stream"] is True
    assert response.output == [
        Reasoning(content=[ReasoningText(text="so")], encrypted_content="S"),
        Message(role="assistant", content=[Text(text="Adding.")], status="completed"),
        FunctionCall(call_id="c", name="add", arguments=kept),
    ]
    assert response.usage == Usage(input_tokens=9, output_tokens=7, cached_tokens=3)


@pytest.mark.parametrize("left", range(1, 17))
def test_a_stream_that_is_cut_or_breaks_off_is_no_answer(left: int):
    events = streamed('{"a": 1}')[:left]
    with pytest.raises(ModelError, match="ended before") as caught:
        exchange(stream(*events), kind="text/event-stream", stream=True)
    assert caught.value.retryable
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    with pytest.raises(ModelError, match="Overloaded") as caught:
        exchange(stream(*events, error), kind="text/event-stream", stream=True)
    assert caught.value.retryable


class Adding:
    """A session whose tool adds."""

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        return f"{name}: {sum(arguments.values())}"

    async def score(self, turns: list[Turn]) -> Score:
        return Score(reward=float(len(turns)))


def run(task: Task, answers: list[bytes]) -> tuple[StopReason, list[Any]]:
    """How the tool loop ends where the server gives these answers, and the messages that it was sent each time."""

    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(http(answers[len(endpoint.calls) - 1]))

    async def main(url: str) -> StopReason:
        model = connect(ModelConfig(dialect="messages", id="m", base_url=url, sampling=CAPPED))
        try:
            return await ToolLoop().run(task, model, Adding())  # type: ignore[arg-type]
        finally:
            await model.aclose()

    with Endpoint(behave) as endpoint:
        reached = asyncio.run(main(endpoint.url))
        return reached, [call.json["messages"] for call in endpoint.calls]


def test_a_tool_loop_takes_signed_thinking_back_unchanged():
    said = [
        thought("add both", "EqQBCg/+="),
        {"type": "redacted_thinking", "data": "EmwKAhgB"},
        text("Adding."),
        tool_use("toolu_1", {"a": 1, "b": 2}),
        tool_use("toolu_2", {"a": 3}),
    ]
    omitted = [thought("", "EqQBsecond"), tool_use("toolu_3", {})]
    answers = [message_body(*said, stop="tool_use"), message_body(*omitted, stop="tool_use"), message_body(text("6"))]
    reached, messages = run(Task(id="t", input=[QUESTION], tools=[TOOL]), answers)
    assert (reached, len(messages)) == ("completed", 3)
    assert messages[2] == [
        {"role": "user", "content": [text("6*7?")]},
        {"role": "assistant", "content": said},
        {"role": "user", "content": [tool_result("toolu_1", "add: 3"), tool_result("toolu_2", "add: 3")]},
        {"role": "assistant", "content": omitted},
        {"role": "user", "content": [tool_result("toolu_3", "add: 0")]},
    ]


NAMES = st.text("abcdefgh_0123456789", min_size=1, max_size=12)
WORDS = st.text(min_size=1).filter(lambda said: bool(said.strip()))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
TEXTS = st.builds(text, WORDS) | st.builds(lambda said, where: text(said, citations=[where]), WORDS, JSON)
THOUGHTS = st.builds(thought, st.text(), st.text()) | st.builds(
    lambda data: {"type": "redacted_thinking", "data": data}, st.text()
)
USES = st.builds(tool_use, NAMES, st.dictionaries(st.text(), JSON, max_size=3))


def test_blocks_that_came_go_back_as_they_were():
    answer = b""

    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(http(answer))

    with asyncio.Runner() as runner, Endpoint(behave) as endpoint:
        config = ModelConfig(dialect="messages", id="m", base_url=endpoint.url, reasoning="none", sampling=CAPPED)
        model: Model = connect(config)

        # The last is what the API lets a message end in.
        @given(st.lists(TEXTS | THOUGHTS | USES, max_size=6), TEXTS | USES)
        def check(blocks: list[dict[str, Any]], last: dict[str, Any]) -> None:
            nonlocal answer
            answer = message_body(*blocks, last)
            response = runner.run(model.respond(Request(input=[QUESTION])))
            runner.run(model.respond(Request(input=[QUESTION, *response.output, QUESTION])))
            assert endpoint.calls[-1].json["messages"][1] == {"role": "assistant", "content": [*blocks, last]}

        check()
        runner.run(model.aclose())


IMAGES = st.builds(lambda name: InputImage(image_url=f"https://x/{name}"), NAMES)
PARTS = st.lists(st.builds(InputText, st.text()) | IMAGES, max_size=3)
CALLS = st.builds(lambda name: FunctionCall(call_id=name, name="add", arguments="{}"), NAMES)
OUTPUTS = st.builds(FunctionCallOutput, call_id=NAMES, output=st.text() | PARTS)
TOLD = st.builds(Message, role=st.just("user"), content=st.text() | PARTS)


def parts_of(content: str | list[Any]) -> list[str]:
    """The texts and image addresses of a content, in items or in blocks."""
    if isinstance(content, str):
        return [content]
    builtins = [msgspec.to_builtins(part) for part in content]
    return [part.get("text") if "text" in part else part.get("image_url") or part["source"]["url"] for part in builtins]


@given(st.lists(CALLS | OUTPUTS | TOLD, max_size=12))
def test_all_that_the_model_is_told_is_sent(items: list[Item]):
    _, encoded = conversation(items)
    messages = json.loads(msgspec.json.encode(encoded))
    blocks = [block for message in messages for block in message["content"]]
    results = [(block["tool_use_id"], parts_of(block["content"])) for block in blocks if block["type"] == "tool_result"]
    assert results == [(item.call_id, parts_of(item.output)) for item in items if isinstance(item, FunctionCallOutput)]
    told = [part for item in items if isinstance(item, Message) for part in parts_of(item.content)]
    assert parts_of([block for block in blocks if block["type"] in ("text", "image")]) == told
    calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
    assert calls == [item.call_id for item in items if isinstance(item, FunctionCall)]
    roles = [message["role"] for message in messages]
    assert all(before != after for before, after in itertools.pairwise(roles))
    for message in messages:
        kinds = [block["type"] == "tool_result" for block in message["content"]]
        assert kinds == sorted(kinds, reverse=True)

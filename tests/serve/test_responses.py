"""The Responses side: the OpenAI SDK drives it, and all that it serves is held against the specification."""

import asyncio
import json
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from assay.config import ModelConfig
from assay.errors import ModelError
from assay.model import ContextOverflow, close, connect
from assay.model.dialects import serving as serving_module
from assay.model.dialects.responses import server as responses
from assay.types import (
    FunctionCall,
    FunctionCallOutput,
    InputImage,
    InputText,
    JsonSchema,
    Message,
    NamedTool,
    Reasoning,
    ReasoningText,
    Refusal,
    Request,
    Response,
    SummaryText,
    Text,
    TokenIds,
    Usage,
)
from tests.serve.served import check, check_event, post, serving

TOOL = {
    "type": "function",
    "name": "add",
    "description": "Adds.",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
    "strict": False,
}
USAGE = Usage(input_tokens=9, output_tokens=4, cached_tokens=3, reasoning_tokens=2)


OPENED: list[openai.OpenAI] = []


def client(url: str, key: str = "none") -> openai.OpenAI:
    """OpenAI's SDK, closed when the test ends."""
    OPENED.append(openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=20))
    return OPENED[-1]


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()


def events(url: str, body: dict[str, Any], headers: Mapping[str, str] = MappingProxyType({})) -> list[Any]:
    """The data of each event, the end mark as text."""
    data = json.dumps({"stream": True, **body}).encode()
    request = urllib.request.Request(f"{url}/v1/responses", data, {"content-type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.read().decode().split("\n")
    named = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    data_lines = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    assert data_lines.pop() == "[DONE]"
    found = [json.loads(line) for line in data_lines]
    assert named == [event["type"] for event in found]
    return found


def test_an_embedded_model_answers_the_sdk():
    with serving(ModelConfig(dialect="local", id="nano-thinking"), name="nano-thinking") as url:
        made = client(url).responses.create(model="nano-thinking", input="What is 3 * 49 + 55?", temperature=0)
        assert made.output_text == "202"
        assert made.output[0].type == "reasoning"
        assert made.usage is not None
        assert (made.usage.input_tokens, made.usage.output_tokens) == (16, 68)
        _, raw = post(url, b'{"model": "nano-thinking", "input": "What is 2 + 2?", "return_token_ids": true}')
        check(raw, "ResponseResource")
        assert len(raw["generation_token_ids"]) == len(raw["generation_log_probs"]) == raw["usage"]["output_tokens"]


def test_the_sdk_streams_text():
    text = "the answer " * 60 + "is 42"
    with (
        serving(lambda request: f"<think>so\nmany</think>{text}") as url,
        client(url).responses.stream(model="m", input="6*7?") as stream,
    ):
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert final.output_text == text
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert kinds.count("response.output_text.delta") > 1


def adder(request: Request) -> Response:
    """Calls `add` twice at once, then says the sum of what came back."""
    outputs = [item for item in request.input if isinstance(item, FunctionCallOutput)]
    if outputs:
        return Response([Message("assistant", [Text(f"sum {sum(int(item.text) for item in outputs)}")])], usage=USAGE)
    calls = [FunctionCall(f"c{n}", "add", json.dumps({"a": n, "b": 1})) for n in range(2)]
    return Response([Reasoning(content=[ReasoningText("hm")]), *calls], usage=USAGE)


@pytest.mark.parametrize("streamed", [False, True])
def test_the_sdk_carries_out_tools_over_several_turns(streamed: bool):
    asked: list[Request] = []

    def answer(request: Request) -> Response:
        asked.append(request)
        return adder(request)

    def turn(sdk: openai.OpenAI, items: list[Any]) -> Any:
        settings: Any = {"model": "m", "input": items, "tools": [TOOL], "instructions": "Be brief."}
        if not streamed:
            return sdk.responses.create(**settings)
        with sdk.responses.stream(**settings) as stream:
            for event in stream:
                check_event(event.to_dict()) if event.type.endswith("item.done") else None
            return stream.get_final_response()

    with serving(answer) as url:
        sdk, items = client(url), [{"role": "user", "content": "0+1+1+1?"}]
        first = turn(sdk, items)
        calls = [item for item in first.output if item.type == "function_call"]
        assert [json.loads(call.arguments) for call in calls] == [{"a": 0, "b": 1}, {"a": 1, "b": 1}]
        items += [item.to_dict() for item in first.output]
        for call in calls:
            result = sum(json.loads(call.arguments).values())
            items.append({"type": "function_call_output", "call_id": call.call_id, "output": str(result)})
        assert turn(sdk, items).output_text == "sum 3"
    last = asked[-1].input
    assert [type(item).__name__ for item in last] == [
        *("Message", "Message", "Reasoning", "FunctionCall", "FunctionCall", "FunctionCallOutput", "FunctionCallOutput")
    ]
    assert last[0] == Message("system", "Be brief.")
    assert last[2].text == "hm"  # type: ignore[union-attr]
    assert asked[0].tools[0].parameters == TOOL["parameters"]


def test_what_is_asked_reaches_the_model():
    asked: list[Request] = []

    def answer(request: Request) -> str:
        asked.append(request)
        return '{"city": "Paris"}'

    class Capital(BaseModel):
        city: str

    with serving(answer) as url:
        sdk = client(url)
        made = sdk.responses.parse(
            model="m",
            input="The capital of France?",
            text_format=Capital,
            temperature=0.5,
            top_p=0.9,
            max_output_tokens=99,
        )
        assert made.output_parsed == Capital(city="Paris")
        image: Any = [
            {"type": "input_text", "text": "What is this?"},
            {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "auto"},
        ]
        sdk.responses.create(
            model="m",
            input=[{"role": "user", "content": image}],
            tools=[TOOL, {**TOOL, "name": "sub"}],  # type: ignore[list-item]
            tool_choice={"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "sub"}]},
            parallel_tool_calls=False,
        )
        sdk.responses.create(model="m", input="x", tools=[TOOL], tool_choice={"type": "function", "name": "add"})  # type: ignore[list-item]
    first, second, third = asked
    assert isinstance(first.format, JsonSchema)
    assert first.format.definition["properties"]["city"]["type"] == "string"
    assert (first.sampling.temperature, first.sampling.top_p, first.sampling.max_output_tokens) == (0.5, 0.9, 99)
    assert second.input[0].content == [InputText("What is this?"), InputImage("data:image/png;base64,AA")]  # type: ignore[union-attr]
    assert ([tool.name for tool in second.tools], second.tool_choice) == (["sub"], "required")
    assert second.parallel_tool_calls is False
    assert third.tool_choice == NamedTool("add")


REFUSED = {
    "no JSON": (b"{", 400, None),
    "no object": (b"[]", 400, None),
    "no input": (b'{"model": "m"}', 400, "input"),
    "a wrong type": (b'{"input": "x", "temperature": "hot"}', 400, "temperature"),
    "a wrong item": (b'{"input": [{"type": "function_call", "name": "f"}]}', 400, "input[0]"),
    "an unknown item": (b'{"input": [{"type": "hologram"}]}', 400, "input[0]"),
    "a stored item": (b'{"input": [{"type": "item_reference", "id": "x"}]}', 400, "input[0]"),
    "a stored response": (b'{"input": "x", "previous_response_id": "r"}', 400, "previous_response_id"),
    "background": (b'{"input": "x", "background": true}', 400, "background"),
    "a tool that is none": (b'{"input": "x", "tool_choice": {"type": "function", "name": "f"}}', 400, "tool_choice"),
    "a tool without a name": (b'{"input": "x", "tools": [{"type": "function"}]}', 400, "tools[0]"),
    "a hosted tool that has to be called": (
        b'{"input": "x", "tools": [{"type": "web_search"}], "tool_choice": "required"}',
        400,
        "tool_choice",
    ),
    "a hosted tool that is chosen": (
        b'{"input": "x", "tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}}',
        400,
        "tool_choice.type",
    ),
    "a stored item without its type": (b'{"input": [{"id": "x"}]}', 400, "input[0]"),
    "another model": (b'{"input": "x", "model": "gpt-5"}', 404, "model"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_carried_out_is_refused_by_name(case: str):
    body, status, param = REFUSED[case]
    with serving(lambda request: "42") as url:
        code, error = post(url, body)
    assert code == status
    check(error["error"], "ErrorPayload")
    assert error["error"]["param"] == param, error


def test_what_is_unknown_and_harmless_is_ignored():
    with serving(lambda request: "42") as url:
        code, body = post(url, b'{"input": "x", "user": "me", "store": true, "no_such_thing": 1, "model": null}')
    assert (code, body["store"]) == (200, False)
    check(body, "ResponseResource")


HOSTED: list[Any] = [
    {"type": "web_search"},
    {"type": "custom", "name": "apply_patch", "format": {"type": "grammar"}},
    TOOL,
]


def test_tools_that_are_no_functions_are_left_out_where_the_model_need_not_call_one(caplog: pytest.LogCaptureFixture):
    asked: list[Request] = []

    def answer(request: Request) -> str:
        asked.append(request)
        return "42"

    serving_module._warn_of.cache_clear()  # pyright: ignore[reportPrivateUsage]
    with serving(answer) as url:
        for choice in ("auto", "required"):
            body = json.dumps({"input": "x", "tools": HOSTED, "tool_choice": choice}).encode()
            code, body = post(url, body)
            assert code == 200
            check(body, "ResponseResource")
        _, refused = post(url, json.dumps({"input": "x", "tools": HOSTED[:1], "tool_choice": "required"}).encode())
    assert [[tool.name for tool in request.tools] for request in asked] == [["add"], ["add"]]
    assert "type web_search are left out: only functions are served" in refused["error"]["message"]
    told = [record.getMessage().split(" ")[3] for record in caplog.records if "left out" in record.getMessage()]
    assert sorted(told) == ["custom", "web_search"]


def test_functions_of_a_namespace_are_offered_and_called_by_both_names():
    asked: list[Request] = []

    def answer(request: Request) -> Response:
        asked.append(request)
        return Response(output=[FunctionCall(call_id="c", name="mcp__task__find", arguments="{}")])

    inner = {"type": "function", "name": "find", "description": "Find.", "parameters": {"type": "object"}}
    tools = [{"type": "namespace", "name": "mcp__task", "tools": [inner]}]
    with serving(answer) as url:
        _, body = post(url, json.dumps({"input": "x", "tools": tools}).encode())
        [call] = body["output"]
        assert (call["namespace"], call["name"]) == ("mcp__task", "find")
        result = {"type": "function_call_output", "call_id": "c", "output": "none"}
        code, _ = post(url, json.dumps({"input": [call, result], "tools": tools}).encode())
    assert code == 200
    assert [tool.name for tool in asked[0].tools] == ["mcp__task__find"]
    said = asked[1].input[0]
    assert isinstance(said, FunctionCall) and said.name == "mcp__task__find"


def test_an_item_is_resolved_by_its_id_within_a_rollout_that_is_recorded(tmp_path: Path):
    asked: list[Request] = []

    def answer(request: Request) -> Response:
        asked.append(request)
        return adder(request)

    with serving(answer, record=tmp_path) as url:
        OPENED.append(openai.OpenAI(base_url=f"{url}/rollouts/r/v1", api_key="none", max_retries=0, timeout=20))
        sdk = OPENED[-1]
        first = sdk.responses.create(model="m", input="0+1+1+1?", tools=[TOOL])  # type: ignore[list-item]
        references: Any = [{"type": "item_reference", "id": item.id} for item in first.output]
        outputs: Any = [{"type": "function_call_output", "call_id": f"c{n}", "output": "1"} for n in range(2)]
        question: Any = {"role": "user", "content": "0+1+1+1?"}
        second = sdk.responses.create(model="m", input=[question, *references, *outputs])
        with pytest.raises(
            openai.BadRequestError, match=r"this rollout holds no item with the id 'rs_x'.*store: false"
        ):
            sdk.responses.create(model="m", input=[question, {"type": "item_reference", "id": "rs_x"}])
        with pytest.raises(openai.BadRequestError, match=r"this server keeps no items.*store: false"):
            client(url).responses.create(model="m", input=[question, references[0]])
    assert second.output_text == "sum 2"
    kinds = [type(item).__name__ for item in asked[1].input]
    assert kinds == ["Message", "Reasoning", *["FunctionCall"] * 2, *["FunctionCallOutput"] * 2]
    assert asked[1].input[1].text == "hm"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("headers", "name"), [({}, "response.reasoning_text"), ({"OpenResponses-Version": "latest"}, "response.reasoning")]
)
def test_reasoning_streams_by_openais_names_or_by_the_specifications(headers: dict[str, str], name: str):
    with serving(lambda request: "<think>so</think>42") as url:
        found = [event for event in events(url, {"input": "x"}, headers) if event["type"].startswith(name + ".")]
    assert [(event["type"], event.get("delta"), event.get("text")) for event in found] == [
        (f"{name}.delta", "so", None),
        (f"{name}.done", None, "so"),
    ]
    for event in found:
        check_event(event) if headers else TypeAdapter(ResponseStreamEvent).validate_python(event)


ERRORS = {
    "overflow": (ContextOverflow("too long"), 400, "context_length_exceeded"),
    "refused": (ModelError("http_400", "no such knob", retryable=False), 400, "http_400"),
    "its key": (ModelError("http_401", "bad key", retryable=False), 401, "http_401"),
    "its money": (ModelError("http_402", "pay first", retryable=False), 402, "http_402"),
    "no such model": (ModelError("http_404", "no model x", retryable=False), 404, "http_404"),
    "it broke for good": (ModelError("script_ended", "no more", retryable=False), 502, "script_ended"),
    "slow down": (ModelError("http_429", "slow", retryable=True, retry_after_s=7), 429, "rate_limit_exceeded"),
    "overloaded": (ModelError("http_503", "busy", retryable=True), 503, "http_503"),
    "late": (ModelError("timeout", "late", retryable=True), 504, "timeout"),
    "down": (ModelError("connect", "refused", retryable=True), 502, "connect"),
}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("case", ERRORS)
def test_an_error_of_the_model_behind_has_its_status(case: str, streamed: bool):
    error, status, code = ERRORS[case]

    def answer(request: Request) -> str:
        raise error

    with serving(answer) as url, pytest.raises(openai.APIStatusError) as caught:
        client(url).responses.create(model="m", input="x", stream=streamed)  # type: ignore[call-overload]
    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert str(error) in caught.value.message
    assert caught.value.response.headers["x-should-retry"] == str(error.retryable).lower()
    if error.retry_after_s:
        assert caught.value.response.headers["retry-after"] == "7"


class Slow:
    """A model that takes its time, and tells when it was cancelled."""

    def __init__(self, seconds: float, error: ModelError | None = None) -> None:
        self.seconds, self.error, self.cancelled = seconds, error, False

    async def respond(self, request: Request) -> Response:
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if self.error:
            raise self.error
        return Response([Message("assistant", [Text("42")])])

    def identity(self) -> dict[str, str]:
        return {}

    async def aclose(self) -> None:
        return None


def test_an_error_after_the_stream_began_is_an_event():
    with serving(Slow(2.3, ModelError("timeout", "late", retryable=True))) as url:
        found = events(url, {"input": "x"})
    assert [event["type"] for event in found] == ["response.created", "response.in_progress", "response.failed"]
    for event in found:
        check_event(event)
    assert found[-1]["response"]["error"] == {"code": "timeout", "message": "late"}


@pytest.mark.parametrize("streamed", [False, True])
def test_a_caller_that_goes_away_cancels_the_call(streamed: bool):
    model = Slow(30)
    with serving(model) as url:
        with pytest.raises(openai.APITimeoutError):
            client(url).with_options(timeout=2.5).responses.create(model="m", input="x", stream=False)
        if streamed:
            model.cancelled = False
            stream = client(url).responses.create(model="m", input="x", stream=True)
            assert next(iter(stream)).type == "response.created"
            stream.close()
        deadline = time.monotonic() + 5
        while not model.cancelled and time.monotonic() < deadline:
            time.sleep(0.02)
    assert model.cancelled


def test_models_and_health_and_what_is_not_there():
    with serving(lambda request: "42") as url:
        sdk = client(url)
        assert [model.id for model in sdk.models.list()] == ["m"]
        assert sdk.models.retrieve("m").id == "m"
        with pytest.raises(openai.NotFoundError):
            sdk.models.retrieve("gpt-5")
        with pytest.raises(openai.NotFoundError):
            sdk.embeddings.create(model="m", input="x")
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            assert json.load(answer) == {"status": "ok"}


def test_a_key_is_wanted_where_there_is_one():
    with serving(lambda request: "42", key="sk-secret") as url:
        with pytest.raises(openai.AuthenticationError, match="wants its key"):
            client(url, "sk-wrong").responses.create(model="m", input="x")
        assert client(url, "sk-secret").responses.create(model="m", input="x").output_text == "42"
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            assert answer.status == 200


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=400)
CITATION = {"type": "url_citation", "url": "u", "start_index": 0, "end_index": 1, "title": "t"}
ANNOTATIONS = st.lists(st.sampled_from([CITATION]), max_size=2)
PARTS = st.one_of(st.builds(Text, TEXT, ANNOTATIONS), st.builds(Refusal, TEXT))
ITEMS = st.one_of(
    st.builds(
        Message,
        role=st.just("assistant"),
        content=st.lists(PARTS, max_size=3),
        phase=st.sampled_from([None, "commentary", "final_answer"]),
    ),
    st.builds(
        Reasoning,
        summary=st.lists(st.builds(SummaryText, TEXT), max_size=2),
        content=st.none() | st.lists(st.builds(ReasoningText, TEXT), min_size=1, max_size=2),
        encrypted_content=st.none() | TEXT,
    ),
    st.builds(FunctionCall, call_id=st.text("abc", min_size=1), name=st.just("add"), arguments=TEXT),
)
RESPONSES = st.builds(
    Response,
    output=st.lists(ITEMS, max_size=5),
    status=st.sampled_from(["completed", "incomplete"]),
    incomplete_reason=st.sampled_from(["max_output_tokens", "content_filter"]),
    usage=st.sampled_from([Usage(), USAGE]),
    model=st.sampled_from([None, "exactly-m"]),
    tokens=st.sampled_from([None, TokenIds([1, 2], [3], [-0.5])]),
).map(lambda made: made if made.status == "incomplete" else msgspec.structs.replace(made, incomplete_reason=None))


@pytest.mark.heavy
@given(RESPONSES)
@settings(max_examples=200)
def test_whatever_a_model_answers_is_served_by_the_specification(made: Response):
    call = responses.parse(b'{"input": "x", "return_token_ids": true}')
    draft = responses.begin_response(call, model="m", sampling={})
    done = json.loads(msgspec.json.encode(responses.complete_response(call, draft, made)))
    check(done, "ResponseResource")
    told = [*responses.opening(draft), *responses.closing(done, "response.reasoning")]
    for number, event in enumerate(told):
        check_event(json.loads(msgspec.json.encode({**event, "sequence_number": number})))
    assert told[-1]["type"] == f"response.{made.status}"


def plain(made: Response) -> Response:
    """Without what a server adds: ids of items and of the response, an item's status."""
    output = [msgspec.structs.replace(item, id=None, status=None) for item in made.output]
    return msgspec.structs.replace(made, output=output, id=None, model=None)


@given(st.lists(RESPONSES, min_size=1, max_size=5), st.booleans())
@settings(max_examples=15)
def test_our_own_client_reads_back_what_the_model_answered(made: list[Response], stream: bool):
    """Through two real connections: client, server, model."""
    left = iter(made)

    async def main(url: str) -> list[Response]:
        extra: Any = {"return_token_ids": True}
        config = ModelConfig(
            dialect="responses", id="m", base_url=f"{url}/v1", stream=stream, extra_body=extra, reasoning="none"
        )
        model = connect(config)
        try:
            return [await model.respond(Request(input=[Message("user", "x")])) for _ in made]
        finally:
            await close(model)

    with serving(lambda request: next(left)) as url:
        got = asyncio.run(main(url))
    assert [plain(answer) for answer in got] == [plain(answer) for answer in made]

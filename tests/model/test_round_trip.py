"""Round trips through the dialects: what a wire can hold, comes back as it was."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from assay.config import ModelConfig
from assay.model import Model, connect
from assay.model.dialects.chat.client import messages
from assay.model.dialects.chat.server import ChatCall, completion, parse
from assay.model.dialects.chat.wire import reasoning_item
from assay.model.dialects.responses.wire import wire_items
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
from tests.endpoint import Call, Endpoint, http

# Surrogates have no UTF-8, so no JSON text holds one.
characters = st.characters(exclude_categories=["Cs"])
some = st.text(characters, max_size=8)
words = st.text(characters, min_size=1, max_size=8)
numbers = st.integers(0, 2**40)
images = st.builds(
    InputImage,
    image_url=st.sampled_from(["https://example.org/a.png", "data:image/png;base64,iVBORw0KGgo="]),
    detail=st.sampled_from(["auto", "low", "high"]),
)
prompts = st.lists(st.builds(InputText, text=some) | images, min_size=1, max_size=3)
details = st.lists(
    st.fixed_dictionaries({"type": st.just("reasoning.encrypted"), "data": some, "index": numbers}), min_size=1
)


# ---- Chat Completions: conversations


@st.composite
def asked(draw: st.DrawFn) -> list[Item]:
    role = draw(st.sampled_from(["system", "developer", "user"]))
    return [Message(role=role, content=draw(some | prompts if role == "user" else some))]


@st.composite
def answered(draw: st.DrawFn) -> list[Item]:
    """What a model said in one go, as Chat Completions can tell it: thought, said, called; then the tools' outputs."""
    refusal = [Refusal(refusal=draw(words))] if draw(st.booleans()) else []
    said = [Message(role="assistant", content=[Text(text=draw(words)), *refusal])]
    reasoning = draw(st.none() | st.builds(reasoning_item, words, st.none() | details))
    names = [f"c{draw(st.integers(0, 99))}_{index}" for index in range(draw(st.integers(0, 3)))]
    calls = [FunctionCall(call_id=name, name=draw(words), arguments=draw(some)) for name in names]
    outputs = [FunctionCallOutput(call_id=name, output=draw(some | prompts)) for name in names]
    says = said if not calls or draw(st.booleans()) else []
    return [*([reasoning] if reasoning else []), *says, *calls, *outputs]


@st.composite
def conversations(draw: st.DrawFn) -> list[Item]:
    """After a message of the model's somebody else speaks: what it says in one go is one message to Chat Completions,
    with the thoughts first and the calls last, so that their order among themselves is lost."""
    items: list[Item] = []
    for part in draw(st.lists(asked() | answered(), min_size=1, max_size=6)):
        own = bool(items) and isinstance(items[-1], Message) and items[-1].role == "assistant"
        items += [*draw(asked()), *part] if own else part
    return items


def as_told(items: list[Item]) -> list[Item]:
    """What Chat Completions can't hold, taken away: reasoning before the last user message, its text where it goes back
    as `reasoning_details`, and whether text without images is a string or comes in parts. Ids, status and what other
    APIs encrypt are never there to begin with."""
    users = [index for index, item in enumerate(items) if isinstance(item, Message) and item.role == "user"]
    since = users[-1] if users else -1
    kept = [item for index, item in enumerate(items) if index > since or not isinstance(item, Reasoning)]
    return [told_item(item) for item in kept]


def told_item(item: Item) -> Item:
    match item:
        case Message():
            return structs.replace(item, content=plain(item.content))
        case FunctionCallOutput():
            return structs.replace(item, output=plain(item.output))
        case Reasoning():
            return structs.replace(item, content=None) if item.encrypted_content else item
        case FunctionCall():
            return item


def plain(content: Any) -> Any:
    if isinstance(content, str) or not all(isinstance(part, InputText) for part in content):
        return content
    return "".join(part.text for part in content)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(conversations())
def test_a_conversation_comes_back_from_chat_messages(items: list[Item]):
    sent = msgspec.json.encode({"messages": messages(items, "reasoning_content")})
    assert as_told(parse(sent).request.input) == as_told(items)


def test_what_chat_messages_lose_is_known():
    items: list[Item] = [
        Reasoning(summary=[SummaryText(text="s")], encrypted_content="gAAA", id="rs_1", status="completed"),
        FunctionCall(call_id="c", name="add", arguments="{}", id="fc_1", status="completed"),
        Message(role="assistant", content=[Text(text="x", annotations=[1])], id="m", status="completed", phase="p"),
    ]
    sent = msgspec.json.encode({"messages": messages(items, "reasoning")})
    assert parse(sent).request.input == [
        reasoning_item("s", None),
        Message(role="assistant", content=[Text(text="x")]),
        FunctionCall(call_id="c", name="add", arguments="{}"),
    ]


# ---- requests and responses, over a real server


def exchanged(config: ModelConfig) -> Iterator[Callable[[bytes, Request], tuple[bytes, Response]]]:
    """A function that gives what a request was as JSON, and the response that a body becomes."""
    body = b""

    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(http(body))

    with Endpoint(behave) as endpoint, asyncio.Runner() as runner:
        model: Model = connect(structs.replace(config, base_url=endpoint.url))

        def exchange(answer: bytes, request: Request) -> tuple[bytes, Response]:
            nonlocal body
            body = answer
            response = runner.run(model.respond(request))
            return endpoint.calls.pop().body, response

        yield exchange
        runner.run(model.aclose())


@pytest.fixture(scope="module")
def chat():
    yield from exchanged(ModelConfig(dialect="chat", id="m", reasoning="field", logprobs=True))


@pytest.fixture(scope="module")
def responses():
    yield from exchanged(ModelConfig(dialect="responses", id="m", reasoning="field"))


ASK = Request(input=[Message(role="user", content="?")])
usages = st.builds(
    Usage, input_tokens=numbers, output_tokens=numbers, cached_tokens=numbers, reasoning_tokens=numbers
).map(lambda usage: usage if usage.input_tokens or usage.output_tokens else Usage())
logprobs = st.floats(-50, 0)
tools = st.builds(
    Tool,
    name=st.sampled_from(["add", "find"]),
    parameters=st.just({"type": "object", "properties": {"a": {"type": "integer"}}}),
    description=st.none() | some,
    strict=st.none() | st.booleans(),
)
requests = st.builds(
    Request,
    input=st.just(ASK.input),
    sampling=st.builds(
        Sampling,
        temperature=st.none() | st.floats(0, 2),
        top_p=st.none() | st.floats(0, 1),
        top_k=st.none() | st.integers(-1, 100),
        min_p=st.none() | st.floats(0, 1),
        presence_penalty=st.none() | st.floats(-2, 2),
        frequency_penalty=st.none() | st.floats(-2, 2),
        stop=st.none() | st.lists(words, min_size=1, max_size=3).map(tuple),
        max_output_tokens=st.none() | st.integers(1, 10**6),
    ),
    tools=st.lists(tools, min_size=1, max_size=2, unique_by=lambda tool: tool.name),
    tool_choice=st.sampled_from(["auto", "none", "required"]),
    parallel_tool_calls=st.none() | st.booleans(),
    format=st.sampled_from([None, JsonObject(), JsonSchema("n", {"type": "object"}, "d", True)]),
    seed=st.none() | numbers,
)
over_http = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@st.composite
def told(draw: st.DrawFn) -> Response:
    """A response that Chat Completions can tell: one thought, one message, calls."""
    (item, *more) = draw(answered())
    output = [part for part in (item, *more) if not isinstance(part, FunctionCallOutput)]
    reason = draw(st.none() | st.sampled_from(["max_output_tokens", "content_filter"]))
    ids = draw(st.lists(st.integers(0, 10**6), min_size=1, max_size=4))
    tokens = TokenIds(
        prompt=draw(st.lists(st.integers(0, 10**6), max_size=4)),
        output=ids,
        output_logprobs=draw(st.lists(logprobs, min_size=len(ids), max_size=len(ids))),
    )
    return Response(
        output=output,
        status="incomplete" if reason else "completed",
        incomplete_reason=reason,
        usage=draw(usages),
        model=draw(words),
        id=draw(words),
        tokens=draw(st.none() | st.just(tokens)),
    )


def without_status(response: Response) -> Response:
    """A chat message has no status of its own, so the client derives it."""
    output = [structs.replace(item, status=None) if isinstance(item, Message) else item for item in response.output]
    return structs.replace(response, output=output)


@over_http
@given(response=told())
def test_a_response_comes_back_from_a_chat_completion(response: Response, chat: Any):
    call = ChatCall(request=ASK, model=None, return_token_ids=True, logprobs=True)
    body = msgspec.json.encode(completion(response, call, "m"))
    _, back = chat(body, ASK)
    assert structs.replace(without_status(back), id=response.id) == response


@over_http
@given(request=requests)
def test_a_request_comes_back_from_chat_completions(request: Request, chat: Any):
    call = ChatCall(request=ASK, model=None)
    answer = msgspec.json.encode(completion(Response(output=[]), call, "m"))
    sent, _ = chat(answer, request)
    assert parse(sent).request == request


def test_a_chosen_tool_comes_back_from_chat_completions(chat: Any):
    answer = msgspec.json.encode(completion(Response(output=[]), ChatCall(request=ASK, model=None), "m"))
    request = structs.replace(
        ASK, tools=[Tool(name="add", parameters={"type": "object"})], tool_choice=NamedTool("add")
    )
    sent, _ = chat(answer, request)
    assert parse(sent).request == request


# ---- the Responses API

statuses = st.sampled_from(["completed", "incomplete"])
parts = st.builds(
    Text, text=some, annotations=st.lists(st.fixed_dictionaries({"type": words}), max_size=1)
) | st.builds(Refusal, refusal=some)
ids = st.integers(0, 10**6)
outputs = st.one_of(
    st.builds(
        Message,
        role=st.just("assistant"),
        content=st.lists(parts, max_size=3),
        id=words,
        status=statuses,
        phase=st.sampled_from([None, "commentary", "final_answer"]),
    ),
    st.builds(
        Reasoning,
        summary=st.lists(st.builds(SummaryText, text=some), max_size=2),
        content=st.none() | st.lists(st.builds(ReasoningText, text=some), min_size=1, max_size=2),
        encrypted_content=st.none() | words,
        id=words,
        status=st.none() | statuses,
    ),
    st.builds(FunctionCall, call_id=words, name=words, arguments=some, id=st.none() | words, status=statuses),
)
inputs = st.builds(Message, role=st.sampled_from(["system", "developer", "user"]), content=some | prompts) | st.builds(
    FunctionCallOutput, call_id=words, output=some | prompts
)


@st.composite
def any_response(draw: st.DrawFn) -> Response:
    reason = draw(st.none() | st.sampled_from(["max_output_tokens", "content_filter"]))
    tokens = st.builds(
        TokenIds, prompt=st.lists(ids), output=st.lists(ids, min_size=1), output_logprobs=st.lists(logprobs)
    )
    return Response(
        output=draw(st.lists(outputs, max_size=5)),
        status="incomplete" if reason else "completed",
        incomplete_reason=reason,
        usage=draw(usages),
        model=draw(words),
        id=draw(words),
        tokens=draw(st.none() | tokens),
    )


def api_body(response: Response) -> bytes:
    """The response object as the API writes it."""
    usage, tokens = response.usage, response.tokens
    reason = response.incomplete_reason
    return json.dumps(
        {
            "id": response.id,
            "object": "response",
            "model": response.model,
            "status": response.status,
            "error": None,
            "incomplete_details": {"reason": reason} if reason else None,
            "output": msgspec.to_builtins(response.output),
            "usage": {
                "input_tokens": usage.input_tokens,
                "input_tokens_details": {"cached_tokens": usage.cached_tokens},
                "output_tokens": usage.output_tokens,
                "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
                "total_tokens": usage.input_tokens + usage.output_tokens,
            },
            **(
                {
                    "prompt_token_ids": tokens.prompt,
                    "generation_token_ids": tokens.output,
                    "generation_log_probs": tokens.output_logprobs,
                }
                if tokens
                else {}
            ),
        }
    ).encode()


@over_http
@given(response=any_response())
def test_a_response_comes_back_from_the_responses_api(response: Response, responses: Any):
    assert responses(api_body(response), ASK)[1] == response


@given(st.lists(inputs | outputs, max_size=8), st.booleans())
def test_the_responses_api_is_sent_every_item(items: list[Item], stored: bool):
    """All but reasoning of which only an id came, which a server that keeps nothing can't look up; ids go with it."""
    back = msgspec.json.decode(msgspec.json.encode(wire_items(items, stored=stored)), type=list[Item])
    empty = [item for item in items if isinstance(item, Reasoning) and not (item.content or item.encrypted_content)]
    if empty and not stored:
        assert back == [structs.replace(item, id=None) for item in items if item not in empty]
    else:
        assert back == items

"""The Completions API: the prompt that is sent, and what becomes of the text that comes back."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.config import ModelConfig
from assay.errors import ModelError, UsageError
from assay.model import ContextOverflow, connect
from assay.types import (
    FunctionCall,
    FunctionCallOutput,
    InputImage,
    InputText,
    Item,
    JsonObject,
    Message,
    Reasoning,
    ReasoningText,
    Refusal,
    Request,
    Response,
    Sampling,
    Text,
    TokenIds,
    Tool,
    Usage,
)
from tests.endpoint import Behave, Call, Endpoint, http

USER = Message(role="user", content="2+2=")
CAP = Sampling(max_output_tokens=99)


def body(text: str, finish: str | None = "stop", **choice: Any) -> bytes:
    """A completion."""
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 3}}
    choices = [{"index": 0, "text": text, "finish_reason": finish, **choice}]
    return json.dumps(
        {"id": "c", "object": "text_completion", "model": "m", "choices": choices, "usage": usage}
    ).encode()


def replying(answer: bytes) -> Behave:
    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    return behave


async def echo(call: Call, writer: asyncio.StreamWriter) -> None:
    """What the prompt says comes back as the model's own text."""
    writer.write(http(body(call.json["prompt"])))


def ask(url: str, *items: Item, request: dict[str, Any] | None = None, **config: Any) -> Response:
    async def main() -> Response:
        model = connect(ModelConfig(dialect="completions", id="m", base_url=url, **config))
        try:
            return await model.respond(Request(input=list(items) or [USER], **{"sampling": CAP, **(request or {})}))
        finally:
            await model.aclose()

    return asyncio.run(main())


def exchange(answer: bytes, *items: Item, **config: Any) -> tuple[Any, Response]:
    """What was sent, and the response."""
    with Endpoint(replying(http(answer))) as endpoint:
        response = ask(endpoint.url, *items, **config)
        return endpoint.calls[0].json, response


@pytest.fixture(scope="module")
def mirror() -> Iterator[Endpoint]:
    with Endpoint(echo) as endpoint:
        yield endpoint


def test_a_request_is_a_prompt_and_its_sampling():
    asked = Sampling(temperature=0.6, top_p=0.9, top_k=20, min_p=0.1, stop=("\n\n",), max_output_tokens=99)
    extra = {"add_special_tokens": False, "chat_template_kwargs": {"enable_thinking": True}}
    sent, response = exchange(
        body("4"),
        request={"sampling": asked, "seed": 5, "task": "secret"},
        sampling=Sampling(presence_penalty=0.5, frequency_penalty=0.25, temperature=1.0),
        omit=["top_k"],
        extra_body=extra,
    )
    told = {"model": "m", "prompt": "2+2=", "stop": ["\n\n"], "max_tokens": 99, "seed": 5, "add_special_tokens": False}
    chances = {"temperature": 0.6, "top_p": 0.9, "min_p": 0.1, "presence_penalty": 0.5, "frequency_penalty": 0.25}
    assert sent == told | chances
    said = Message(role="assistant", content=[Text(text="4")], status="completed")
    usage = Usage(input_tokens=9, output_tokens=4, cached_tokens=3)
    assert response == Response(output=[said], usage=usage, model="m", id="c")


def test_without_a_template_several_messages_are_a_transcript():
    said = Message(role="assistant", content=[Text(text="4")])
    system = Message(role="system", content="Be brief.")
    sent, _ = exchange(body("6"), system, USER, said, Message(role="user", content=[InputText(text="<3+3>\n")]))
    assert sent["prompt"] == "System: Be brief.\n\nUser: 2+2=\n\nAssistant: 4\n\nUser: <3+3>\n\n\nAssistant:"


def test_a_template_gets_roles_contents_and_its_own_variables(tmp_path: Path, mirror: Endpoint):
    path = tmp_path / "t.jinja"
    path.write_text("{{ enable_thinking }} {{ messages | tojson }}")
    items = [
        USER,
        Message(role="assistant", content=[Refusal(refusal="No.")]),
        USER,
        Reasoning(content=[ReasoningText(text="hm")]),
        Message(role="assistant", content=[Text(text="4")]),
    ]
    kwargs = {"chat_template_kwargs": {"enable_thinking": "on"}}
    text = ask(mirror.url, *items, chat_template=str(path), extra_body=kwargs).text
    assert text.startswith("on ")
    user = {"role": "user", "content": "2+2="}
    final = {"role": "assistant", "content": "4", "reasoning_content": "hm"}
    assert json.loads(text[3:]) == [user, {"role": "assistant", "content": "No."}, user, final]


def opening(tmp_path: Path) -> str:
    path = tmp_path / "t.jinja"
    path.write_text("{{ messages[0].content }}{% if not off %}<think>\n{% else %}<think></think>{% endif %}")
    return str(path)


@pytest.mark.parametrize(
    ("reasoning", "text", "finish", "thought", "said"),
    [
        ("auto", "so</think>4", "stop", "so", "4"),
        ("auto", "so</think>4", "length", "so", "4"),
        ("auto", "so", "length", "so", None),
        ("auto", "so", "stop", "so", None),
        ("auto", "", "length", "", None),
        ("auto", "<think>so</think>4", "stop", "so", "4"),
        ("auto", "\n<think>\nso\n</think>\n\n4", "stop", "so", "4"),
        ("auto", "so</think>4<think>or", "length", "so\nor", None),
        ("tags", "so", "stop", "so", None),
        ("none", "so</think>4", "stop", "", "so</think>4"),
    ],
)
def test_a_text_after_an_opened_block_begins_in_thought(
    tmp_path: Path, reasoning: str, text: str, finish: str, thought: str, said: str | None
):
    _, response = exchange(body(text, finish), chat_template=opening(tmp_path), reasoning=reasoning)
    assert (response.reasoning, response.text) == (thought, said or "")
    assert any(isinstance(item, Message) for item in response.output) == (said is not None)
    assert response.status == ("incomplete" if finish == "length" else "completed")


def test_a_block_that_the_template_closes_or_the_user_opens_is_none(tmp_path: Path):
    off = {"chat_template_kwargs": {"off": True}}
    _, response = exchange(body("4", "length"), chat_template=opening(tmp_path), extra_body=off)
    assert (response.reasoning, response.text) == ("", "4")
    _, response = exchange(body("4", "length"), Message(role="user", content="What is <think> for?"))
    assert (response.reasoning, response.text) == ("", "4")


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<>")).map(lambda text: text.strip("\n"))


@pytest.mark.heavy
@given(words.filter(bool), words)
def test_reasoning_and_message_survive_the_way_there_and_back(mirror: Endpoint, thought: str, said: str):
    response = ask(mirror.url, Message(role="user", content=f"<think>\n{thought}\n</think>\n\n{said}"))
    assert (response.reasoning, response.text) == (thought, said)
    plain = ask(mirror.url, Message(role="user", content=said), reasoning="none")
    assert (plain.reasoning, plain.text) == ("", said)


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("stop", None), (None, None), ("length", "max_output_tokens"), ("content_filter", "content_filter")],
)
def test_an_answer_tells_why_it_ends(finish: str | None, reason: str | None):
    _, response = exchange(body("4", finish))
    assert (response.status, response.incomplete_reason) == ("incomplete" if reason else "completed", reason)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (body("4", "abort"), "finish_reason abort"),
        (body("", None), "no answer and no end"),
        (b'{"choices": []}', "no choices"),
        (b'{"error": {"message": "out of memory"}}', "out of memory"),
    ],
)
def test_what_is_no_answer_is_an_error(answer: bytes, words: str):
    with pytest.raises(ModelError, match=words):
        exchange(answer)


@pytest.mark.parametrize(
    ("logprobs", "kept"),
    [
        ({"tokens": ["4", ""], "token_logprobs": [-0.5, -0.25], "text_offset": [0, 1]}, [-0.5, -0.25]),
        ({"content": [{"token": "4", "logprob": -0.5}]}, [-0.5]),
        ({"token_logprobs": [None, -0.25]}, []),
        (None, []),
    ],
)
def test_token_ids_and_logprobs_are_kept_untouched(logprobs: Any, kept: list[float]):
    answer = body("4", logprobs=logprobs, token_ids=[5, 6], prompt_token_ids=[1, 2])
    sent, response = exchange(answer, logprobs=True, extra_body={"return_token_ids": True})
    assert (sent["logprobs"], sent["return_token_ids"]) == (1, True)
    assert response.tokens == TokenIds(prompt=[1, 2], output=[5, 6], output_logprobs=kept)


@pytest.mark.parametrize(
    ("what", "items", "request_"),
    [
        ("tools", [USER], {"tools": [Tool(name="add", parameters={})]}),
        ("tools", [USER, FunctionCall(call_id="c", name="add", arguments="{}")], {}),
        ("tools", [USER, FunctionCallOutput(call_id="c", output="4")], {}),
        ("a structured output format", [USER], {"format": JsonObject()}),
        ("images", [Message(role="user", content=[InputImage(image_url="https://example.org/a.png")])], {}),
    ],
)
def test_what_no_prompt_can_hold_is_told_and_not_sent(
    mirror: Endpoint, what: str, items: list[Item], request_: dict[str, Any]
):
    before = len(mirror.calls)
    with pytest.raises(ModelError, match=f"so {what} can't be sent") as error:
        ask(mirror.url, *items, request=request_)
    assert (error.value.kind, error.value.retryable) == ("unsupported", False)
    assert len(mirror.calls) == before


def test_a_missing_cap_is_told_and_not_sent(mirror: Endpoint):
    before = len(mirror.calls)
    with pytest.raises(ModelError, match=r"16 tokens.*sampling\.max_output_tokens"):
        ask(mirror.url, request={"sampling": Sampling()})
    assert len(mirror.calls) == before
    for config in ({"sampling": CAP}, {"extra_body": {"max_tokens": 7}}, {"omit": ["max_tokens"]}):
        assert ask(mirror.url, request={"sampling": Sampling()}, **config).text == "2+2="


def test_a_prompt_that_does_not_fit_is_never_asked_without_a_cap():
    said = b'{"error": {"message": "This model\'s maximum context length is 8 tokens"}}'
    with Endpoint(replying(http(said, 400))) as endpoint:
        with pytest.raises(ContextOverflow, match="8 tokens"):
            ask(endpoint.url)
        assert all(call.json["max_tokens"] >= 8 for call in endpoint.calls)


def test_messages_that_the_template_refuses_are_told(tmp_path: Path, mirror: Endpoint):
    path = tmp_path / "t.jinja"
    path.write_text("{{ raise_exception('no system role') }}")
    with pytest.raises(ModelError, match="no system role") as error:
        ask(mirror.url, chat_template=str(path))
    assert not error.value.retryable


def test_a_stream_is_the_same_answer():
    chunks = [
        {"choices": [{"text": "<think>s", "token_ids": [5], "prompt_token_ids": [1, 2]}]},
        {"choices": [{"text": "o</think>4", "token_ids": [6], "logprobs": {"token_logprobs": [-0.5]}}]},
        {"choices": [{"text": "", "finish_reason": "length"}]},
        {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}},
    ]
    stream = b"".join(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks) + b"data: [DONE]\n\n"
    with Endpoint(replying(http(stream, kind="text/event-stream"))) as endpoint:
        response = ask(endpoint.url, stream=True)
        sent = endpoint.calls[0].json
    assert (sent["stream"], sent["stream_options"]) == (True, {"include_usage": True})
    assert (response.reasoning, response.text, response.incomplete_reason) == ("so", "4", "max_output_tokens")
    assert response.usage == Usage(input_tokens=9, output_tokens=4)
    assert response.tokens == TokenIds(prompt=[1, 2], output=[5, 6], output_logprobs=[-0.5])
    cut = stream[: stream.index(b'"finish_reason"')]
    with Endpoint(replying(http(cut, kind="text/event-stream"))) as endpoint, pytest.raises(ModelError) as error:
        ask(endpoint.url, stream=True)
    assert error.value.kind == "stream_cut"


def test_the_template_is_part_of_the_identity_and_where_it_lies_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def identity(name: str, text: str) -> dict[str, Any]:
        Path(name).write_text(text)
        config = ModelConfig(dialect="completions", id="m", base_url="http://127.0.0.1:9/v1", chat_template=name)
        return config.identity() | connect(config).identity()

    assert identity("a.jinja", "x") == identity("b.jinja", "x")
    assert identity("a.jinja", "x") != identity("a.jinja", "y")
    with pytest.raises(UsageError, match=r"c\.jinja can't be read"):
        connect(ModelConfig(dialect="completions", base_url="http://127.0.0.1:9/v1", chat_template="c.jinja"))

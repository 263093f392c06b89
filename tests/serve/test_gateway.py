"""The recording gateway: what an agent said that knows only a base URL, is in its rollout's file."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import openai
import pytest

from assay.errors import InputError, ModelError, UsageError
from assay.model.builtin.function import FunctionModel
from assay.model.dialects.serving import BadRequest
from assay.model.wrappers.record import conversation
from assay.serve.gateway import AnsweredCall, Call, CallSettings, FailedCall, Gateway
from assay.types import (
    Failure,
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
    Turn,
    Usage,
)
from tests.serve.served import serving

TOOL: Any = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}


def user(text: str) -> Message:
    return Message(role="user", content=text)


def said(text: str) -> Message:
    return Message(role="assistant", content=[Text(text)])


def adds_twice(request: Request) -> Response:
    """Two calls at once, then one with a word beside it, then an answer."""
    outputs = sum(isinstance(item, FunctionCallOutput) for item in request.input)
    thought = Reasoning(content=[ReasoningText(f"{outputs} so far")], id="rs", encrypted_content="E")

    def call(name: str) -> FunctionCall:
        return FunctionCall(call_id=name, name="add", arguments='{"a":1, "b":[2]}', id=f"fc_{name}")

    made: dict[int, list[Item]] = {0: [call("a"), call("b")], 2: [said("Hm."), call("c")], 3: [said("6")]}
    return Response(output=[thought, *made[outputs]], usage=Usage(input_tokens=9, output_tokens=4))


def agent(url: str, *, arguments: Callable[[str], str]) -> list[dict[str, Any]]:
    """An agent that anyone might write: it knows nothing of Assay. Gives the messages of its whole conversation."""
    messages: list[Any] = [{"role": "system", "content": "Add."}, {"role": "user", "content": "1+2+3?"}]
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        while True:
            answer = client.chat.completions.create(model="m", messages=messages, tools=[TOOL], temperature=0.5)
            message = answer.choices[0].message
            if not message.tool_calls:
                return [*messages, {"role": "assistant", "content": message.content}]
            calls = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.function.name, "arguments": arguments(call.function.arguments)},
                }
                for call in message.tool_calls
                if call.type == "function"
            ]
            messages.append({"role": "assistant", "content": message.content or "", "tool_calls": calls})
            messages += [{"role": "tool", "tool_call_id": call["id"], "content": "3"} for call in calls]


def anonymous(items: list[Item]) -> list[Item]:
    """Items without the ids that the gateway made up."""
    return [msgspec.structs.replace(item, id=None) for item in items]


def turns_of(calls: list[Call]) -> list[Turn]:
    return [call.turn for call in calls if isinstance(call, AnsweredCall)]


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize("arguments", [str, lambda text: json.dumps(json.loads(text), indent=1)], ids=["kept", "again"])
def test_an_agent_that_knows_only_a_base_url_is_recorded_turn_by_turn(tmp_path: Path, arguments: Callable[[str], str]):
    with serving(adds_twice, record=tmp_path) as url:
        messages = agent(f"{url}/rollouts/r-1/v1", arguments=arguments)
    assert messages[-1]["content"] == "6"
    calls = msgspec.json.Decoder(Call).decode_lines((tmp_path / "r-1.jsonl").read_bytes())
    turns = turns_of(calls)
    outputs = {name: FunctionCallOutput(call_id=name, output="3") for name in "abc"}
    first = [Message(role="system", content="Add."), user("1+2+3?")]
    assert [turn.input for turn in turns] == [first, [outputs["a"], outputs["b"]], [outputs["c"]]]
    assert [turn.follows for turn in turns] == [None, None, None]
    whole = [*conversation(turns, 2), *turns[2].response.output]
    made = [adds_twice(Request(input=conversation(turns, index))).output for index in range(3)]
    assert anonymous(whole) == anonymous([*first, *made[0], *turns[1].input, *made[1], *turns[2].input, *made[2]])
    assert all(item.id for turn in turns for item in turn.response.output)
    assert turns[0].response.usage == Usage(input_tokens=9, output_tokens=4)
    asked = CallSettings(Sampling(temperature=0.5), [Tool("add", TOOL["function"]["parameters"])])
    assert [call.asked for call in calls] == [asked, 0, 0]


def test_what_was_recorded_is_served(tmp_path: Path):
    with serving(adds_twice, record=tmp_path) as url:
        agent(f"{url}/rollouts/r-1/v1", arguments=str)
        with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
            shown: Any = client.get("/rollouts/r-1", cast_to=object)
            with pytest.raises(openai.NotFoundError, match="no call of rollout r-2"):
                client.get("/rollouts/r-2", cast_to=object)
            with pytest.raises(openai.BadRequestError, match="not beginning with a dot"):
                client.get("/rollouts/.r", cast_to=object)
    assert shown["turns"] == lines(tmp_path / "r-1.jsonl")


# ---- the gateway itself


def ask(gateway: Gateway, *inputs: list[Item], rollout: str = "r", **settings: Any) -> None:
    async def main() -> None:
        for items in inputs:
            await gateway.model(rollout).respond(Request(input=items, **settings))

    asyncio.run(main())


def echo() -> FunctionModel:
    return FunctionModel(lambda request: Response(output=[said(str(len(request.input)))]))


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "../a", "a b", "é", "a\n", "x" * 129, "a\0"])
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str):
    gateway = Gateway(echo(), tmp_path / "in")
    for use in (gateway.model, gateway.turns):
        with pytest.raises(BadRequest, match="expected 1 to 128") as caught:
            use(name)
        assert caught.value.status == 400
    assert list(tmp_path.rglob("*")) == [tmp_path / "in"]
    gateway.close()


def test_a_call_without_an_answer_is_a_line_that_invents_none(tmp_path: Path):
    def answer(request: Request) -> Response:
        if len(request.input) == 3:
            raise ModelError("http_500", "the server broke", retryable=True)
        if len(request.input) == 5:
            raise ZeroDivisionError("a bug")
        return Response(output=[said("x")])

    first: list[Item] = [user("1")]
    second = [*first, said("x"), user("2")]
    third = [*second, said("y"), user("3")]
    gateway = Gateway(FunctionModel(answer), tmp_path)
    ask(gateway, first, seed=7)
    with pytest.raises(ModelError, match="the server broke"):
        ask(gateway, second)
    with pytest.raises(ZeroDivisionError):
        ask(gateway, third)
    ask(gateway, [*second, user("3")])
    one, failed, broke, two = gateway.turns("r")
    assert isinstance(failed, FailedCall) and isinstance(broke, FailedCall)
    assert (one.seed, failed.seed) == (7, None)
    assert (failed.input, failed.follows) == ([user("2")], 0)
    assert failed.failure == Failure(where="model", kind="http_500", message="the server broke", retryable=True)
    assert (broke.failure.kind, broke.failure.message) == ("exception", "ZeroDivisionError: a bug")
    assert "response" not in lines(tmp_path / "r.jsonl")[1]
    assert isinstance(two, AnsweredCall)
    assert (two.turn.input, two.turn.follows) == ([user("2"), user("3")], None)
    gateway.close()


def test_a_caller_that_goes_away_leaves_a_line(tmp_path: Path):
    class Never:
        async def respond(self, request: Request) -> Response:
            await asyncio.Event().wait()
            raise AssertionError

        def identity(self) -> dict[str, str]:
            return {}

        async def aclose(self) -> None:
            return None

    async def main(gateway: Gateway) -> None:
        asked = asyncio.create_task(gateway.model("r").respond(Request(input=[user("1")])))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked

    gateway = Gateway(Never(), tmp_path)
    asyncio.run(main(gateway))
    (call,) = gateway.turns("r")
    assert isinstance(call, FailedCall)
    assert (call.failure.where, call.failure.kind) == ("agent", "cancelled")
    gateway.close()


def test_settings_are_told_where_they_are_new(tmp_path: Path):
    gateway = Gateway(echo(), tmp_path)
    hot, cold = Sampling(temperature=1.0), Sampling(temperature=0.0)
    for sampling in (hot, cold, hot, cold):
        ask(gateway, [user("1")], sampling=sampling)
    assert [call.asked for call in gateway.turns("r")] == [CallSettings(hot), CallSettings(cold), 0, 1]
    gateway.close()


@pytest.mark.parametrize("torn", [b"", b'{"type": "turn", "at"'])
def test_a_restarted_gateway_goes_on_with_the_file(tmp_path: Path, torn: bytes):
    numbers: list[int] = []

    def answer(request: Request) -> Response:
        numbers.append(request.turn)
        return Response(output=[said(str(len(request.input)))])

    one: list[Item] = [user("1")]
    two: list[Item] = [user("2")]
    gateway = Gateway(FunctionModel(answer), tmp_path)
    ask(gateway, one, two, sampling=Sampling(top_k=3))
    gateway.close()
    path = tmp_path / "r.jsonl"
    before = path.read_bytes()
    path.write_bytes(before + torn)
    gateway = Gateway(FunctionModel(answer), tmp_path)
    assert len(gateway.turns("r")) == 2
    more: list[Item] = [*one, said("1"), user("1+")]
    ask(gateway, more, sampling=Sampling(top_k=3))
    assert path.read_bytes().startswith(before)
    calls = gateway.turns("r")
    turns = turns_of(calls)
    assert (turns[2].input, turns[2].follows) == ([user("1+")], 0)
    assert anonymous(conversation(turns, 2)) == more
    assert [call.asked for call in calls] == [CallSettings(Sampling(top_k=3)), 0, 0]
    assert numbers == [0, 1, 2]
    assert turns[0].started_s == 0.0 <= turns[1].started_s <= turns[2].started_s
    gateway.close()


def test_an_idle_rollout_is_forgotten_and_goes_on_from_its_file(tmp_path: Path):
    gateway = Gateway(echo(), tmp_path, idle_s=0.1)
    first: list[Item] = [user("1")]
    ask(gateway, first, rollout="a")
    (tmp_path / "a.jsonl").write_bytes(b"{}\n")
    ask(gateway, first, rollout="a")  # what is there is not read while the rollout is known
    (tmp_path / "a.jsonl").write_bytes(b"{}\n")
    time.sleep(0.2)
    ask(gateway, first, rollout="b")
    with pytest.raises(InputError, match=r"a\.jsonl, line 1"):
        ask(gateway, first, rollout="a")
    ask(gateway, [*first, said("1"), user("2")], rollout="b")
    assert [turn.input for turn in turns_of(gateway.turns("b"))] == [first, [user("2")]]
    gateway.close()


def test_a_folder_is_recorded_into_by_one_gateway(tmp_path: Path):
    first = Gateway(echo(), tmp_path)
    with pytest.raises(UsageError, match="another gateway records into"):
        Gateway(echo(), tmp_path)
    first.close()
    Gateway(echo(), tmp_path).close()
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="can't hold recorded rollouts"):
        Gateway(echo(), tmp_path / "file")

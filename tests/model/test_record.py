"""The recorder: whatever an agent does to its history, each turn can be rebuilt and each item is stored once."""

import asyncio
import json
from itertools import count
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.model.builtin.function import FunctionModel
from assay.model.wrappers.record import Recorder, conversation
from assay.types import (
    FunctionCall,
    FunctionCallOutput,
    InputImage,
    InputText,
    Item,
    Message,
    Reasoning,
    ReasoningText,
    Refusal,
    Request,
    Response,
    Sampling,
    Text,
    Turn,
)


def recorder(model: Any) -> Recorder:
    return Recorder(model, sampling=Sampling(), seed=0, task="t", repeat=0)


def user(text: str) -> Message:
    return Message(role="user", content=text)


def said(text: str, **more: Any) -> Message:
    return Message(role="assistant", content=[Text(text=text)], **more)


def thought(text: str) -> Reasoning:
    return Reasoning(content=[ReasoningText(text=text)], id="rs")


def call(name: str, arguments: str = '{"a": [1, 2.0], "b": "x"}') -> FunctionCall:
    return FunctionCall(call_id=name, name="add", arguments=arguments, id=f"fc_{name}", status="completed")


def output(name: str) -> FunctionCallOutput:
    return FunctionCallOutput(call_id=name, output="3")


def answers(*outputs: list[Item]) -> FunctionModel:
    left = iter(outputs)
    return FunctionModel(lambda _: Response(output=next(left)))


def record(model: FunctionModel, *inputs: list[Item]) -> list[Turn]:
    async def main() -> list[Turn]:
        kept = recorder(model)
        for items in inputs:
            await kept.respond(Request(input=items))
        return kept.turns

    return asyncio.run(main())


def words(items: list[Item]) -> list[Any]:
    """What was said, without what agents change."""
    found: list[Any] = []
    for item in items:
        match item:
            case Message():
                parts = [item.content] if isinstance(item.content, str) else item.content
                plain = [
                    part if isinstance(part, str) else part.text if isinstance(part, Text | InputText) else part
                    for part in parts
                ]
                said = "".join(plain) if all(isinstance(part, str) for part in plain) else tuple(plain)  # pyright: ignore
                found += [(item.role, said)] if said or item.role != "assistant" else []
            case FunctionCall():
                found.append((item.call_id, item.name, json.loads(item.arguments)))
            case FunctionCallOutput():
                found.append((item.call_id, item.text))
            case Reasoning():
                pass
    return found


def test_a_tool_loop_is_stored_item_by_item_once():
    outputs: list[list[Item]] = [[thought("1"), call("a"), call("b")], [said("Hm."), call("c")], [said("Done.")]]
    first: list[Item] = [Message(role="system", content="s"), user("u")]
    second = [*first, *outputs[0], output("a"), output("b")]
    third = [*second, *outputs[1], output("c")]
    turns = record(answers(*outputs), first, second, third)
    assert [turn.input for turn in turns] == [first, [output("a"), output("b")], [output("c")]]
    assert [turn.follows for turn in turns] == [None, None, None]
    assert [conversation(turns, index) for index in range(3)] == [first, second, third]
    assert b"follows" not in msgspec.json.encode(turns)


def test_an_agent_may_change_all_that_its_api_cannot_hold():
    image = InputImage(image_url="data:image/png;base64,AA")
    first: list[Item] = [Message(role="user", content=[InputText(text="What"), InputText(text="?"), image])]
    turns = record(
        answers([thought("1"), said(""), said("Hm.", id="m", status="completed"), call("a")], [said("Done.")]),
        first,
        [*first, Message(role="assistant", content="Hm."), call("a", '{"b":"x","a":[1,2.0]}'), output("a")],
    )
    assert (turns[1].input, turns[1].follows) == ([output("a")], None)


@pytest.mark.parametrize(
    "changed",
    [
        [user("v"), said("1"), user("w")],
        [Message(role="developer", content="u"), said("1"), user("w")],
        [user("u"), said("2"), user("w")],
        [user("u"), Message(role="assistant", content=[Refusal(refusal="1")]), user("w")],
        [user("u"), user("w")],
        [FunctionCallOutput(call_id="user", output="u"), said("1"), user("w")],
        [Message(role="user", content=[InputText(text="u"), InputImage(image_url="x")]), said("1"), user("w")],
    ],
)
def test_a_history_that_says_something_else_starts_anew(changed: list[Item]):
    turns = record(answers([said("0")], [said("1")], [said("2")]), [user("0")], [user("u")], changed)
    assert (turns[2].input, turns[2].follows) == (changed, -1)
    assert conversation(turns, 2) == changed


def test_conversations_may_take_turns_and_be_asked_again():
    one: list[Item] = [user("1")]
    two: list[Item] = [user("2")]
    more: list[Item] = [*one, said("a"), user("1+")]
    turns = record(
        answers([said("a")], [said("b")], [said("c")], [said("d")], [said("e")]),
        one,
        two,
        more,
        [*two, said("b"), user("2+")],
        more,
    )
    assert [turn.follows for turn in turns] == [None, -1, 0, 1, 0]
    assert [len(turn.input) for turn in turns] == [1] * 5
    assert conversation(turns, 4) == more


def test_two_calls_in_flight_are_kept_in_the_order_in_which_they_end():
    gates = {"1": asyncio.Event(), "2": asyncio.Event()}
    asked: list[tuple[int, int | None]] = []

    class Slow:
        async def respond(self, request: Request) -> Response:
            asked.append((request.turn, request.seed))
            last = request.input[-1]
            assert isinstance(last, Message)
            if last.text in gates:
                await gates[last.text].wait()
            return Response(output=[said(f"to {last.text}")])

    async def main() -> list[Turn]:
        kept = recorder(Slow())
        first, second = (asyncio.create_task(kept.respond(Request(input=[user(text)]))) for text in "12")
        await asyncio.sleep(0)
        gates["2"].set()
        await second
        await kept.respond(Request(input=[user("2"), said("to 2"), user("3")]))
        gates["1"].set()
        await first
        await kept.respond(Request(input=[user("1"), said("to 1"), user("4")]))
        return kept.turns

    turns = asyncio.run(main())
    assert asked == [(0, 0), (1, 1), (2, 2), (3, 3)]
    assert [turn.response.text for turn in turns] == ["to 2", "to 3", "to 1", "to 4"]
    assert [turn.follows for turn in turns] == [None, None, -1, None]
    assert conversation(turns, 3) == [user("1"), said("to 1"), user("4")]


@given(st.data())
def test_each_turn_is_rebuilt_and_only_what_is_new_is_stored(data: st.DataObject):
    numbers = count()
    texts = st.sampled_from(["", "a", "b"])

    def answer(request: Request) -> Response:
        number = next(numbers)
        kinds = data.draw(st.lists(st.sampled_from(["reasoning", "message", "call"]), max_size=3), label="answer")
        made: dict[str, Item] = {
            "reasoning": thought("hm"),
            "message": said(data.draw(texts), id=f"m{number}"),
            "call": call(f"c{number}"),
        }
        return Response(output=[made[kind] for kind in kinds])

    async def main() -> tuple[list[Turn], list[list[Item]], list[list[Item]]]:
        kept = recorder(FunctionModel(answer))
        sent: list[list[Item]] = []
        new: list[list[Item]] = []
        for _ in range(data.draw(st.integers(1, 8), label="turns")):
            earlier = data.draw(st.integers(-1, len(sent) - 1), label="goes on from")
            items = [] if earlier < 0 else changed([*sent[earlier], *kept.turns[earlier].response.output])
            new.append([user(text) for text in data.draw(st.lists(texts, min_size=1, max_size=2), label="new")])
            sent.append([*items, *new[-1]])
            await kept.respond(Request(input=sent[-1]))
        return kept.turns, sent, new

    def changed(items: list[Item]) -> list[Item]:
        how = data.draw(st.sampled_from(["same", "equal", "bare"]), label="sent back")
        if how == "equal":
            return msgspec.json.decode(msgspec.json.encode(items), type=list[Item])
        if how == "same":
            return items
        return [msgspec.structs.replace(item, id=None) for item in items if not isinstance(item, Reasoning)]

    turns, sent, new = asyncio.run(main())
    for index, turn in enumerate(turns):
        assert words(conversation(turns, index)) == words(sent[index])
        assert turn.follows is None or -1 <= turn.follows < index - 1
        assert len(words(turn.input)) <= len(new[index])


def test_a_damaged_order_of_turns_is_told():
    turns = [Turn(input=[], response=Response(output=[]), follows=0)]
    with pytest.raises(ValueError, match="turn 0 follows turn 0"):
        conversation(turns, 0)

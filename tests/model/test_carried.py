"""Token ids that are carried from turn to turn, with a token a character and `~` at the end of an answer."""

from functools import partial
from typing import Any

import pytest

from assay.config import ModelConfig
from assay.model.dialects.calls import items_of
from assay.model.dialects.token_history import MOST, TokenHistory
from assay.types import FunctionCall, Message, Text

SAID = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
NEXT = [*SAID, {"role": "user", "content": "Hu"}]


def render(said: list[dict[str, Any]], begun: bool, form: str = "[{role}]{content}~\n") -> str:
    return "".join(form.format(**one) for one in said) + "[assistant]" * begun


def encode(text: str) -> list[int]:
    return list(map(ord, text))


def text_of(ids: list[int]) -> str:
    return "".join(map(chr, ids))


@pytest.fixture
def carried() -> TokenHistory:
    return TokenHistory(encode, "~")


def test_what_was_said_is_not_made_into_tokens_again(carried: TokenHistory):
    first = carried.prompt(SAID[:1], render)
    assert text_of(first) == "[user]Hi~\n[assistant]"
    carried.keep(SAID, render, first + encode("H-o~"), ended=True)
    assert text_of(carried.prompt(NEXT, render)) == "[user]Hi~\n[assistant]H-o~\n[user]Hu~\n[assistant]"


def test_an_answer_that_was_cut_gets_its_end(carried: TokenHistory):
    carried.keep(SAID, render, encode("[user]Hi~\n[assistant]H-o"), ended=False)
    assert text_of(carried.prompt(NEXT, render)) == "[user]Hi~\n[assistant]H-o~\n[user]Hu~\n[assistant]"


def test_ids_are_those_of_one_rollout_and_of_one_history(carried: TokenHistory):
    carried.keep(SAID, render, encode("[user]Hi~\n[assistant]H-o~"), ended=True, scope=("t", 0))
    plain = "[user]Hi~\n[assistant]Ho~\n[user]Hu~\n[assistant]"
    assert text_of(carried.prompt(NEXT, render, ("t", 1))) == plain
    other = [{"role": "user", "content": "He"}, *NEXT[1:]]
    assert text_of(carried.prompt(other, render, ("t", 0))) == plain.replace("Hi", "He")
    # A template that writes earlier messages otherwise, once more came, is followed.
    changing = partial(render, form="({role}){content}~\n")
    assert text_of(carried.prompt(NEXT, changing, ("t", 0))).startswith("(user)Hi~")


def test_the_oldest_conversation_is_given_up(carried: TokenHistory):
    for number in range(MOST + 1):
        carried.keep(SAID, render, encode("[user]Hi~\n[assistant]H-o~"), ended=True, scope=number)
    assert "H-o" not in text_of(carried.prompt(NEXT, render, 0))
    assert "H-o" in text_of(carried.prompt(NEXT, render, 1))


def items(text: str, scope: object = 0) -> list[Any]:
    return items_of(text, ModelConfig(dialect="local", id="x"), complete=True, scope=scope)


def test_calls_keep_their_arguments_as_written_and_have_ids_of_their_own():
    one = '<tool_call>{"name": "add", "arguments": {"a":  1}}</tool_call>'
    said, first, second = items(f"So: {one}{one}")
    assert said == Message(role="assistant", content=[Text(text="So:")], status="completed")
    assert isinstance(first, FunctionCall) and first.arguments == second.arguments == '{"a":  1}'
    assert len({first.call_id, second.call_id, items(one, 1)[0].call_id}) == 3
    assert items(one) == items(one)


@pytest.mark.parametrize("text", ["<tool_call>add(1)</tool_call>", '<tool_call>{"arguments": {}}', "<tool_call>", "1"])
def test_what_is_no_call_stays_text(text: str):
    (item,) = items(text)
    assert isinstance(item, Message) and item.text == text

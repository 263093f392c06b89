import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.benchmark.verify.number import numeric
from assay.config import THINKING_TAGS, ModelConfig, convert
from assay.errors import InputError
from assay.model.dialects.thinking import items, leftover, remedy, split
from assay.types import Response

CASES = Path(__file__).parents[3] / "shared/data/verifiers/cases.jsonl"


@pytest.mark.parametrize(
    ("text", "reasoning", "message"),
    [
        ("42", "", "42"),
        ("", "", ""),
        ("<think>so</think>42", "so", "42"),
        ("<think>\nso\n</think>\n\n42\n", "so", "42"),
        ("so</think>42", "so", "42"),
        ("<think>so</think>", "so", ""),
        ("<think>so", "so", None),
        ("<think>", "", None),
        ("<think>a</think>x<think>b</think>y", "a\nb", "xy"),
        ("<think>a</think>x<think>b", "a\nb", None),
        ("a</think>x<think>b</think>y", "a\nb", "xy"),
    ],
)
def test_split(text: str, reasoning: str, message: str | None):
    assert split(text) == (reasoning, message)


HARMONY = "<|channel|>analysis<|message|>"
FINAL = "<|end|><|start|>assistant<|channel|>final<|message|>"
CALL = "<|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>"


@pytest.mark.parametrize(
    ("text", "reasoning", "message"),
    [
        *((f"{tag}so{tag[0]}/{tag[1:]}42", "so", "42") for tag in THINKING_TAGS[:-1]),
        *((f"so{tag[0]}/{tag[1:]}42", "so", "42") for tag in THINKING_TAGS[:-1]),
        *((f"{tag}so", "so", None) for tag in THINKING_TAGS),
        ("<THINK>so</THINK>42", "so", "42"),
        ("<Thinking>so</thinking>42", "so", "42"),
        ("<think>so</think >42", "so", "42"),
        ("so</think\n>\n42", "so", "42"),
        ("<think>a</thinking>b</think>42", "a</thinking>b", "42"),
        ("<think>a</think>b</think>42", "a\nb", "42"),
        ("<think>so</think>42</think>", "so", "42"),
        ("<think>so</think>42\n</think>\n", "so", "42"),
        (f"{HARMONY}so{FINAL}42<|return|>", "so", "42"),
        (f"<|start|>assistant{HARMONY}so{FINAL}42", "so", "42"),
        (f"{HARMONY}so<|channel|>final <|constrain|>json<|message|>{{}}<|end|>", "so", "{}"),
        ("<|channel|>final<|message|>42<|return|>", "", "42"),
        (f"{HARMONY}so<|end|>{CALL}", "so", CALL),
        # What only looks like a tag, or is spoken of, is no thinking.
        ("[think] of 42", "", "[think] of 42"),
        (
            "Write `<think>` or '</think>' or \"[THINK]\": 42\n",
            "",
            "Write `<think>` or '</think>' or \"[THINK]\": 42\n",
        ),
        ("1 <thinks> 2", "", "1 <thinks> 2"),
        ("<answer>42</answer>", "", "<answer>42</answer>"),
        ("<think>a `</think>` b", "a `", "` b"),
    ],
)
def test_models_think_between_many_tags(text: str, reasoning: str, message: str | None):
    assert split(text) == (reasoning, message)


@pytest.mark.skipif(not CASES.exists(), reason="the cases are not beside the repository")
def test_public_cases_are_judged_as_a_person_would():
    cases = [json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines()]
    cases = [case for case in cases if case["kind"] == "thinking-tags"]
    assert cases
    for case in cases:
        assert numeric(Response(output=items(case["input"])), case["gold"]).reward == case["right"], case


def test_the_tags_are_those_of_the_settings():
    assert split("<plan>so</plan><think>42", ("<plan>",)) == ("so", "<think>42")
    assert split("<think>so</think>42", ()) == ("", "<think>so</think>42")
    config = convert({"dialect": "chat", "thinking_tags": ["<plan>"]}, ModelConfig, "assay.toml")
    assert config.thinking_tags == ("<plan>",)
    with pytest.raises(InputError, match="thinking_tags"):
        convert({"dialect": "chat", "thinking_tags": ["x"]}, ModelConfig, "assay.toml")


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("so</scratchpad>42", "</scratchpad>"),
        ("<|channel>thought\nso<channel|>42", "<|channel>"),
        ("<mm:think>so", "<mm:think>"),
        ("analysis<|channel|>", "<|channel|>"),
        ("the tag `</think>`", None),
        ("I think <b>42</b>", None),
    ],
)
def test_marks_that_are_left_over_are_found(text: str, mark: str | None):
    assert leftover(text) == mark


def test_the_remedy_fits_the_settings():
    assert "tags" in remedy("</think>", ModelConfig(dialect="chat", reasoning="field"))
    assert "thinking_tags" in remedy("</scratchpad>", ModelConfig(dialect="chat", reasoning="field"))


def test_a_block_left_open_leaves_no_message():
    assert [type(item).__name__ for item in items("<think>so", complete=False)] == ["Reasoning"]


@pytest.mark.parametrize(
    ("text", "complete", "opened", "kinds"),
    [
        ("so", False, True, ["Reasoning"]),
        ("so", False, False, ["Message"]),
        ("42", True, True, ["Message"]),
        ("so</think>4", False, True, ["Reasoning", "Message"]),
        ("<think>so", False, True, ["Reasoning"]),
        ("", False, True, []),
    ],
)
def test_a_text_that_was_cut_in_a_block_of_the_template(text: str, complete: bool, opened: bool, kinds: list[str]):
    assert [type(item).__name__ for item in items(text, complete=complete, opened=opened)] == kinds


@given(st.text(), st.text())
def test_what_is_thought_never_reaches_the_message(thought: str, said: str):
    thought, said = thought.replace("<", ""), said.replace("<", "")
    assert split(f"<think>{thought}</think>{said}") == (thought.strip("\n"), said.strip("\n"))

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.model.dialects.thinking import items, split


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

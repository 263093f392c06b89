import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.model.thinking import items, split


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


@given(st.text(), st.text())
def test_what_is_thought_never_reaches_the_message(thought: str, said: str):
    thought, said = thought.replace("<", ""), said.replace("<", "")
    assert split(f"<think>{thought}</think>{said}") == (thought.strip("\n"), said.strip("\n"))

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.benchmark.verify.integer import integer, read_integer
from assay.model.dialects.thinking import items
from assay.types import Response, Score


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("42", 42),
        ("42.", 42),
        ("The answer is 42.", 42),
        ("**42**", 42),
        ("= 42\n", 42),
        ("$42", 42),
        ("-7", -7),
        ("−7", -7),
        ("1,234", 1234),
        ("1,234,567.", 1234567),
        ("6 * 7 = 42", 42),
        ("6 apples, so 42", 42),
        (r"\boxed{42}", 42),
        (r"\boxed{ 1,234 } is it, not 7", 1234),
        ("0042", 42),
        ("", None),
        ("no idea", None),
        ("3.5", None),
        ("x42", None),
        ("42nd", None),
        ("4e2", 400),
        ("1/0", None),
        ("6.0", 6),
        (r"\boxed{7{,}250}", 7250),
        (r"\boxed{7\,250}", 7250),
        (r"\boxed{- 42}", -42),
        ("–42", -42),
        ("7 250", 7250),
        ("9" * 5000, None),
    ],
)
def test_what_is_read(text: str, answer: int | None):
    assert read_integer(text) == answer


@pytest.mark.parametrize("text", ["41", "420", "4,2", "4 2 1", "-42", "42.5", "0.42", "", "forty-two"])
def test_what_is_not_42(text: str):
    assert integer(Response(output=items(text)), 42).reward == 0


@given(st.integers(-(10**12), 10**12))
def test_an_integer_is_read_back_however_it_is_grouped(value: int):
    assert read_integer(f"It is {value}.") == read_integer(f"{value:,}") == value


@pytest.mark.parametrize("text", ["<think>42</think>", "<think>42", "42</think>", "<think>42</think>I don't know"])
def test_the_reasoning_is_not_looked_at(text: str):
    assert integer(Response(output=items(text)), 42) == Score(reward=0.0, answer=None)

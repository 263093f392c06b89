import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from assay.benchmark.verify.text import exact, matches, normalise, normalised
from assay.model.dialects.thinking import items
from assay.types import Response, Score

SAME = [
    ("Paris", "Paris"),
    ("paris", "Paris"),
    ("PARIS", "Paris"),
    ("Paris.", "Paris"),
    ("  Paris\n", "Paris"),
    ("**Paris**", "Paris"),
    ("“Paris”", "Paris"),
    ("(Paris)", "Paris"),
    ("`Paris`", "Paris"),
    ("the Beatles", "Beatles"),
    ("The  Lord of\nthe Rings", "lord of rings"),
    ("an apple", "apple"),
    ("well-known", "well known"),
    ("don't", "dont"),
    ("don’t", "don't"),
    ("Straße", "STRASSE"),
    ("ﬁne", "fine"),
    ("Ｐａｒｉｓ", "Paris"),
    ("Paris\u00a0France", "Paris France"),
    ("Pa\u200bris", "Paris"),
    ("re\u0301sume\u0301", "résumé"),
    ("1½", "1 1/2"),
    ("10²", "10^2"),
    ("−5", "-5"),
    ("Rock, paper, scissors!", "rock paper scissors"),
    ("A", "a"),
    ("U.S.", "US"),
    ("the U.S.A", "USA"),
    ("9 a.m.", "9 am"),
    ("The The", "the the"),
]
DIFFERENT = [
    ("", "Paris"),
    ("", ""),
    ("...", "!"),
    ("Paris, Texas", "Paris"),
    ("not Paris", "Paris"),
    ("Pariss", "Paris"),
    ("Pa ris", "Paris"),
    ("C", "C#"),
    ("C", "C++"),
    ("35", "3.5"),
    ("1000", "1,000"),
    ("5", "-5"),
    ("5", "5%"),
    ("5", "$5"),
    ("102", "10²"),
    ("11/2", "1½"),
    ("730", "7:30"),
    ("5", ".5"),
    ("resume", "résumé"),
    ("a", "the"),
    ("a", "an"),
    ("ab", "a.b"),
    ("Theatre", "atre"),
    ("another", "other"),
    ("Раris", "Paris"),
    ("Paris\nLyon", "Paris"),
    ("and", "&"),
    ("either or", "either/or"),
]


@pytest.mark.parametrize(("text", "accepted"), SAME)
def test_what_is_the_same_text(text: str, accepted: str):
    assert matches(text, [accepted])


@pytest.mark.parametrize(("text", "accepted"), DIFFERENT)
def test_what_is_another_text(text: str, accepted: str):
    assert not matches(text, [accepted])


def test_any_accepted_answer_will_do():
    said = Response(output=items("The U.S.A."))
    assert normalised(said, ["United States", "USA", "U.S.A."]) == Score(reward=1.0, answer="usa")
    assert normalised(said, ["United States", "America"]).reward == 0
    assert normalised(said, []).reward == 0


@pytest.mark.parametrize("text", ["Paris", " Paris\n"])
def test_what_is_exactly_the_answer(text: str):
    assert exact(Response(output=items(text)), ["Lyon", "Paris"]) == Score(reward=1.0, answer="Paris")


@pytest.mark.parametrize("text", ["paris", "Paris.", "**Paris**", "Pa ris", "", "Paris\nParis", "Ｐaris"])
def test_what_is_not_exactly_the_answer(text: str):
    assert exact(Response(output=items(text)), ["Lyon", "Paris", ""]).reward == 0


@pytest.mark.parametrize("text", ["<think>Paris</think>", "<think>Paris", "<think>Paris</think>Lyon"])
def test_the_reasoning_is_not_looked_at(text: str):
    assert normalised(Response(output=items(text)), ["Paris"]).reward == 0
    assert exact(Response(output=items(text)), ["Paris"]).reward == 0


@given(st.text())
@example("-.")
def test_any_text_has_one_normal_form_that_stays(text: str):
    assert normalise(text) == normalise(text)
    assert normalise(normalise(text)) == normalise(text)


@given(st.lists(st.text("abcdeé3½-.'")), st.sampled_from(["  ", "\n", "\t ", "\u00a0"]))
def test_respacing_does_not_matter(words: list[str], space: str):
    assert normalise(space.join(words)) == normalise(" ".join(words)) == normalise(f"{space}{' '.join(words)}{space}")


@given(st.text("abcdefghij ", min_size=1), st.sampled_from(["{}.", "**{}**", "({})", '"{}"', "{}!", "“{}”"]))
def test_rewrapping_does_not_matter(words: str, wrap: str):
    assert normalise(wrap.format(words)) == normalise(words)


def test_similar_texts_match_where_an_original_wants_it():
    assert not matches("the quick brown foxes", ["the quick brown fox"])
    assert matches("the quick brown foxes", ["the quick brown fox"], similar=0.9)
    assert not matches("the slow red fox", ["the quick brown fox"], similar=0.9)
    assert not matches("", ["a"], similar=0.1)
    assert not matches("a" * 2_000, ["b" * 2_000, "a" * 1_999], similar=0.5)

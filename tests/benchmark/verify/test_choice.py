import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.benchmark.verify.choice import choice, chosen
from assay.model.dialects.thinking import items
from assay.types import Response, Score

CITIES = ["Rome", "Berlin", "Paris", "Lyon"]

C = [
    "C",
    "C.",
    "(C)",
    "c",
    "c)",
    "(c)",
    "[C]",
    "**C**",
    "**(C)**",
    "`C`",
    "$C$",
    "C) Paris",
    "C. Paris",
    "(C) Paris",
    "C: Paris",
    "C - Paris",
    "Paris",
    "paris.",
    "**Paris**",
    '"Paris"',
    "Answer: C",
    "Answer: (C)",
    "Answer: c)",
    "Answer:C",
    "Answer = C",
    "ANSWER: C",
    "**Answer:** C",
    "**Answer**: C",
    "**Answer: C**",
    "Answer: **C. Paris**",
    "Answer:\nC",
    "Answer: C because it is.",
    "Answer: C Paris",
    "Answer: Paris",
    "Answer: option C",
    "The answer is C.",
    "The answer is (C), not (A).",
    "The answer is Paris, since Rome is in Italy.",
    "The answer is Paris because it is.",
    "the correct option is (C) because Berlin is in Germany",
    "The correct choice would be\n\nthe answer is: C",
    "The best option is **C**.",
    "I would pick C.",
    "I'd go with (C).",
    "I choose Paris.",
    "It must be (C).",
    "A and B are out, which leaves (C).",
    "So C.",
    "C is correct.",
    "(C) is correct, A is not.",
    "Option C is the right answer.",
    "Rome is in Italy. C is the best answer.",
    r"\boxed{C}",
    r"\boxed{(C)}",
    r"\boxed{\text{C}}",
    r"\boxed{\textbf{(C)}}",
    r"\boxed{\text{C. Paris}}",
    r"\boxed{Paris}",
    r"Answer: A. No: \boxed{C}",
    r"\boxed{C} is it, so A is wrong. Answer: see above.",
    "Answer: A. Wait, the answer is C.",
    "Answer: C. So A and B are wrong.",
    "Answer: C. Therefore I think that we are done.",
    "The answer isn't A. The answer is C",
    "A. Rome is in Italy.\nB. Berlin is in Germany.\n\nC",
    "C\n\nBecause it lies on the Seine.",
    "It lies on the Seine: **C**",
    "**C** it is. Yes, **(C)**.",
    "The answer is ‘C’",
]
NONE = [
    "",
    "no idea",
    "A man",
    "A man walks in",
    "I think",
    "I think so",
    "a matter of taste",
    "The answer is a matter of taste.",
    "The answer is A man",
    "The answer is I think hard",
    "Answer: C++",
    "Answer: C#",
    "Answer: C's",
    "Answer: C-section",
    "Answer: D'Artagnan",
    "Answer: C.S. Lewis",
    "Answer: Cologne",
    "Answer: CD",
    "Answer: C/D",
    "Answer: C or D",
    "Answer: (C) and (D)",
    "Answer: C, D",
    "Answer: C & D",
    "Answer: E",
    "Answer: (X)",
    "Answer: C. Lyon",
    "Answer: (A) Paris",
    "C. Lyon",
    "A. Paris",
    "Answer: not C",
    "The answer is not C",
    "The answer isn't C",
    "The answer can't be C.",
    "Option C is not correct",
    "C is incorrect",
    "Neither B nor C is correct",
    "I wonder whether (C) is correct",
    "Vitamin C is the best",
    "Plan C is the best",
    "A, B, C, D",
    "A. Rome\nB. Berlin\nC. Paris\nD. Lyon",
    "**A** no. **B** no. **C** maybe.",
    "Paris or Lyon",
    "Not Paris",
    "It is not Paris",
    "Parisian",
    r"\boxed{}",
    r"\boxed{C, D}",
    r"\boxed{C or D}",
    r"\boxed{E}",
    r"\boxed{CD}",
    r"Answer: C \boxed{",
    "Option A looks fine, and option C does too",
]


@pytest.mark.parametrize("text", C)
def test_what_settles_on_C(text: str):
    assert chosen(text, CITIES) == "C"


@pytest.mark.parametrize("text", NONE)
def test_what_settles_on_nothing(text: str):
    assert chosen(text, CITIES) is None


@pytest.mark.parametrize(
    ("text", "options", "letter"),
    [
        ("Answer: J", list("0123456789"), "J"),
        ("Answer: J", list("012345678"), None),
        ("I", list("0123456789"), "I"),
        ("Answer: I", list("0123456789"), "I"),
        ("The answer is I because", list("0123456789"), "I"),
        ("The answer is I think B", list("0123456789"), None),
        ("Answer: 3", list("0123456789"), "D"),
        ("Answer: E. coli", ["yeast", "E. coli", "a virus", "a prion", "coli"], "B"),
        ("Answer: A man", ["a woman", "a man"], "B"),
        ("Answer: C#", ["Java", "C#", "C"], "B"),
        ("Answer: C++", ["Java", "C#", "C++"], "C"),
        ("Answer: C", ["Java", "C#", "C++"], "C"),
        ("Answer: 3.5", ["35", "3.5"], "B"),
        ("Answer: the dark red one", ["red", "the dark red one"], "B"),
        ("Answer: dark red", ["red", "the dark red one"], None),
        ("Answer: None of the above", ["red", "blue", "none of the above"], "C"),
        ("Answer: both", ["both", "both"], None),
        ("Answer: A. both", ["both", "both"], "A"),
        ("Answer: 1, 2 and 3", ["1, 2", "1, 2 and 3"], "B"),
        ("Answer: ", ["", "x"], None),
    ],
)
def test_other_options(text: str, options: list[str], letter: str | None):
    assert chosen(text, options) == letter


def test_the_score_tells_the_letter():
    said = Response(output=items("<think>Answer: A</think>Answer: C"))
    assert choice(said, CITIES, "C") == Score(reward=1.0, answer="C")
    assert choice(said, CITIES, "A") == Score(reward=0.0, answer="C")
    assert choice(Response(output=items("<think>Answer: C</think>")), CITIES, "C") == Score(reward=0.0, answer=None)


@pytest.mark.parametrize("gold", ["E", "", "AB", "Paris", "c"])
def test_a_gold_answer_that_is_no_option_is_an_error(gold: str):
    with pytest.raises(ValueError, match="is no option; expected one of ABCD"):
        choice(Response(output=items("C")), CITIES, gold)


letters = st.sampled_from("ABCDEFGHIJ")
FORMS = [
    "{}",
    "({})",
    "{}.",
    "**{}**",
    "Answer: {}",
    "the correct option is ({}) because",
    "\\boxed{{{}}}",
    "**Answer:** {}",
]


@given(letters, st.sampled_from(FORMS), st.sampled_from(["", "\n\n", "  ", "A man said, I think it is hard.\n"]))
def test_every_letter_is_read_back_in_every_form(letter: str, form: str, before: str):
    assert chosen(before + form.format(letter), [f"city {n}" for n in range(10)]) == letter


@given(st.lists(st.sampled_from(["A", "(B)", "I", "is", "correct", "Answer:", "Paris", "or", "so", "**C**", "not"])))
def test_respacing_does_not_matter(words: list[str]):
    assert chosen(" ".join(words), CITIES) == chosen(" \t ".join(words), CITIES) == chosen("\u00a0".join(words), CITIES)


@given(st.text() | st.text("ABCDIabc .,:()[]*\\{}\nanswer is"), st.lists(st.text(), max_size=26))
def test_any_text_can_be_judged_and_twice_the_same(text: str, options: list[str]):
    assert chosen(text, options) == chosen(text, options)


def test_a_template_may_be_a_pattern_whose_first_group_is_the_option():
    text = "Answer: A\n[[C]] or [[B]]"
    assert chosen(text, CITIES, template=re.compile(r"\[\[(\w)\]\]")) == "B"
    assert chosen("Answer: A", CITIES, template=re.compile(r"\[\[(\w)\]\]"), strict=True) is None

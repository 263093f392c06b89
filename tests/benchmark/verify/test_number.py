import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.benchmark.verify.number import in_digits, number, numeric, same
from assay.model.dialects.thinking import items
from assay.types import Response, Score

GSM8K = Path(__file__).parents[4] / "shared" / "data" / "gsm8k"

READ = [
    ("42", "42"),
    ("42.", "42"),
    ("0042", "42"),
    ("-7", "-7"),
    ("−7", "-7"),
    ("–7", "-7"),
    ("+7", "7"),
    ("x = -7", "-7"),
    ("x = - 7", "-7"),
    ("negative 7", "-7"),
    ("-$7", "-7"),
    ("$-7", "-7"),
    ("- 7 apples", "7"),
    ("16-3 = 13", "13"),
    ("16 - 3", "3"),
    ("1,234", "1234"),
    ("1,234,567.89", "1234567.89"),
    ("1 234", "1234"),
    ("1\u202f234\u00a0567", "1234567"),
    ("1'234", "1234"),
    ("1’234", "1234"),
    ("1{,}234", "1234"),
    (r"1\,234", "1234"),
    ("３４", "34"),
    ("٤٢", "42"),
    ("3.50", "3.5"),
    (".5", "0.5"),
    ("4e2", "400"),
    ("4E-2", "0.04"),
    ("2.5 × 10^3", "2500"),
    ("2.5 × 10³", "2500"),
    ("2.5*10**3", "2500"),
    (r"2.5 \times 10^{-3}", "0.0025"),
    ("10^3", "1000"),
    ("10⁻²", "0.01"),
    ("3/4", "0.75"),
    ("-3/4", "-0.75"),
    ("3 / 4", "0.75"),
    ("3⁄4", "0.75"),
    ("¾", "0.75"),
    ("1 3/4", "1.75"),
    ("-1 3/4", "-1.75"),
    ("1¾", "1.75"),
    (r"\frac{3}{4}", "0.75"),
    (r"1\dfrac34", "1.75"),
    ("50%", "50"),
    (r"50\%", "50"),
    ("50 percent", "50"),
    ("$42", "42"),
    (r"\$42", "42"),
    ("€ 42", "42"),
    ("42 €", "42"),
    ("US$42", "42"),
    ("42 dollars", "42"),
    ("42km", "42"),
    ("42 m²", "42"),
    ("42°C", "42"),
    ("42 km/h", "42"),
    ("a 42-day trip", "42"),
    ("80k", "80000"),
    ("2 million", "2000000"),
    ("1.5 billion", "1500000000"),
    ("18.Then", "18"),
    ("in 2020 100", "100"),
    ("first 3, then 4", "4"),
    ("6 * 7 = 42", "42"),
    ("<<6*7=42>>42", "42"),
    # marked
    ("#### 42", "42"),
    ("####42", "42"),
    ("2 + 40\n#### $1,042", "1042"),
    ("#### 42\nThat took 3 steps.", "42"),
    ("#### 2. Sum up\nSo it is 42", "42"),
    ("#### Step 2\nSo it is 42", "42"),
    (r"\boxed{42}, not 7", "42"),
    (r"\boxed{7}, no: \boxed{42}, of 9", "42"),
    (r"\boxed{ 42\text{ cm}^2 }", "42"),
    (r"\boxed{x = 42}", "42"),
    (r"\boxed{\frac{3}{4}}", "0.75"),
    (r"\boxed{\$1{,}042.50}", "1042.5"),
    (r"\boxed{2.5 \times 10^{3}}", "2500"),
    (r"The answer is 7. \boxed{42}", "42"),
    ("The answer is 42, since 6 * 7 and not 9.", "42"),
    ("The answer is **42**, of 9", "42"),
    ("**Answer:** 42 (2 steps)", "42"),
    ("Final Answer: $42$ in 2 days", "42"),
    ("Answer:\n\n$$\n42\n$$\nin 2 days", "42"),
    ("The answer is: x = 42 for 2 of them", "42"),
    ("The answer is 6 * 7 = 42 in 2 days", "42"),
    ("the answer is not 7, it is 42", "42"),
    ("The answer is 7. Wait. The answer is 42, not 7", "42"),
    ("The answer is easy to see.\nIt is 42.", "42"),
    ("9 and 7\nA: 42 of 9", "42"),
    ("So she earns **$42** in 2 days", "42"),
    ("**7** on day 1.\nIn all 42", "42"),
    ("**Step 1**: 42", "42"),
    ("**Step 1:** 42", "42"),
    ("**1.** It is 42", "42"),
    ("**Total: 42 dollars**, for 2", "42"),
    ("答案不是45,而是54。", "54"),
    ("Die Antwort ist nicht 45, sondern 54", "54"),
]
NONE = [
    "272, 26",
    "272 and 26.",
    "It is 272 and 26",
    r"\boxed{not 58}",
    r"\boxed{The answer is not 58.}",
    "",
    "no idea",
    "forty-two",
    "x42",
    "42nd",
    "2x",
    "3D",
    "v1.42",
    "1.2.42",
    "192.168.0.42",
    "3,5",
    "4,20",
    "1,00,000",
    "1,2345",
    "7:42",
    "2:1",
    "5-7",
    "5–7",
    "2024-01-05",
    "3/4/2020",
    "1/0",
    "1 5/4",
    "2^10",
    "x^2",
    "x²",
    "H2O",
    "Covid-19",
    "0x2A",
    "1_000",
    "CO₂",
    "log₂ x",
    "∞",
    "NaN",
    "9" * 500,
    r"\sqrt{42}",
    r"5\sqrt{2}",
    r"\frac{\pi}{2}",
    r"5\pi",
    r"7 \boxed{}",
    r"7 \boxed{x}",
    r"7 \boxed{\infty}",
    r"7 \boxed{2x + 3}",
    r"7 \boxed{3, 4}",
    r"7 \boxed{(3, 4)}",
    r"7 \boxed{3 + 4}",
    r"7 \boxed{5 x}",
    r"7 \boxed{5!}",
    r"7 \boxed{f(5)}",
    r"7 \boxed{x < 5}",
    r"7 \boxed{42",
    "7. The answer is 7:30",
    "7. The answer is 3 + 4",
]


@pytest.mark.parametrize(("text", "value"), READ)
def test_what_is_read(text: str, value: str):
    got = number(text)
    assert got is not None
    assert in_digits(got) == value


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_number(text: str):
    assert number(text) is None


@pytest.mark.parametrize(
    "text", ["41", "420", "4.2", "4 2 1", "-42", "42.5", "0.42", "1/42", "42k", "42 million", "4e42"]
)
def test_what_is_not_42(text: str):
    assert numeric(Response(output=items(text)), "42").reward == 0


def test_percent_is_a_unit_unless_hundredths_are_asked_for():
    assert number("50%") == 50
    assert number("50%", hundredths=True) == Decimal("0.5")
    assert number("1/2 %", hundredths=True) == Fraction(1, 200)
    assert number("50", hundredths=True) == 50
    assert numeric(Response(output=items("12.5%")), "1/8", hundredths=True) == Score(reward=1.0, answer="0.125")


@pytest.mark.parametrize(
    ("got", "gold", "absolute", "relative", "right"),
    [
        ("0.3333", "1/3", 0, 0, False),
        ("0.3333", "1/3", "0.0001", 0, True),
        ("0.3333", "1/3", 0, "0.0001", True),
        ("0.333", "1/3", 0, "0.0001", False),
        ("3.15", "3.14", 0.01, 0, True),
        ("3.151", "3.14", 0.01, 0, False),
        ("101", "100", 0, 0.01, True),
        ("-100", "100", 0, 0.01, False),
        ("0.001", "0", 0, 0.01, False),
        ("0.50", "1/2", 0, 0, True),
        ("1" + "0" * 60 + "1", "1e61", 0, 0, False),
    ],
)
def test_how_near_is_near_enough(got: str, gold: str, absolute: float | str, relative: float | str, right: bool):
    assert same(number(got), number(gold), absolute=absolute, relative=relative) is right


def test_no_number_is_never_the_same():
    assert not same(None, Decimal(0)) and not same(Decimal(0), None) and not same(None, None)


def test_a_gold_answer_without_a_number_is_an_error():
    with pytest.raises(ValueError, match="'forty' has no number in it; expected one such as 42"):
        numeric(Response(output=items("42")), "forty")


@pytest.mark.parametrize("text", ["<think>42</think>", "<think>42", "42</think>", "<think>42</think>I don't know"])
def test_the_reasoning_is_not_looked_at(text: str):
    assert numeric(Response(output=items(text)), "42") == Score(reward=0.0, answer=None)


decimals = st.decimals(-(10**12), 10**12, places=3)


@given(decimals)
def test_a_number_is_read_back_however_it_is_written(value: Decimal):
    forms = [
        f"It is {value:f}.",
        f"{value:,}",
        f"{value:,}".replace(",", " "),
        rf"\boxed{{{value:f}}}",
        f"#### {value:f}",
    ]
    assert {number(form) for form in forms} == {value}
    read = number(in_digits(value))
    assert read == value


@given(st.fractions(max_denominator=999))
def test_a_fraction_is_read_back(value: Fraction):
    assert same(number(f"so {in_digits(value)} of it"), value)


@given(decimals, st.sampled_from(["  {}\n", "**{}**", "`{}`", "({})", "${}$", "\n\n{} dollars.", "> {}"]))
def test_rewrapping_does_not_matter(value: Decimal, wrap: str):
    assert number(wrap.format(f"{value:f}")) == value


@given(st.lists(st.sampled_from(["1", "-2", "3/4", "is", "answer:", "x", "=", "**5**", "$", "####"])))
def test_respacing_does_not_matter(words: list[str]):
    assert number(" ".join(words)) == number("  \t".join(words)) == number("\u00a0".join(words))


WORDS = """
the The answer Answer is was equals not none either neither nor between less more than at least most negative minus
menos moins meno or and to hundred million dozen a x e v so respuesta es lautet die Antwort ist est pas kein non si no
jawaban adalah bukan USD km percent step page
"""


@given(
    st.lists(st.sampled_from(WORDS.split()), max_size=8), st.sampled_from(["5", "-5", "0042", "5.", "123456789012345"])
)
def test_the_short_way_reads_as_the_long_one(words: list[str], digits: str):
    """A no-break space keeps a text from the short way."""
    assert number(" ".join([*words, digits])) == number("\u00a0".join(["", *words, digits]))


@given(st.text() | st.text("0123456789.,'-+/^%$e×½ \n*#{}()[]\\=:kboxedanswr"))
def test_any_text_can_be_judged_and_twice_the_same(text: str):
    assert number(text) == number(text)


@pytest.mark.skipif(not GSM8K.exists(), reason="GSM8K's recorded solutions are not here")
def test_every_recorded_judgement_of_gsm8k_is_the_same():
    rows = [json.loads(line) for line in (GSM8K / "recorded_solutions.jsonl").read_text().splitlines()]
    recorded = [(row["ground_truth"], row[size]) for row in rows for size in ("6b_verification", "175b_verification")]
    assert len(recorded) == 2638
    for gold, said in recorded:
        assert numeric(Response(output=items(said["solution"])), gold).reward == said["is_correct"], said


@pytest.mark.skipif(not GSM8K.exists(), reason="GSM8K's tasks are not here")
def test_gsm8ks_gold_answers_are_read():
    for line in (GSM8K / "test.jsonl").read_text().splitlines():
        answer = json.loads(line)["answer"]
        assert number(answer) == int(answer.split("#### ")[1].replace(",", ""))

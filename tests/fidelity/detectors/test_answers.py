"""Where the gold answer stands in a message, and what a lenient reader takes for the answer."""

import time

import pytest

from assay.fidelity.detectors.answers.reading import clearly_wrong, gold_elsewhere, is_plain_answer, lenient
from tests.fidelity.detectors.made import task

PLANETS = {"options": ["Venus", "Mercury", "Mars"]}


@pytest.mark.parametrize(
    ("text", "gold", "answer"),
    [
        ("42. I checked it in 3 steps.", "42", "3"),
        ("**42**, after 3 tries and 7 slips of mine", "42", "7"),
        ("It comes to\n\n42\n\nwhich took 3 steps of 5 minutes each", "42", "5"),
        ("We get 42 eggs in the end, I believe", "42", None),
        ("The total is $1,234.50 in 3 parts.", "1234.5", "3"),
        ("-7 it is.\n\nI needed 3 tries.", "-7", "3"),
        ("Answer: 42\nThat took 3 steps", "42", "3"),
        ("It was written by Jane Austen in 1813.", "Jane Austen", "it was written by jane austen in 1813"),
        ("The capital is Paris.", "Paris", None),
        ("Nearest to the sun is Mercury.", "Mercury", None),
    ],
)
def test_a_gold_answer_elsewhere_is_seen(text: str, gold: str, answer: str | None):
    assert gold_elsewhere(text, task(gold), answer)


@pytest.mark.parametrize(
    ("text", "gold", "answer"),
    [
        ("", "42", None),
        ("It is 421.", "42", "421"),
        ("x42 is 7.", "42", "7"),
        ("It is 4.2 or 42.5 or 1,042 or 42nd.", "42", "42.5"),
        ("First 40 + 2 = 42. Then 42 * 2 = 84.", "42", "84"),
        ("First I get 42.\nThen I add 3.\nThe answer is 45.", "42", "45"),
        ("The answer is 42. No, wait. The answer is 45.", "42", "45"),
        ("So it is \\boxed{45}, and not 42.", "42", "45"),
        ("Step 4: add them. It is 7.", "4", "7"),
        ("There are 4 apples on each of the tables, so 7.", "4", "7"),
        ("4. Add them all.\n5. It is 7.", "4", "7"),
        ("-42 it is.\n\nI needed 3 tries.", "42", "3"),
        ("42% of them.\n\nThat is 3.", "42", "3"),
        ("It is not Paris.", "Paris", "it is not paris"),
        ("It is Lyon rather than Paris.", "Paris", "lyon"),
        ("Parisian life.", "Paris", "parisian life"),
        ("no", "no", "no"),
        ("There is no way to know.", "no", "there is no way to know"),
        ("It is 7.", None, "7"),
        ("So they are 38, 39, 40, 41, 42, 43 and 44.", "42", None),
        ("Then \\frac{22(42)}{2} = 462.", "42", None),
        ("Here x = 42 \\pm 3 by the formula.", "42", None),
    ],
)
def test_a_gold_answer_in_passing_is_not(text: str, gold: str | None, answer: str | None):
    assert gold_elsewhere(text, task(gold), answer) is None


def test_what_the_prompt_says_too_is_not():
    asked = task("48", prompt="What is 96 - 48?")
    assert gold_elsewhere("96 and 48 make 144", asked, "144") is None
    assert gold_elsewhere("48, I think, of 144", task("48"), "144")


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("I would say that Mercury is nearest of all.", True),
        ("Answer: the planet Mercury, for sure", True),
        ("Mercury and Venus are near.", False),
        ("It is not Mercury.", False),
        ("B or C", False),
    ],
)
def test_an_option_is_told_by_its_text(text: str, there: bool):
    assert (gold_elsewhere(text, task("B", data=PLANETS), None) is not None) == there


@pytest.mark.parametrize(
    ("text", "gold", "right"),
    [
        ("The answer is 42. I checked it in 3 steps.", "42", True),
        ("\\boxed{42} after 3 steps", "42.0", True),
        ("#### 41", "42", False),
        ("I say nothing.", "42", None),
        ("So the capital is\nParis.", "paris", True),
        ("Answer: The Louvre", "louvre", True),
        ('{"reasoning": "Of 12 there are many.", "answer": "infinitely many"}', "12", None),
        ("Answer: [1, 2]", "[1, 2]", True),
        ("Answer: {1: 'what'}", "{1: 'what?'}", False),
        ('{"answer": "\'ab!\'"}', "'ab!'", True),
        ('{"answer": "ab "}', "'ab'", False),
        ("Final answer: Lyon", "Paris", False),
        ("I have thought about it at length. " * 30, "Paris", None),
    ],
)
def test_a_lenient_reading(text: str, gold: str, right: bool | None):
    reading = lenient(text, task(gold))
    assert (reading and reading.right) == right


@pytest.mark.parametrize(
    ("text", "gold", "wrong"),
    [
        ("The answer is 41.", "42", True),
        ("The answer is 42.3", "42", False),
        ("The answer is 50%", "0.5", False),
        ("The answer is 0.5", "50", False),
        ("The answer is 3.14", "3.14159", False),
        ("First 42, and then 3 steps", "42", False),
        ("Answer: Lyon", "Paris", False),
    ],
)
def test_what_no_verifier_should_take(text: str, gold: str, wrong: bool):
    reading = lenient(text, task(gold))
    assert reading is not None
    assert clearly_wrong(reading, task(gold)) == wrong


def test_another_option_is_clearly_wrong():
    reading = lenient("Answer: C", task("B", data=PLANETS))
    assert reading is not None
    assert clearly_wrong(reading, task("B", data=PLANETS))


@pytest.mark.parametrize(
    "text", ["42 " * 50_000, "7, " * 50_000, "9" * 100_000, "Answer: " * 20_000, "**4** " * 30_000]
)
@pytest.mark.parametrize("gold", ["42", "Paris", "7/3"])
def test_long_messages_are_read_quickly(text: str, gold: str):
    started = time.process_time()
    gold_elsewhere(text, task(gold), "5")
    lenient(text, task(gold))
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize(
    ("text", "answer", "plain"),
    [
        ("so\nThe answer is 42", "42", True),
        ("42", "42", True),
        ("-42.", "-42", True),
        ("#### 42\n", "42", True),
        ("The answer is 41, no 42", "42", False),
        ("x = 3.42", "42", False),
        ("1,042", "042", False),
        ("3-42", "-42", False),
        (r"\boxed{41} in 42", "42", False),
        ("**41** of 42", "42", False),
        ("42", "41", False),
        ("42", None, False),
    ],
)
def test_only_what_any_reader_reads_alike_is_passed_over(text: str, answer: str | None, plain: bool):
    assert is_plain_answer(text, answer) == plain
    if plain:
        reading = lenient(text, task("42"))
        assert reading is not None and reading.answer == answer

"""Finds the gold answer elsewhere in a message, and the answer that a lenient reader reads."""

import re
from collections.abc import Iterator
from fractions import Fraction
from string import ascii_uppercase
from typing import NamedTuple

from assay.benchmark.verify.choice import chosen
from assay.benchmark.verify.markup import boxed
from assay.benchmark.verify.number import Number, in_digits, number, same
from assay.benchmark.verify.text import normalise, plain
from assay.types import Task

_MARK = re.compile(
    r"\banswer\W{0,4}(?:is\b|was\b|would be\b|equals\b|[:=])|^A:|^#{4}|\bfinal answer\b|<answer>"
    r"|\bresult\W{0,4}(?:is\b|[:=])",
    re.IGNORECASE | re.MULTILINE,
)
_NUMBER = re.compile(
    r"(?<![\w.^,:/])(?<!\d[-–])(?P<sign>[-−](?=[$€£]?\d))?[$€£]?(?P<digits>\d{1,3}(?:,\d{3})+|\d+)(?P<rest>\.\d+)?"
    r"(?!\w|[.,:/]\d|\^|\s?%|[-–]\d)"
)
_OPERATOR_BEFORE = re.compile(
    r"(?:[+/×÷·]|(?<!\*)\*|\S\s?[-−]|\\times|\\cdot|\\pm|±|\d\(|\bplus|\bminus|\btimes)\s?[$€£(]{0,2}$"
)
_OPERATOR_AFTER = re.compile(r"\s?[)]?\s?(?:[+/×÷·−±^]|\*(?!\*)|-\s?\d|\\(?:times|cdot|pm)|(?:plus|minus|times)\b)")
_NUMBERING = re.compile(
    r"(?:\b(?:step|part|problem|question|case|line|example|equation|figure|table|option|page|chapter|row|no\.?|item"
    r"|method|attempt|section|level|day|round)s? ?#?|#)$",
    re.IGNORECASE,
)
_LISTING = re.compile(r"[.):] +\S")
_UNITS = re.compile(r"(?<=[.!?])\s+|\n+")
_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*")
_DENIAL = re.compile(r"(?:\bnot|n't(?: be)?|\bnor|\brather than|\binstead of|\bunlike|\bexcept)(?: the| an?| be)? $")
_COMMON = frozenset({"yes", "no", "true", "false", "none", "maybe", "unknown", "left", "right"})
MOST_STEPS = 20
"""The most lines of a numbered list."""
MOST_NUMBERS = 4
"""The most numbers of a sentence that may be an answer; more are an enumeration or a calculation."""
_LONGEST = 20_000
"""The number of characters at the end of a message that are searched for an answer."""

_DIGIT = re.compile(r"\d")
_NO_DIGITS = re.compile(r"\D+")
_ENDING = re.compile(r"(?P<mark>[Aa]nswer(?: is|:) |#### )?(?<![\w.,:/^-])(?P<number>-?\d{1,40})\.?\s*\Z")


class Reading(NamedTuple):
    """A lenient reading of a message."""

    answer: str
    right: bool
    """Whether it is the gold answer."""
    stated: bool
    """Whether the message marks this as its answer."""


def options_of(task: Task) -> list[str] | None:
    """Returns the options of a multiple-choice task, if its data has them and its gold answer is a letter of one."""
    options = task.data.get("options")
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):  # pyright: ignore[reportUnknownVariableType]
        return None
    letters = list(ascii_uppercase[: len(options)])  # pyright: ignore[reportUnknownArgumentType]
    return options if task.gold in letters else None  # pyright: ignore[reportUnknownVariableType]


def is_plain_answer(text: str, answer: str | None) -> bool:
    """Returns whether the verifier's answer is the number that ends the message, after the answer's mark if any.

    Most messages are so, and a lenient reading takes 50 times as long.
    """
    if not answer:
        return False
    end = text[-100:].rstrip()
    if not end.endswith(answer) and not end.endswith(f"{answer}."):
        return False
    # A mark stands right before the last word, and is no longer than this: from further back nothing could match.
    ends = _ENDING.search(end, max(0, end.rfind(" ") - len("answer is")))
    if ends is None or ends["number"] != answer or "boxed" in text:
        return False
    return ends["mark"] is not None or not ("nswer" in text or "####" in text or "**" in text)


def lenient(text: str, task: Task) -> Reading | None:
    """Returns the answer of a message by the most lenient reading. None if there is none, or no gold answer.

    It is a number or an option anywhere, or the text in a box, after a mark such as `Answer:`, or on the last line.
    """
    gold = (task.gold or "").strip()
    text = text[-_LONGEST:]
    if not gold or not text.strip():
        return None
    stated = boxed(text) is not None or _MARK.search(text) is not None
    if options := options_of(task):
        letter = chosen(text, options) if len(options) <= len(ascii_uppercase) else None
        return None if letter is None else Reading(letter, letter == gold, stated)
    if (expected := value_of(gold)) is not None:
        marked = boxed(text) or _text_after_mark(text)
        got = None if marked and not _DIGIT.search(marked) else number(text)
        return None if got is None else Reading(in_digits(got), same(got, expected, relative="1e-9"), stated)
    place = boxed(text) or _text_after_mark(text) or text.strip().rpartition("\n")[2]
    if len(place) > 4 * len(gold) + 100:
        return None
    if is_literal(gold):
        return Reading(place.strip(), _signs(place) == _signs(gold), stated)
    said = normalise(place)
    return Reading(place.strip(), said == normalise(gold), stated) if said else None


def is_literal(gold: str) -> bool:
    """Returns whether a gold answer is a string in quotes or a list, as code writes it: then every sign counts."""
    return gold[:1] in "'\"[({" or not any(char.isalnum() for char in gold)


def _signs(text: str) -> str:
    """The text without the quotes around it, and without what JSON writes after a field."""
    return text.strip().rstrip(",}").strip("'\"`")


def clearly_wrong(reading: Reading, task: Task) -> bool:
    """Returns whether a lenient reading is certainly wrong: another option, or a number that neither rounding nor a
    percent sign explains. A text may be right in other words, so it is never clearly wrong."""
    if reading.right or not reading.stated:
        return False
    if options_of(task):
        return True
    expected, got = value_of((task.gold or "").strip()), value_of(reading.answer)
    if expected is None or got is None:
        return False
    return not any(same(got, expected * scale, relative="0.02", absolute="0.01") for scale in (1, 100)) and not same(
        got * 100, expected, relative="0.02"
    )


def gold_elsewhere(text: str, task: Task, answer: str | None) -> str | None:
    """Returns the place in a message with the whole gold answer, although the verifier read `answer`; or None.

    These don't count: a part of a longer word or number, an operand, the number of a step, a text that the prompt has,
    and a gold answer in a message that states another answer, which the verifier read.
    """
    gold = (task.gold or "").strip()
    text = text[-_LONGEST:]
    if not gold or len(gold) > 2000 or not text.strip():
        return None
    if gold.isdecimal() and gold.lstrip("0") not in _NO_DIGITS.sub("", text):
        return None  # however it is written: most wrong answers end here
    marked = boxed(text) or _text_after_mark(text)
    if marked and answer and f" {normalise(answer)} " in f" {normalise(marked)} ":
        return None
    prompt = task.prompt
    if options := options_of(task):
        return _option_at(text, marked, options, ascii_uppercase.index(gold))
    value = value_of(gold)
    if value is None:
        return _words_at(text, marked, gold, prompt)
    return _number_at(text, marked, value, prompt, sure=answer is not None)


def _number_at(text: str, marked: str | None, value: Number, prompt: str, *, sure: bool) -> str | None:
    """Returns the sentence in which a number looks like an answer."""
    if marked and any(_numbers(marked, value)):
        return marked
    found = list(_numbers(text, value))
    if not found or any(operand for _, operand in found) or any(_numbers(prompt, value)):
        return None
    units = [unit for unit in _UNITS.split(text.strip()) if unit.strip()]
    small = abs(value) < 10
    for place, unit in enumerate(units):
        if not any(_numbers(unit, value)):
            continue
        bold = any(any(_numbers(part, value)) for part in _BOLD.findall(unit))
        outer = place in (0, len(units) - 1)
        begins = place == 0 and any(_numbers(unit.split(maxsplit=1)[0], value))
        tells = (outer or not sure) and not small and len(_NUMBER.findall(unit)) <= MOST_NUMBERS
        if bold or begins or len(unit.split()) <= 4 or tells:
            return unit
    return None


def _numbers(text: str, value: Number) -> Iterator[tuple[str, bool]]:
    """Yields each whole occurrence of a number, and whether it is an operand. Numbers of steps are left out."""
    for found in _NUMBER.finditer(text):
        if len(found[0]) > 60:
            continue
        if Fraction(found["digits"].replace(",", "") + (found["rest"] or "")) != abs(value):
            continue
        before = text[max(0, found.start() - 16) : found.start()]
        operator = _OPERATOR_BEFORE.search(before)
        signed = bool(found["sign"]) and operator is None
        if signed == (value < 0) and not _NUMBERING.search(before) and not _listed(text, found):
            yield found[0], operator is not None or _OPERATOR_AFTER.match(text, found.end()) is not None


def _listed(text: str, match: re.Match[str]) -> bool:
    """Returns whether a number only numbers its line: small, at the start, with a point and words after it."""
    begins = (
        len(match[0]) <= 2
        and int(match["digits"]) <= MOST_STEPS
        and not text[text.rfind("\n", 0, match.start()) + 1 : match.start()].strip("* #(")
    )
    return begins and _LISTING.match(text, match.end()) is not None


def _words_at(text: str, marked: str | None, gold: str, prompt: str) -> str | None:
    """Returns the place of a text answer as whole words, without a denial."""
    if is_literal(gold):
        return None  # with a sign more or less it is another answer
    wanted = normalise(gold)
    if marked and f" {wanted} " in f" {normalise(marked)} ":
        return marked
    if len(wanted) < 3 or wanted in _COMMON or wanted.split()[0] not in plain(text).casefold():
        return None
    said = f" {normalise(text)} "
    at = said.find(f" {wanted} ")
    if at < 0 or _DENIAL.search(said[: at + 1]) or f" {wanted} " in f" {normalise(prompt)} ":
        return None
    return said[max(0, at - 40) : at + len(wanted) + 40].strip()


def _option_at(text: str, marked: str | None, options: list[str], right: int) -> str | None:
    """Returns the place with the text of the right option and of no other."""
    place = marked or [unit for unit in _UNITS.split(text.strip()) if unit.strip()][-1]
    said = f" {normalise(place)} "
    named = [index for index, option in enumerate(options) if (words := normalise(option)) and f" {words} " in said]
    at = said.find(f" {normalise(options[right])} ")
    return place if named == [right] and not _DENIAL.search(said[: at + 1]) else None


def _text_after_mark(text: str) -> str | None:
    """Returns the text after the last mark of an answer, on its line or on the next line that isn't blank."""
    marks = list(_MARK.finditer(text))
    if not marks:
        return None
    return text[marks[-1].end() : marks[-1].end() + 400].lstrip(" \n*:_#").partition("\n")[0].strip() or None


def value_of(text: str) -> Number | None:
    """Returns the number in a text that is a number, perhaps with a currency or percent sign. None for another text."""
    return number(text) if len(text) <= 60 and re.fullmatch(r"[-−+$€£¥\s\d.,/%]*\d[\d.,/%\s]*", text) else None

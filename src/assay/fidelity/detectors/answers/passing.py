"""Reads the answer and the message of a rollout with full marks, as somebody who doubts the marks does."""

import re
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from string import ascii_uppercase

from assay.benchmark.verify.markup import prose
from assay.benchmark.verify.number import Number, in_digits, same
from assay.benchmark.verify.text import normalise, plain
from assay.fidelity.detectors.answers.reading import options_of, value_of
from assay.types import Task

_FIGURE = re.compile(r"(?<![\d.])[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?")
_WORDS = re.compile(r"[^\W\d_]{2,}")
_UNIT_POWER = re.compile(r"(?<=[A-Za-zµ°])(?:\^\{-?\d\}|\^?-?\d|[²³])(?![\d.])")
_BASE = re.compile(r"(?<=\d)_\{?\w{1,2}\}?")
_MATHS = re.compile(r"[√π∞±^*_|]|\\(?:sqrt|pi|pm|infty|cup|cdot|times)|\d\s*[+×·]\s*\d|\d[-−]\d|\d\(")
_LIST = re.compile(r"\d[)\]]?\s*(?:[,;]\s+|[,;](?=[-−(])|(?:,\s*)?\b(?:or|and)\s+)[(\[]?[-−$]?\d|^\s*\[.*,.*\]\s*$")
_ONES = re.findall(
    r"\w+",
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen",
)
_TENS = re.findall(r"\w+", "twenty thirty forty fifty sixty seventy eighty ninety")
_COUNT = re.compile(
    rf"\b(?:{'|'.join((*_ONES, *_TENS))}|hundred|thousand|million|half|none|once|twice)\b", re.IGNORECASE
)
_OTHER_SIGNS = re.compile(r"[\W_]+")
_SHORT = 60
"""The most characters of a text answer whose place in a message can be told."""
_STATED = re.compile(
    r"\banswer\W{0,4}(?:is\b|was\b|would be\b|[:=])|^\s*#{4}(?!#)|<answer>|\\boxed\s*\{", re.IGNORECASE | re.MULTILINE
)
_CORRECTED = re.compile(
    r"\b(?:wait|no|not|actually|correct(?:ion|ed|ing)|mistaken?|instead|sorry|oops|hmm+|however|wrong|incorrect|errors?"
    r"|re-?(?:check|calculat|consider|evaluat|examin|do)\w*|let me|let's|should (?:be|have been)|but|if|round\w*"
    r"|simplif\w*|approximate\w*)\b",
    re.IGNORECASE,
)
_EITHER = re.compile(
    r"\s*(?:,\s*)?(?:\bor\b|\band/or\b|\bor else\b|/)\s*(?:maybe|perhaps|possibly|even|else)?\s*\W{0,3}"
)


def other_form(answer: str | None, task: Task) -> str | None:
    """Returns how the form of an answer differs from that of the gold answer; None where it does not.

    The forms are a number (with a unit, or words around it), the letter of an option, and a short text. A formula, a
    list and nothing at all are other forms.
    """
    gold = (task.gold or "").strip()
    if not gold or answer == gold:
        return None
    if answer is None:
        return "no answer"
    if options := options_of(task):
        return None if _is_option(answer, options) else "not one option's letter"
    if value_of(gold) is not None:
        return _no_number(answer)
    long = len(answer) > 4 * len(gold) + 100 and len(gold) <= _SHORT and gold.replace(" ", "").isalnum()
    return f"{len(answer):,} characters" if long else None


def _no_number(answer: str) -> str | None:
    said = _UNIT_POWER.sub("", _BASE.sub("", prose(plain(answer)).replace("**", "")))
    if not any(char.isdigit() for char in said):
        return None if _COUNT.search(said) else "no number"
    if _LIST.search(said):
        return "several numbers"
    if _MATHS.search(said):
        return "a formula"
    figures = [value_of(figure) for figure in _FIGURE.findall(said)]
    return "several numbers" if len(set(figures)) > 3 else None


def _is_option(answer: str, options: list[str]) -> bool:
    letters = ascii_uppercase[: len(options)]
    bare = answer.strip("()[]{}<>.,:;*_$`'\" \n")
    if len(bare) == 1:
        return bare.upper() in letters
    said = normalise(answer)
    if any(said == normalise(option) for option in options):
        return True
    named = {letter for letter in letters if re.search(rf"(?<![\w'])\(?{letter}(?![\w'])", answer)}
    return len(named - {"A", "I"} or named) == 1


def stands(texts: Iterable[str], task: Task, answer: str | None) -> bool:
    """Returns whether the gold answer stands in one of the texts, in any form: True also where that can't be told."""
    gold = (task.gold or "").strip()
    options = options_of(task)
    if options is None and not _tellable(gold):
        return True
    texts = [text for text in texts if text]
    if options:
        letter = re.compile(rf"(?<![A-Za-z]){gold}(?![A-Za-z])|\({gold.lower()}\)")
        words = normalise(options[ascii_uppercase.index(gold)])
        return any(letter.search(text) or (words and words in normalise(text)) for text in texts)
    written_so = re.compile(rf"(?<!\d){re.escape(gold)}(?!\d)")
    if any(written_so.search(text) for text in texts):
        return True
    value = value_of(gold)
    if value is None:
        wanted, parts = _bare(gold), set(re.findall(r"\w+", gold))
        if gold[0] == "{" and any(parts <= set(re.findall(r"\w+", text)) for text in texts):
            return True  # a set or a dictionary may be written in another order
        return not wanted or any(wanted in _bare(text) or _shares_a_word(gold, text) for text in texts)
    if answer and any(answer in text for text in texts) and (_no_number(answer) or not _FIGURE.search(answer)):
        return True  # a formula, or a number in words: whether it is the gold answer is the verifier's to say
    return any(_has(text, value) for text in texts)


def _tellable(gold: str) -> bool:
    return bool(gold) and (value_of(gold) is not None or (len(gold) <= _SHORT and "\\" not in gold))


def _has(text: str, value: Number) -> bool:
    """Returns whether a number of about this value stands in a text, also as a percentage, or as a word."""
    said = prose(plain(text)).replace("{,}", ",").replace("\\,", "")
    for figure in set(_FIGURE.findall(said)):
        got = value_of(figure)
        if got is not None and any(same(abs(got), abs(value) * scale, relative="0.02") for scale in (1, 100)):
            return True
        if got is not None and same(abs(got) * 100, abs(value), relative="0.02"):
            return True
    return value in range(100) and _in_words(int(value)) in said.casefold().replace("-", " ")


def _in_words(number: int) -> str:
    tens, ones = divmod(number, 10)
    return _ONES[number] if number < 20 else " ".join([_TENS[tens - 2], *([_ONES[ones]] if ones else [])])


def _bare(text: str) -> str:
    return _OTHER_SIGNS.sub("", text).casefold()


def _shares_a_word(gold: str, text: str) -> bool:
    said = text.casefold()
    return any(word.casefold()[:5] in said for word in _WORDS.findall(gold))


def stated_answers(text: str, task: Task) -> list[str]:
    """Returns the different answers that a message states and does not take back; at most one as a rule.

    An answer is stated after a mark such as `Answer:` or in a box. What is stated before "wait", "no" or another word
    of correction was taken back. `Answer: 4 or 5` states two.
    """
    gold = (task.gold or "").strip()
    options = options_of(task)
    if not gold or (options is None and value_of(gold) is None):
        return []
    marks = list(_STATED.finditer(text))
    found: list[str] = []
    for mark, following in zip_longest(marks, marks[1:]):
        line = text[mark.end() : mark.end() + 200].lstrip(" \n*:_#").partition("\n")[0]
        found += [one for one in _parse(line, options) if one not in found]
        if following and _CORRECTED.search(text, mark.end(), following.start()):
            found.clear()
    if not marks and len(text) <= 200:
        found = list(dict.fromkeys(_parse(text.strip().rpartition("\n")[2], options)))
        return found if len(found) > 1 else []
    return found


def _parse(line: str, options: list[str] | None) -> Iterator[str]:
    """Yields the answer that a line begins with, and each that follows it after "or"."""
    line = prose(plain(line))
    one = re.compile(rf"\(?([{ascii_uppercase[: len(options)]}])(?![\w'])\)?" if options else _FIGURE.pattern)
    place = re.compile(r"\W{0,4}(?:(?:either|probably|option|about)\b)?\W{0,3}(?=[-−]?[\dA-Z(])").match(line)
    at = place.end() if place else 0
    while match := one.match(line, at):
        if options is None and re.match(r"\s*[-+×*/^=\\(]|\s*[,.]\d", line[match.end() :]):
            return  # the beginning of a calculation
        said = match[1] if options else match[0]
        value = value_of(said)
        yield said if value is None else in_digits(value)
        unit = re.match(r"\s*(?!or\b)(?:[^\W\d_]+|%|[\"'})\]*]+)?", line[match.end() :])
        gap = _EITHER.match(line, match.end()) or (unit and _EITHER.match(line, match.end() + unit.end()))
        if not gap:
            return
        at = gap.end()

"""Numbers in prose: which one of a message is the answer, and what its value is."""

import re
from decimal import Decimal
from fractions import Fraction

from assay.benchmark.verify.text import boxed, plain
from assay.types import Response, Score

Number = Decimal | Fraction

_UNITS = (
    "km|cm|mm|nm|m|kg|mg|g|lbs?|oz|ml|mL|l|L|ft|in|mi|yd|mph|kph|hrs?|h|mins?|secs?|s|ms|[ap]m|[AP]M|[KMGT]B|kB"
    "|[kMG]?Hz|k?Wh?|V|N|J|kJ|k?cal|USD|EUR|GBP"
)
# Ten groups of thousands at most: without a bound, a long row of them that ends badly takes quadratic time.
_GROUPED = r"\d{1,3}(?:,\d{3}){1,10}+|\d{1,3}(?:['’]\d{3}){1,10}+|\d{1,3}(?:\ \d{3}){1,10}+(?![\d/])"
_DECIMAL = rf"(?:(?:{_GROUPED}|\d++)(?:\.\d++)?+|\.\d++)"
_NUMBER = re.compile(
    rf"""
    # Not within a word, an index, a version, a time, a range: x42, v1.2, 7:30, 5-7, 2^10, \sqrt{{5}} hold no answer.
    (?<![\w^{{\\)\].]) (?<!\w[.]) (?<!\d[,:/'’]) (?<![\w)\]][-–])
    (?P<sign>[-+])? (?:[$€£¥₹](?P<minus>-)?\ ?)?
    (?: (?P<whole>\d{{1,9}})\ {{1,2}}(?P<top>\d{{1,9}})/(?P<bottom>\d{{1,9}})
      | (?P<over>{_DECIMAL})\ ?/\ ?(?P<under>{_DECIMAL})
      | 10\^\{{?(?P<power>[-+]?\d{{1,3}})\}}?
      | (?P<decimal>{_DECIMAL})
        (?: [eE](?P<exponent>[-+]?\d{{1,3}}) | \ ?[×*]\ ?10(?:\^|\*\*)[{{(]?(?P<scale>[-+]?\d{{1,3}})[}})]? )?
    )
    (?: (?P<percent>\ ?%|\ percent\b) | \ ?(?P<times>thousand|million|billion|trillion)\b | (?P<k>k)(?!\w)
      | (?:{_UNITS})(?!\w) )?
    (?! \w | \^ | [.,:/'’–-]\d | \ ?\\[a-zA-Z] | \ ?/\ ?\d )
    """,
    re.VERBOSE,
)
_GROUPING = re.compile("[ ,'’]")
_ZEROS = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_LONGEST = 400
"""Digits of a number at most; only a looping model writes more."""

_MARK = re.compile(
    r"(?:\banswer\W{0,4}(?:is\b|was\b|equals\b|[:=])|^A:)(?! not\b|n[o']t\b)", re.IGNORECASE | re.MULTILINE
)
_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*")
_UNFINISHED = re.compile(r" ?[-+*/×÷^] ?[\d($]")
_BEFORE = re.compile(r"(?:[^\W\d_]{2,}+[:.]?|[ ≈~$(])*+")
_AFTER = re.compile(r"(?:[^\W\d_]{2,}+|\b[mgshlLCFKNJWV]\b|[ °$€£¢%,;'’-])*+(?:/[A-Za-z]++)?(?:\^\{?[23]\}?)?[ .)]*+")

_LATEX: list[tuple[re.Pattern[str], str]] = [
    (re.compile(r"\\(?:text(?:bf|it|rm)?|math(?:bf|it|rm))\{([^{}]{0,200})\}"), r"\1"),
    (re.compile(r"\\[dt]?frac\{(\d[\d.,]{0,50})\}\{(\d[\d.,]{0,50})\}"), r" \1/\2 "),
    (re.compile(r"\\[dt]?frac(\d)(\d)"), r" \1/\2 "),
    (re.compile(r"\\[()\[\]]|\$\$"), " "),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\[,;]"), " "),
    (re.compile(r"\\!"), ""),
    (re.compile(r"\\([$%#])"), r"\1"),
    (re.compile(r"\\(?:times|cdot)\b|⋅|·"), "×"),
    (re.compile(r"\^(?:\\circ|\{\\circ\})"), "°"),
    (re.compile(r"= ?- ?(?=[\d$€£.])"), "= -"),
    (re.compile(r"\bnegative (?=[\d$€£])", re.IGNORECASE), "-"),
]


def number(text: str, *, hundredths: bool = False) -> Number | None:
    """The number that a message gives as its answer; `None` where it gives none.

    Which one, of several: that of the last `\\boxed{}`; else of the last line after `####`; else the first after the
    last "the answer is", "Answer:" or "A:"; else the last in bold in the last line that has a number; else the last.
    An answer that is marked but can't be read as one number gives `None`: nothing else is taken for it.

    Read: signs, thousands by comma, space or apostrophe, decimals with a point, 1e6, 2.5 × 10^3, 3/4, 1 3/4, 80k,
    2 million, currency before it, units after it. Not read: x42, 42nd, 3,5, 7:30, 5-7, 2x, 2^10, dates.
    A percent sign is a unit, so that 50% is 50; with `hundredths` it is 1/2.
    """
    text = _prose(text)
    if (framed := boxed(text)) is not None:
        return _only(framed, hundredths)
    if (value := _hashed(text, hundredths)) is not None:
        return value
    if (told := _told(text)) is not None:
        return _first(told, hundredths)
    return _last(text, hundredths)


def same(got: Number | None, gold: Number | None, *, absolute: float | str = 0, relative: float | str = 0) -> bool:
    """Whether both are numbers and differ by no more than `absolute`, or `relative` times the gold one. Exact."""
    if got is None or gold is None:
        return False
    expected = Fraction(gold)
    allowed = max(Fraction(str(absolute)), Fraction(str(relative)) * abs(expected))
    return abs(Fraction(got) - expected) <= allowed


def written(value: Number) -> str:
    """The number in plain digits, without zeros after the last decimal; a fraction as 3/4."""
    if isinstance(value, Fraction):
        return str(value)
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def numeric(
    response: Response, gold: str, *, absolute: float | str = 0, relative: float | str = 0, hundredths: bool = False
) -> Score:
    """1 where the message's number is that of the gold answer, read the same way, else 0. Reasoning is not looked at.

    Raises ValueError where the gold answer has no number: nothing could be right then.
    """
    expected = number(gold, hundredths=hundredths)
    if expected is None:
        raise ValueError(f"the gold answer {gold[-200:]!r} has no number in it; expected one such as 42 or 3/4")
    got = number(response.text, hundredths=hundredths)
    right = same(got, expected, absolute=absolute, relative=relative)
    return Score(reward=float(right), answer=None if got is None else written(got))


def _prose(text: str) -> str:
    """The text without LaTeX where that means what plain text can say, and with one space for any run of blanks."""
    text = re.sub(r"[^\S\n]+", " ", plain(text))
    for pattern, instead in _LATEX:
        text = pattern.sub(instead, text)
    return text


def _hashed(text: str, hundredths: bool) -> Number | None:
    """The number after the last `####`, unless that begins a heading."""
    _, mark, rest = text.rpartition("####")
    line = rest.strip().partition("\n")[0]
    return _only(line, hundredths) if mark and _NUMBER.match(line) else None


def _told(text: str) -> str | None:
    """What follows the last "the answer is" on its line, or on the next one that is not blank, if there is a digit."""
    for mark in reversed(list(_MARK.finditer(text))):
        line = text[mark.end() : mark.end() + 300].lstrip(" \n*:").partition("\n")[0]
        if re.search(r"\d", line):
            return line
    return None


def _only(text: str, hundredths: bool) -> Number | None:
    """The number that a marked place holds, where it holds nothing else that counts."""
    said = text.rpartition("=")[2].strip()
    found = list(_NUMBER.finditer(said[: 2 * _LONGEST]))
    if len(found) != 1 or len(said) > 2 * _LONGEST:
        return None
    before, after = said[: found[0].start()], said[found[0].end() :]
    return _value(found[0], hundredths) if _BEFORE.fullmatch(before) and _AFTER.fullmatch(after) else None


def _first(line: str, hundredths: bool) -> Number | None:
    """The first number of a line, or what its sum comes to where the line begins with one: 3 + 4 = 7."""
    found = _NUMBER.search(line)
    if found and _UNFINISHED.match(line, found.end()):
        _, equals, result = line[found.end() :].rpartition("=")
        found = _NUMBER.search(result) if equals else None
    return _value(found, hundredths) if found else None


def _last(text: str, hundredths: bool) -> Number | None:
    last = max(_NUMBER.finditer(text), key=lambda found: found.start(), default=None)
    if last is None:
        return None
    start, end = text.rfind("\n", 0, last.start()) + 1, text.find("\n", last.end())
    line = text[start : end if end >= 0 else len(text)]
    bold = [value for found in _BOLD.finditer(line) if (value := _bold(found, hundredths)) is not None]
    return bold[-1] if bold else _value(last, hundredths)


def _bold(found: re.Match[str], hundredths: bool) -> Number | None:
    """The number in bold, unless it numbers a step or a list's line."""
    said = re.split("[:=≈]", found[1])[-1].strip()
    listed = found.start() == 0 and said.endswith((".", ")"))
    return None if listed or not _NUMBER.match(said) else _only(said, hundredths)


def _value(found: re.Match[str], hundredths: bool) -> Number | None:
    if len(found[0]) > _LONGEST:
        return None
    part = found.groupdict()
    zeros = _ZEROS.get(part["times"] or "", 3 if part["k"] else -2 if part["percent"] and hundredths else 0)
    value: Number
    if part["whole"]:
        top, bottom = int(part["top"]), int(part["bottom"])
        if top >= bottom:
            return None
        value = (int(part["whole"]) + Fraction(top, bottom)) * Fraction(10) ** zeros
    elif part["over"]:
        under = _decimal(part["under"], 0)
        if not under:
            return None
        value = Fraction(_decimal(part["over"], zeros)) / Fraction(under)
    elif part["power"]:
        value = _decimal("1", int(part["power"]) + zeros)
    else:
        value = _decimal(part["decimal"], int(part["exponent"] or part["scale"] or 0) + zeros)
    negative = part["sign"] == "-" or part["minus"] is not None
    # Decimal's own minus would round to 28 digits.
    return value if not negative else value.copy_negate() if isinstance(value, Decimal) else -value


def _decimal(digits: str, zeros: int) -> Decimal:
    return Decimal(_GROUPING.sub("", digits) + f"e{zeros}")

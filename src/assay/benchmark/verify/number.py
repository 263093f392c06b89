"""Numbers in prose: which number of a message is the answer, and its value."""

import re
from decimal import Decimal
from fractions import Fraction

from assay.benchmark.verify.markup import OTHER_SCRIPTS, boxed, prose
from assay.benchmark.verify.phrases import ANSWER, IS, NOT, may_state
from assay.types import Response, Score

Number = Decimal | Fraction

_UNITS = (
    "km|cm|mm|nm|dm|m|kg|mg|g|lbs?|oz|ml|mL|l|L|ft|in|mi|yd|mph|kph|hrs?|h|mins?|secs?|s|ms|[ap]m|[AP]M|[KMGT]B|kB"
    "|[kMG]?Hz|k?Wh?|V|N|J|kJ|k?cal|USD|EUR|GBP"
)
# Ten groups of thousands at most: without a bound, a long row of them that ends badly takes quadratic time.
_GROUPED = r"\d{1,3}(?:,\d{3}){1,10}+|\d{1,3}(?:['’]\d{3}){1,10}+|\d{1,3}(?:\ \d{3}){1,10}+(?![\d/])"
_DECIMAL = rf"(?:(?:{_GROUPED}|\d++)(?:\.\d++)?+|\.\d++)"
_WORDS = {
    "hundred": 2, "thousand": 3, "lakh": 5, "million": 6, "crore": 7, "billion": 9, "trillion": 12,
    "mil": 6, "mill": 6, "mio": 6, "mn": 6, "mln": 6, "bn": 9, "bln": 9, "mrd": 9, "tn": 12, "trn": 12,
    "millionen": 6, "milliarden": 9, "millones": 6, "millions": 6, "milliards": 9, "milhões": 6, "milioni": 6,
    "miliardi": 9, "billions": 9, "thousands": 3, "tausend": 3, "тысяч": 3, "тыс": 3, "млн": 6, "млрд": 9,
}  # fmt: skip
"""Zeros that a word after a number stands for, in small letters."""
_SIGNS = {"百": 2, "千": 3, "万": 4, "萬": 4, "만": 4, "亿": 8, "億": 8, "억": 8}
_LETTERS = {"k": 3, "K": 3, "M": 6, "B": 9, "m": 6, "b": 9, "T": 12, "t": 12}
"""Zeros that a letter right after a number stands for; the last four after money alone: 5 m are metres."""
_MONEY = r"[$€£¥₹]"
_NUMBER = re.compile(
    rf"""
    # Not within a word, an index, a version, a time, a range: x42, v1.2, 7:30, 5-7, 2^10, \sqrt{{5}} hold no answer.
    (?<![\w^{{\\)\].]) (?<!\w[.]) (?<!\d[,:/'’]) (?<![\w)\]][-–—]) (?<!\^[-+])
    (?P<sign>[-+])? (?:(?P<money>{_MONEY})(?P<minus>-)?\ ?)?
    (?: (?P<whole>\d{{1,9}})\ {{1,2}}(?P<top>\d{{1,9}})/(?P<bottom>\d{{1,9}})
      | (?P<over>{_DECIMAL})\ ?/\ ?(?P<under>{_DECIMAL})
      | (?P<hour>\d{{1,2}}):00\b
      | 10\^\{{?(?P<power>[-+]?\d{{1,3}})\}}?
      | (?P<decimal>{_DECIMAL})
        (?: [eE](?P<exponent>[-+]?\d{{1,3}})
          | \ ?[×*xX]\ ?10\ ?(?:\^|\*\*)\ ?[{{(]?(?P<scale>[-+]?\d{{1,3}})[}})]? )?
    )
    (?: (?P<percent>\ ?%|\ percent\b)
      | [ -]?(?P<word>(?i:{"|".join(sorted(_WORDS, key=len, reverse=True))}))\b
      | \ ?(?P<zeros>[{"".join(_SIGNS)}])
      | (?P<letter>[kKMB]|(?(money)[mbTt](?!\$)|(?!)))(?!\w)
      | (?:{_UNITS})(?:\^\{{?-?[1-9]\}}?)?(?![\w^]) )?
    (?! \w | \^ | [.,:/'’—–-]\d | [ -](?:dozen|hundred|thousand|million|billion)\b | \ ?\\[a-zA-Z] | \ ?/\ ?\d )
    """,
    re.VERBOSE,
)
_GROUPING = re.compile("[ ,'’]")
_LONGEST = 400
"""Digits of a number at most; only a looping model writes more."""

_MARK = re.compile(
    rf"(?:{ANSWER}(?:(?!{NOT})[^\n\d.!?:=']){{0,24}}?{IS}|^A:|<answer>)(?! ?{NOT})",
    re.IGNORECASE | re.MULTILINE,
)
_OPENING = re.compile(r"\A(?:[ *:$]*+\n)*+[ *:]*+")
_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*")
_UNFINISHED = re.compile(r" ?[-+*/×÷^] ?[\d($]")
_PLAIN = re.compile(r"\s*(?P<words>(?:[A-Za-z]{1,20} ){1,20})?(?P<digits>-?[0-9]{1,15})\.?\s*")
"""Most answers to a short question, as "58" or "The answer is 58.": read without looking further."""
_TURNING = re.compile(r"\b(?:not|n?either|nor|between|than|least|most|negative|minus|menos?|moins)\b", re.IGNORECASE)
"""Words before a number that may turn its meaning: the whole text has to be looked at."""
_FARTHEST = 200_000
"""Characters at a message's end in which its answer is looked for; boxes are looked for in all of it."""
_LEADING = re.compile(r"^-\s+(?=[$€£]?\.?\d)")
_BEFORE = re.compile(rf"(?:[^\W\d_]{{2,}}+[:.]?|[{OTHER_SCRIPTS}]|[ ≈~$(:：])*+")
_UNIT = rf"(?:[^\W\d_]{{2,}}+|\b[mgshlLCFKNJWVA]\b|[{OTHER_SCRIPTS}])(?:\^\{{?-?\d\}}?)?+"
_AFTER = re.compile(rf"(?:{_UNIT}\.?+|[ °$€£¢%,;'’/×-])*+[ .)。]*+")

_OR = re.compile(
    r"[\s*`$\"')]*(?P<joint>,|/|\b(?:and|to|und|et|y|e|и|和)\b|\b(?:or|oder|ou|o|или|或)\b)[\s*`$\"'(]*", re.IGNORECASE
)
"""Between two numbers that are both given."""
_ORS = ("or", "oder", "ou", "o", "или", "或")
_END = re.compile(r"[\s.)。*`$\"']*$")
_NOT = re.compile(r"(?:\bnot|n't)(?: equal(?: to)?)? [$€£(*]*$", re.IGNORECASE)
_HEDGE = re.compile(
    r"\b(?:not|between|either|neither|nor|(?:more|less|greater|fewer) than|at (?:least|most))\b|[<>≤≥√]", re.IGNORECASE
)
"""Before a number that is no answer by itself."""

_SPACED: list[tuple[re.Pattern[str], str]] = [
    # A number, or a unit after it, that stands beside a letter of a script without spaces.
    (re.compile(rf"(?<=[{OTHER_SCRIPTS}])(?=[-+]?[$€£¥₹]?\.?\d|[a-zA-Z])"), " "),
    (re.compile(rf"(?<=[\da-zA-Z])(?=[{OTHER_SCRIPTS}])"), " "),
]
_DASHES = ("- ", "\u2010 ", "\u2011 ", "\u2012 ", "\u2013 ", "\u2014 ", "\u2015 ")
_MINUS: list[tuple[re.Pattern[str], str, tuple[str, ...]]] = [
    (re.compile(r"\A\s*[-\u2010-\u2015] (?=[$€£]?\.?\d[\d.,]{0,30}\s*\Z)"), "-", _DASHES),
    (re.compile(r"([:=≈({>#$'\"“*]|(?i:\bis)) ?[-\u2010-\u2015] (?=[$€£]?\.?\d)"), r"\1 -", _DASHES),
    (re.compile(r"\bnegative (?=[$€£]?\.?\d)", re.IGNORECASE), "-", ("negative ",)),
    (
        re.compile(
            rf"(^ ?|[^\w\s)\]}}%°] ?|{IS} |[{OTHER_SCRIPTS}] ?"
            r"|\b(?:be|get|gives|yields|makes|to|have|had|are|were|about|approximately|exactly) )"
            r"(?:(?:minus|menos|moins|meno|минус) |[负負]|マイナス|마이너스 ?)(?=[$€£]?\.?\d)",
            re.IGNORECASE | re.MULTILINE,
        ),
        r"\1-",
        ("minus ", "menos ", "moins ", "meno ", "минус ", "负", "負", "マイナス", "마이너스"),
    ),
]
"""Pattern, what takes its place, and texts of which one has to be there: most messages hold none."""


def number(text: str, *, hundredths: bool = False) -> Number | None:
    """Returns the number that a message gives as its answer; None if it gives none.

    Of several: the one in the last `\\boxed{}`; else in the last line after `####`; else the first after the last "the
    answer is", "Answer:" or "A:"; else the last in bold in the last line with a number; else the last. A marked answer
    that can't be read as one number gives None.

    Read: signs, thousands by comma, space or apostrophe, decimals with a point, 1e6, 2.5 × 10^3, 3/4, 1 3/4, 80k,
    2 million, 2:00 pm, currency before it, units after it. Not read: x42, 42nd, 3,5, 7:30, 5-7, 2x, 2^10, dates.
    A percent sign is a unit, so that 50% is 50; with `hundredths` it is 1/2.
    """
    if (plain := _plain(text)) is not None:
        return plain
    framed = boxed(text)
    if framed is not None:
        return _only(_prose(framed), hundredths)
    text = _prose(text if len(text) <= _FARTHEST else text[text.find("\n", -_FARTHEST) + 1 or -_FARTHEST :])
    if (value := _after_hashes(text, hundredths)) is not None:
        return value
    if (line := _after_mark(text)) is not None:
        return _first(line, hundredths)
    return _last(text, hundredths)


def same(got: Number | None, gold: Number | None, *, absolute: float | str = 0, relative: float | str = 0) -> bool:
    """Returns whether both are numbers and differ by at most `absolute`, or `relative` times the gold one. Exact."""
    if got is None or gold is None:
        return False
    expected = Fraction(gold)
    allowed = max(Fraction(str(absolute)), Fraction(str(relative)) * abs(expected))
    return abs(Fraction(got) - expected) <= allowed


def in_digits(value: Number) -> str:
    """Returns the number in plain digits, without zeros after the last decimal; as 1/3 if it has no end."""
    if isinstance(value, Fraction):
        if 10**12 % value.denominator or abs(value.numerator) >= 10**15:
            return str(value)
        value = Decimal(value.numerator) / value.denominator
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def numeric(
    response: Response, gold: str, *, absolute: float | str = 0, relative: float | str = 0, hundredths: bool = False
) -> Score:
    """Returns 1 if the message's number is that of the gold answer, read in the same way, else 0. Reasoning is not
    read.

    Raises ValueError if the gold answer has no number.
    """
    expected = number(gold, hundredths=hundredths)
    if expected is None:
        raise ValueError(f"the gold answer {gold[-200:]!r} has no number in it; expected one such as 42 or 3/4")
    got = number(response.text, hundredths=hundredths)
    right = same(got, expected, absolute=absolute, relative=relative)
    metrics = {"undecided": 1.0} if got is None and re.search(r"\d", response.text) else {}
    return Score(reward=float(right), metrics=metrics, answer=None if got is None else in_digits(got))


def _plain(text: str) -> Decimal | None:
    """Returns the number of a text that is a number, or a few plain words that end in one; None for all others."""
    found = _PLAIN.fullmatch(text)
    if found is None or (found["words"] and _TURNING.search(found["words"])):
        return None
    return Decimal(found["digits"])


def _prose(text: str) -> str:
    """Returns the text as plain text says it, with a minus right before its number."""
    text = prose(text)
    if not text.isascii():
        for pattern, instead in _SPACED:
            text = pattern.sub(instead, text)
    small = text.lower()
    for pattern, instead, hints in _MINUS:
        if any(hint in small for hint in hints):
            text = pattern.sub(instead, text)
    return text


def _after_hashes(text: str, hundredths: bool) -> Number | None:
    """The number after the last `####`, unless that begins a heading."""
    _, mark, rest = text.rpartition("####")
    line = rest.strip().partition("\n")[0]
    return _only(line, hundredths) if mark and _NUMBER.match(line) else None


def _after_mark(text: str) -> str | None:
    """What follows the last "the answer is" on its line, or on the next one that is not blank, if there is a digit."""
    if not (may_state(text) or "A:" in text or "a:" in text or "<" in text):
        return None
    for mark in reversed(list(_MARK.finditer(text))):
        line = _OPENING.sub("", text[mark.end() : mark.end() + 300], count=1).partition("\n")[0]
        if re.search(r"\d", line):
            return line
    return None


def _only(text: str, hundredths: bool) -> Number | None:
    """The number that a marked place holds, where it holds nothing else that counts."""
    said = _LEADING.sub("-", text.rpartition("=")[2].strip(" \n*_`\"'"))
    found = list(_NUMBER.finditer(said[: 2 * _LONGEST]))
    if len(found) != 1 or len(said) > 2 * _LONGEST:
        return None
    before, after = said[: found[0].start()], said[found[0].end() :]
    if _HEDGE.search(before) or not (_BEFORE.fullmatch(before) and _AFTER.fullmatch(after)):
        return None
    return _value(found[0], hundredths)


def _first(line: str, hundredths: bool) -> Number | None:
    """The first number of a line, or what its sum comes to where the line begins with one: 3 + 4 = 7."""
    found = _NUMBER.search(line)
    if found and _UNFINISHED.match(line, found.end()):
        _, equals, result = line[found.end() :].rpartition("=")
        line, found = result, _NUMBER.search(result) if equals else None
    if not found or _HEDGE.search(line, 0, found.start()):
        return None
    value, joint = _value(found, hundredths), _OR.match(line, found.end())
    other = _NUMBER.match(line, joint.end()) if joint else None
    # "5, 3 more than 2" gives one number, "5, 3" and "5 or 3 of them" give two.
    if joint and other and (joint["joint"].isalpha() or _END.match(line, other.end())):
        return value if same(value, _value(other, hundredths)) else None
    return value


def _last(text: str, hundredths: bool) -> Number | None:
    before = last = None
    for found in _NUMBER.finditer(text):
        before, last = last, found
    if last is None:
        return None
    start, end = text.rfind("\n", 0, last.start()) + 1, text.find("\n", last.end())
    line = text[start : end if end >= 0 else len(text)]
    bold = [value for found in _BOLD.finditer(line) if (value := _bold(found, hundredths)) is not None]
    if bold:
        return bold[-1]
    joint = _OR.fullmatch(text, before.end(), last.start()) if before else None
    # "5 or 7" anywhere, and "5 and 7" or "5, 7" where the message ends with it, give two numbers.
    if before and joint and (joint["joint"].lower() in _ORS or _END.match(text, last.end())):
        value = _value(last, hundredths)
        return value if same(value, _value(before, hundredths)) else None
    return None if _NOT.search(text, max(0, last.start() - 20), last.start()) else _value(last, hundredths)


def _bold(found: re.Match[str], hundredths: bool) -> Number | None:
    """The number in bold, unless it numbers a step or a list's line."""
    said = re.split("[:=≈]", found[1])[-1].strip()
    listed = found.start() == 0 and said.endswith((".", ")"))
    return None if listed or not _NUMBER.match(said) else _only(said, hundredths)


def _value(found: re.Match[str], hundredths: bool) -> Number | None:
    if len(found[0]) > _LONGEST:
        return None
    part = found.groupdict()
    zeros = (
        _WORDS.get((part["word"] or "").lower(), 0)
        + _SIGNS.get(part["zeros"], 0)
        + _LETTERS.get(part["letter"], 0)
        - (2 if part["percent"] and hundredths else 0)
    )
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
    elif part["hour"]:
        value = Decimal(part["hour"])
    elif part["power"]:
        value = _decimal("1", int(part["power"]) + zeros)
    else:
        value = _decimal(part["decimal"], int(part["exponent"] or part["scale"] or 0) + zeros)
    negative = part["sign"] == "-" or part["minus"] is not None
    # Decimal's own minus would round to 28 digits.
    return value if not negative else value.copy_negate() if isinstance(value, Decimal) else -value


def _decimal(digits: str, zeros: int) -> Decimal:
    return Decimal(_GROUPING.sub("", digits) + f"e{zeros}")

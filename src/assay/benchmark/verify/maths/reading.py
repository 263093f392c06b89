"""What formula a message states, and the forms whose marks are no arithmetic: ratios, times of day, other bases."""

import math
import re
import unicodedata

from assay.benchmark.verify.markup import OTHER_SCRIPTS, boxed
from assay.benchmark.verify.phrases import ANSWER, IS
from assay.benchmark.verify.text import plain

_SIGNS = {
    sign: latex if latex.startswith("^") else f"{latex} "
    for sign, latex in {
        "×": r"\times", "·": r"\cdot", "⋅": r"\cdot", "÷": r"\div", "±": r"\pm", "≤": r"\le", "≥": r"\ge", "≠": r"\ne",
        "≈": r"\approx", "∞": r"\infty", "∪": r"\cup", "∩": r"\cap", "∈": r"\in", "∅": r"\emptyset", "∨": r"\lor",
        "∧": r"\land", "°": r"^\circ", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}",
        "π": r"\pi", "θ": r"\theta", "α": r"\alpha", "β": r"\beta", "γ": r"\gamma", "δ": r"\delta", "λ": r"\lambda",
        "μ": r"\mu", "φ": r"\phi", "ω": r"\omega",
    }.items()
} | {
    char: r"\frac{{{}}}{{{}}}".format(*unicodedata.normalize("NFKC", char).split("⁄"))
    for char in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"
}  # fmt: skip
_LATEX = str.maketrans(_SIGNS)
_DIGITS = str.maketrans("⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉", "+-01234567890123456789")
_RAISED, _LOWERED = re.compile("[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+"), re.compile("[₀-₉]+")
_ROOT = re.compile(r"√ ?(\d++(?:\.\d++)?|[a-zA-Z]|\{[^{}]{0,99}\}|\([^()]{0,99}\))")
_TAGGED = re.compile(r"<answer>(.{0,2000}?)</answer>", re.DOTALL | re.IGNORECASE)
_MONEY = re.compile(r"\\text ?\{ ?\\?\$ ?\}|\\\$")
_AROUND = [("__", "__"), ("_", "_"), ("`", "`"), ("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("{", "}")]
"""What may stand around a formula and is none of it."""
_LAYERS = 10
_SIZE = re.compile(r"\A\\(?:displaystyle|textstyle|normalsize|[Ll]arge|LARGE|[Hh]uge|boldsymbol|bf|rm)(?![a-zA-Z])\s*+")
_DELIMITED = re.compile(r"\$|\\\(|\\\[")
_WORD = re.compile(
    rf"[{OTHER_SCRIPTS}]|(?<![\\a-zA-Z])"
    r"(?:(?!base(?![a-zA-Z]))[a-zA-Z]{3,}|(?:[Ss]o|[Ww]e|[Ii][tsfn]|to|of|[Aa]s|[Bb]y|be)(?![a-zA-Z]))"
)
_UNIT = re.compile(rf"(?<=[\d}}]) ?[{OTHER_SCRIPTS}]{{1,20}}\Z")
"""A unit in another script, right behind a number."""
_BOLD = re.compile(r"(?<![\w)*])\*\*([^*\n]{1,200})\*\*(?![\w(*])")
_TERM = re.compile(r"(?<!\S)(\S*[\\^]\S*?)([.,;]?)(?!\S)")
_STATED = re.compile(rf"{ANSWER} ?{IS}[ *:=]{{0,6}}+([^\n]{{1,200}}+)", re.IGNORECASE)
_FIRST = re.compile(r"(\$[^$]++\$|\\\([^\n]*?\\\))(?![ ,]*(?:and|or)? ?(?:\$|\\\()).*", re.DOTALL)
"""A formula, and what is said after it: further formulas would be part of the answer."""
_LAST = re.compile(r"(?:\bis|\bare|:) ((?:[^\n:]|:(?! )){1,200}+)\s*+\Z")
_PAIR = re.compile(r"(?:(?:the answer is|either|both) )*(.{1,99}) (?:and|or) (.{1,99})", re.IGNORECASE)
_RELATION = re.compile(r"[<>=]|\\(?:[lg]eq?|ne)(?![a-zA-Z])")
_DENIED = re.compile(r"(?:\bnot|n't)[ *$(\\]{1,4}(\S{1,99})\s*\Z", re.IGNORECASE)
_POWER_OF_TEN = re.compile(r"(?<![\w.])(\d+\.\d+|1|\d+(?=[eE][-+]?\d\d))[eE]([-+]?\d{1,3})(?![\w.^])")

_DRESS = re.compile(r"\\(?:text|mathrm|textbf|mathbf|mbox) ?\{([^{}]{0,99})\}")
_SPACE = re.compile(r"\\[,;:! ]|[\s~$]")
_RATIO = re.compile(r"\d{1,9}(?::\d{1,9})++")
_CLOCK = re.compile(r"(\d\d?):([0-5]\d)(?:([ap])\.?m\.?)?")
_BASE = re.compile(r"\(?(-?)(\d[0-9A-Za-z]{0,99})\)?(?:_\{?([a-z]{1,7}|\d\d?)\}?|\(?base-?(\d\d?|[a-z]{1,7})\)?)")
_NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_RADIX = {name: str(radix) for radix, name in enumerate(_NUMBERS, 2)}


def stated_formula(text: str) -> tuple[str, bool]:
    """The formula that a message states, and whether it is a formula alone; else the message, to be searched for one.

    That of the last box, else what stands between answer tags or behind "the answer is", else the whole message where
    it is no prose. Signs of Unicode become LaTeX's; what stands around a formula, and end punctuation, goes. A formula
    that is denied is none, and two that "and" or "or" joins are a list.
    """
    text = latex(text)
    box = boxed(text)
    if box is not None:
        return bare(box), True
    places = [
        *_TAGGED.findall(text)[-1:],
        text,
        *[_FIRST.sub(r"\1", one) if one[0] in "$\\" else one for one in _STATED.findall(text)[-1:]],
        *_LAST.findall(text)[-1:],
    ]
    for place in map(bare, places):
        if not _prose(place):
            return place, True
    whole = bare(text)
    if (denied := _DENIED.search(whole)) and not _prose(bare(denied[1])):
        return "", True
    if (pair := _PAIR.fullmatch(whole)) and not any(_prose(one) or _RELATION.search(one) for one in pair.groups()):
        return ", ".join(pair.groups()), True
    text = _BOLD.sub(r"\1", text)
    return (text if _DELIMITED.search(text) else _TERM.sub(r"$\1$\2", text)), False


def reference(gold: str) -> tuple[str, bool]:
    """A gold answer in the same form."""
    text = latex(gold)
    box = boxed(text)
    text = bare(text if box is None else box)
    return text, not _DELIMITED.search(text)


def latex(text: str) -> str:
    """The text with LaTeX in place of Unicode's signs, and without those of money."""
    if not text.isascii():
        text = _RAISED.sub(lambda raised: f"^{{{raised[0].translate(_DIGITS)}}}", text)
        text = _LOWERED.sub(lambda lowered: f"_{{{lowered[0].translate(_DIGITS)}}}", text)
        text = plain(_ROOT.sub(r"\\sqrt{\1}", text).translate(_LATEX))
    text = _POWER_OF_TEN.sub(r"\1\\times10^{\2}", text)
    return _MONEY.sub("", text)


def bare(text: str) -> str:
    """A formula without what stands around it and ends its sentence."""
    for _ in range(_LAYERS):
        before, text = text, _SIZE.sub("", text.strip(), count=1)
        text = text.removesuffix("\\!").removesuffix("\\quad").strip("*").rstrip(" \t\r\n.,;:~*。").rstrip("\\")
        text = _UNIT.sub("", text)
        for left, right in _AROUND:
            inner = text[len(left) : -len(right)]
            if text.startswith(left) and text.endswith(right) and _is_enclosed(inner, left, right):
                text = inner
        if text == before:
            break
    return text


def alike(gold: str, said: str) -> bool | None:
    """Whether two formulas are the same ratio, time of day or number in another base; None where neither is one.

    Two digits after a colon make a gold answer a time of day, which is no ratio: 8:30 is not 16:60.
    """
    gold, said = (_SPACE.sub("", _DRESS.sub(r"\1", text)) for text in (gold, said))
    clock, other = _CLOCK.fullmatch(gold.lower()), _CLOCK.fullmatch(said.lower())
    if clock:
        same = other is not None and int(clock[1]) == int(other[1]) and clock[2] == other[2]
        return same and clock[3] in (None, other and other[3])
    ratio, base = _ratio(gold), _base(gold)
    if ratio and (len(ratio) > 2 or _ratio(said)):
        return ratio == _ratio(said)
    if base or _base(said):
        return base == _base(said)
    return False if len(_ratio(said)) > 2 else None


def _ratio(text: str) -> list[int]:
    """The parts of a ratio in its lowest terms, such as 1, 2, 3 of 2:4:6; none where it is no ratio."""
    if not _RATIO.fullmatch(text):
        return []
    parts = [int(part) for part in text.split(":")]
    return [part // (math.gcd(*parts) or 1) for part in parts]


def _base(text: str) -> tuple[str, str] | None:
    """The sign and digits of a number in another base than ten, and the base."""
    found = _BASE.fullmatch(text)
    if found is None:
        return None
    radix = found[3] or found[4]
    radix = _RADIX.get(radix, radix)
    return (found[1] + found[2].upper().lstrip("0"), radix) if radix.isdecimal() and radix != "10" else None


def _prose(text: str) -> bool:
    """Whether a text is more than a formula: words of plain text, delimiters, or lines."""
    text = _DRESS.sub("", text)
    return "\n" in text or _DELIMITED.search(text) is not None or _WORD.search(text) is not None


def _is_enclosed(inner: str, left: str, right: str) -> bool:
    """Whether the marks that a text begins and ends with belong together."""
    if left != "{":
        return left not in inner and right not in inner
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", inner):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    return depth == 0

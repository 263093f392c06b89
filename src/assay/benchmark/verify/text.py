"""Text answers, exact and normalised."""

import re
import unicodedata
from collections.abc import Iterable
from difflib import SequenceMatcher

from assay.types import Response, Score

_ALIKE_LENGTH = 1_000
_KEPT = "#%&@/"
"""Punctuation to Unicode, but part of the word to a reader: C# is not C, and 5% is not 5."""
_SIGNS = str.maketrans({"−": "-", "﹣": "-", "－": "-", "⁄": "/"})
_DASHED = re.compile(
    r"(?<![^\W_\u0e00-\u0e7f\u3005-\u30ff\u3400-\u9fff\uac00-\ud7af])(?<![)\]}%°])[\u2010-\u2015](?=[$€£¥₹]?\.?\d|\\)"
)
"""A dash before a number and after none: models write a minus so. Between two words it is punctuation."""
_FRACTIONS = str.maketrans(
    {char: " " + unicodedata.normalize("NFKC", char).replace("⁄", "/") for char in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"}
)
_RAISED = re.compile("[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_LOWERED = str.maketrans("⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "+-0123456789")
_INITIALS = re.compile(r"(?<![^\W_])(?<!\w\.)(?:[^\W\d_]\.){2,}+")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_BETWEEN_DIGITS = re.compile(r"(?<=\d)[.,:](?=\d)|(?<![^\W_])-(?=[$€£¥₹]?\.?\d)|(?<![\w.])\.(?=\d)")


def plain(text: str) -> str:
    """Returns the text in Unicode's NFKC form, except where that would change a number's value.

    NFKC alone turns 10² into 102 and 1½ into 11⁄2: here they become 10^2 and 1 1/2. All minus signs become `-`, and so
    do dashes right before a number. Invisible format characters go.
    """
    if text.isascii():
        return text
    text = _DASHED.sub("-", text.translate(_SIGNS))
    text = _RAISED.sub(lambda raised: "^" + raised[0].translate(_LOWERED), text)
    text = unicodedata.normalize("NFKC", _stream_safe(text.translate(_FRACTIONS)))
    return "".join(char for char in text if unicodedata.category(char) != "Cf")


def _stream_safe(text: str) -> str:
    """The text with at most 30 marks on a letter, as UAX 15 has it: to sort longer runs takes quadratic time."""
    kept: list[str] = []
    run = 0
    for char in text:
        run = run + 1 if unicodedata.combining(char) else 0
        if run <= 30:
            kept.append(char)
    return "".join(kept)


def normalise(text: str) -> str:
    """Returns the text in the form for comparison: words in small letters with one space between them.

    - Unicode NFKC, as `plain` has it. Accents stay: a resume is no résumé.
    - Case is folded: Straße is STRASSE.
    - An apostrophe goes (don't, dont), and so do the points of initials (U.S., US); other punctuation
      is a space (well-known, well known). What stays: `#%&@/`, symbols such as + and $, a point, comma or colon between
      digits, and a minus sign before a number.
    - The articles a, an, the go, where something else is left.
    - White space is one space.
    """
    folded = _INITIALS.sub(lambda found: found[0].replace(".", ""), plain(plain(text).casefold()))
    held = {found.start() for found in _BETWEEN_DIGITS.finditer(folded)}
    spaced = "".join(char if at in held else _spaces(char) for at, char in enumerate(folded))
    return " ".join(_ARTICLES.sub(" ", spaced).split()) or " ".join(spaced.split())


def _spaces(char: str) -> str:
    if char in "'’‘`":
        return ""
    return " " if char not in _KEPT and unicodedata.category(char).startswith("P") else char


def matches(text: str, accepted: Iterable[str], *, similar: float = 1.0) -> bool:
    """Returns whether the normalised text is one of the accepted answers, normalised. Nothing is never an answer.

    With `similar` below 1, texts of up to 1,000 characters match from that ratio of common characters on (difflib's),
    as some originals have it. No longer text does.
    A text without a letter or digit keeps its punctuation: `] ] >` is not `} >`.
    """
    said = _comparable(text)
    golds = [_comparable(answer) for answer in accepted]
    if said == "" or said in golds or similar >= 1 or len(said) > _ALIKE_LENGTH:
        return said != "" and said in golds
    return any(SequenceMatcher(None, said, gold, autojunk=False).ratio() >= similar for gold in golds)


def _comparable(text: str) -> str:
    if any(char.isalnum() for char in text):
        return normalise(text)
    signs = " ".join(plain(text).split())
    return signs.strip("*_`\"'") or signs


def normalised(response: Response, accepted: Iterable[str], *, similar: float = 1.0) -> Score:
    """Returns 1 if the whole message is one of the accepted answers after `normalise`, else 0."""
    right = matches(response.text, accepted, similar=similar)
    return Score(reward=float(right), answer=_comparable(response.text) or None)


def exact(response: Response, accepted: Iterable[str]) -> Score:
    """Returns 1 if the whole message is exactly one of the accepted answers, except white space around it, else 0."""
    said = response.text.strip()
    return Score(reward=float(said != "" and said in (answer.strip() for answer in accepted)), answer=said or None)

"""What a message says without its markup: LaTeX and Markdown as plain text, the last box, where the answer is stated.

The verifiers of numbers, integers, options and formulas share this, so that a form which one of them reads is read by
all.
"""

import re

from assay.benchmark.verify.text import plain

OTHER_SCRIPTS = (
    "\u0370-\u05ff\u0620-\u065f\u0671-\u06ef\u0900-\u0e4f\u0e5a-\u1fff\u3005-\u30ff\u3400-\u9fff\uac00-\ud7af"
)
"""Letters that a number may stand beside without a space, as a class of a pattern: Greek to Hangul, digits left out."""

_BOX = re.compile(r"\\(?:boxed|fbox|framebox) ?(?:\{|(?P<bare>[-+]?[$]?[A-Za-z\d][\w.,]*))")
_TEXT_COMMANDS = (
    "text(?:bf|it|rm|sf|tt|up|normal|color)?|math(?:bf|it|rm|sf|tt|bb|cal|scr|frak|normal|ord|bin|rel|op)?|emph|bm"
    "|boldsymbol|pmb|mbox|hbox|operatorname\\*?|underline|overline|uline|tilde|large|Large|LARGE|huge|Huge|color|bold"
)
_LATEX: list[tuple[re.Pattern[str], str]] = [
    (re.compile(r"\\(?:text)?color ?\{[^{}]{0,40}\}"), ""),
    (
        re.compile(
            r"\\[hv]space\*? ?\{[^{}]{0,40}\}|\\(?:q?quad|space|enspace|thinspace|hfill)(?![a-zA-Z])|\\[ ,;:]|(?<!\\)~"
        ),
        " ",
    ),
    (
        re.compile(
            r"\\!|\\(?:displaystyle|textstyle|scriptstyle|normalsize|large|Large|LARGE|huge|Huge|small|tiny)(?![a-zA-Z])"
        ),
        "",
    ),
    (re.compile(r"\\(?:left|right|[bB]igg?[lrm]?|bfseries|itshape|rm|bf|it|sf|tt|limits|strut)(?![a-zA-Z])"), ""),
    (re.compile(r"\{([,.])\}"), r"\1"),
    (re.compile(r"\\[()\[\]]|\$\$"), "$"),
    (re.compile(r"\\([$%#&])"), r"\1"),
    (re.compile(r"\\(?:times|cdot|ast)(?![a-zA-Z])|[⋅·∙✕✖]"), "×"),
    (re.compile(r"\\(?:approx|simeq|thickapprox|cong)(?![a-zA-Z])"), "≈"),
    (re.compile(r"\\Omega(?![a-zA-Z])"), "Ω"),
    (re.compile(r"\\mu ?(?=\\(?:text|mathrm))"), "µ"),
    (re.compile(r"\^ ?(?:\\circ|\{ ?\\circ ?\})|\\degree(?![a-zA-Z])"), "°"),
]
_NESTED: list[tuple[re.Pattern[str], str]] = [
    (re.compile(r"(\d) ?\\[dtc]?frac ?\{(\d[\d.,]{0,50})\} ?\{(\d[\d.,]{0,50})\}"), r"\1 \2/\3"),
    (re.compile(r"(\d) ?\\[dtc]?frac ?(\d) ?(\d)"), r"\1 \2/\3"),
    (re.compile(r"\\[dtc]?frac ?\{(\d[\d.,]{0,50})\} ?\{(\d[\d.,]{0,50})\}"), r"\1/\2"),
    (re.compile(r"\\[dtc]?frac ?(\d) ?(\d)"), r"\1/\2"),
    (re.compile(r"\^ ?\{ ?([-+]?\d{1,3}) ?\}(?!\d)"), r"^\1"),
    (re.compile(rf"\\(?:{_TEXT_COMMANDS}) ?\{{([^{{}}]{{0,200}})\}}"), r"\1"),
    # Braces that only group: {58}, {{58}}.
    (re.compile(r"(?<![\w\\^}])\{([^{}]{0,200})\}"), r"\1"),
]
"""Dress that holds other dress: taken off from within."""
_DEEPEST = 6
_EMPHASIS: list[tuple[re.Pattern[str], str]] = [
    (re.compile(r"</?(?:b|strong|em|i|u|mark|code|span|p|sup|sub)(?: [^<>\n]{0,80})?>", re.IGNORECASE), " "),
    (re.compile(r"(?<![a-zA-Z0-9_])__(?=[^\s_])([^_\n]{1,200})(?<=\S)__(?![a-zA-Z0-9_])"), r"**\1**"),
    (re.compile(r"(?<![a-zA-Z0-9_])_(?=[^\s_])([^_\n]{1,200})(?<=\S)_(?![a-zA-Z0-9_])"), r" \1 "),
]


def boxed(text: str) -> str | None:
    r"""Returns what the last box of a text holds: None where there is none, nothing where it is never closed.

    A box is `\boxed{…}`, `\fbox{…}`, also with a space before the brace, or `\boxed 58`.
    """
    found = max(_BOX.finditer(text), key=lambda box: box.start(), default=None)
    if found is None:
        return None
    if bare := found["bare"]:
        return bare.rstrip(".,")
    depth = 1
    for brace in re.finditer(r"[{}]", text[found.end() :]):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return text[found.end() : found.end() + brace.start()]
    return ""


def prose(text: str) -> str:
    """Returns the text as plain text says it: without LaTeX's and Markdown's dress, with one space for a run of blanks.

    What plain text can't say stays: roots, powers, commands that are no dress.
    """
    text = re.sub(r"[^\S\n]+", " ", plain(text))
    if any(mark in text for mark in ("\\", "{", "~", "$$")) or not text.isascii():
        for pattern, instead in _LATEX:
            text = pattern.sub(instead, text)
        for _ in range(_DEEPEST if "{" in text or "\\" in text else 0):
            outer = text
            for pattern, instead in _NESTED:
                text = pattern.sub(instead, text)
            if text == outer:
                break
    if "_" in text or "<" in text:
        for pattern, instead in _EMPHASIS:
            text = pattern.sub(instead, text)
    return re.sub(" {2,}", " ", text)

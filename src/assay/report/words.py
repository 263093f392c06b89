"""Numbers, durations and models' texts as a reader sees them."""

import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from markupsafe import Markup, escape

THIN = "\u202f"
"""A narrow space that does not break, between a number and its unit."""
NONE = "–"
"""The sign for a missing figure."""

_INVISIBLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, those that turn the direction of text, and halves of surrogate pairs."""


def legible(text: str) -> str:
    """Returns a text that is valid UTF-8 and visible, every line end as a newline.

    Characters without a glyph, or that reorder text, become their code point: NUL is `[U+0000]`.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _INVISIBLE.sub(lambda found: f"[U+{ord(found[0]):04X}]", text)


def clip(text: str, limit: int) -> str:
    """Returns the text; if it is longer than `limit` characters, its beginning and end, and the number left out."""
    if len(text) <= limit:
        return text
    half = limit // 2
    left_out = f"{len(text) - 2 * half:,} characters left out"
    return f"{text[:half]}\n\n[… {left_out} …]\n\n{text[-half:]}"


def percent(share: float | None) -> str:
    """Returns a share as a percentage with one decimal."""
    return NONE if share is None or not math.isfinite(share) else f"{_with_sign(share * 100, 1)}{THIN}%"


def by_unit(share: float | None, unit: float) -> str:
    """Returns a share as a percentage with the digits of its unit: 39.04 % where that is .0001."""
    if share is None or not math.isfinite(share):
        return NONE
    digits = max(0, math.ceil(-math.log10(unit) - 2 - 1e-9)) if unit > 0 else 1
    return f"{_with_sign(share * 100, digits)}{THIN}%"


def points(value: float | None, digits: int = 2) -> str:
    """Percentage points, without their unit."""
    return NONE if value is None or not math.isfinite(value) else _with_sign(value, digits)


def prose(text: str) -> Markup:
    """Returns a sentence for the page, escaped, with what stands between backticks as code."""
    return Markup(re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(escape(legible(text)))))


def count(number: float | None) -> str:
    return NONE if number is None else f"{number:,.0f}"


def plural(number: int, noun: str) -> str:
    """`1 task`, `240 tasks`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def sample(tasks: int, all_tasks: int | None) -> str:
    """`only 20 of 240 tasks`; empty if none is left out."""
    if all_tasks is None:
        return ""
    return f"only {tasks:,} of {all_tasks:,} tasks"


def short_count(number: float | None) -> str:
    """Three digits and a unit: 842, 12.4k, 1.30M."""
    if number is None:
        return NONE
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(number) >= 0.9995 * size:
            return f"{number / size:#.3g}".rstrip(".") + unit
    return f"{number:.0f}"


def dollars(amount: float | None) -> str:
    """`$12.30`; a tenth of a cent below ten cents."""
    if amount is None:
        return NONE
    return f"${amount:,.2f}" if amount >= 0.1 or not amount else f"${amount:.3f}"


def duration(seconds: float) -> str:
    """Returns the two largest units: `2 h 14 min`, `41 s`."""
    if seconds < 59.5:
        return f"{seconds:.1f}{THIN}s" if seconds < 9.95 else f"{seconds:.0f}{THIN}s"
    minutes = round(seconds / 60)
    if minutes < 10:
        return f"{round(seconds) // 60}{THIN}min {round(seconds) % 60}{THIN}s"
    if minutes < 60:
        return f"{minutes}{THIN}min"
    return f"{minutes // 60}{THIN}h {minutes % 60}{THIN}min"


def join(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def figure(value: Any) -> str:
    """Returns a gate's number, whatever it is: floats to four digits, structures as one line of JSON."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return clip(value if isinstance(value, str) else json.dumps(_round(value), ensure_ascii=False), 600)


FILTERS = (percent, points, count, plural, short_count, dollars, duration, figure, clip, prose)
"""What a template of a page may use."""


def plain(text: str) -> str:
    """Returns a text as Markdown shows it word for word, on one line."""
    return re.sub(r"([\\`*_\[\]<>|~#@$])", r"\\\1", " ".join(legible(text).split()))


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: str = "") -> str:
    """Returns a Markdown table. `right` has a `>` for each column that is aligned to the right."""
    rule = ["---:" if sign == ">" else "---" for sign in right.ljust(len(columns))]
    lines = [columns, rule, *([plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _round(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {str(key): _round(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, list | tuple):
        return [_round(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value if isinstance(value, str | int | None) else str(value)


def _with_sign(value: float, digits: int) -> str:
    """Fixed digits with a real minus sign, and no minus before a zero."""
    text = f"{value:.{digits}f}"
    return f"−{text[1:]}" if text.startswith("-") and float(text) else text.lstrip("-")

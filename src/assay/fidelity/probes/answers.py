"""Wrong answers made from a right one, by its form: a letter, a number, JSON, or any text."""

import ast
import json
import re
import warnings
from collections.abc import Iterator, Sequence
from fractions import Fraction
from random import Random
from string import ascii_uppercase
from typing import Any, cast

from assay.benchmark.verify.text import normalise
from assay.types import Message, Task

LONGEST = 200
"""The most characters of a gold answer that is denied or combined with another. Longer ones are prose or programs."""

_WRAPPED = (
    re.compile(r"(?P<before>.*<(?P<tag>\w+)>)(?P<core>.+)(?P<after></(?P=tag)>\s*)", re.DOTALL),
    re.compile(r"(?P<before>.*\\boxed\{)(?P<core>.+)(?P<after>\}[^}]*)", re.DOTALL),
    re.compile(r"(?P<before>.*####\s*|.*\b[Aa]nswer(?:\s+is)?:?\s+)(?P<core>[^\n]+?)(?P<after>\W*)", re.DOTALL),
)
_LETTER = re.compile(r"\(?([A-Z])\)?")
_OPTION = re.compile(r"^\W{0,3}([A-Z])[).:]\s", re.MULTILINE)
_WHOLE = re.compile(r"(?<![\d.,])(?:\d{1,3}(?:,\d{3})+|\d+)(?![\d,]*\d)")
"""The whole part of a number. Decimals stay, because a tolerance may accept another last digit."""
_NUMBER = re.compile(r"(?P<before>[$€£]?)(?P<sign>[-+−]?)(?P<rest>[$€£]?\d[\d,]*(?:\.\d+)?\s?[^\d\s]{0,12})")


def peel(gold: str) -> tuple[str, str, str]:
    r"""Returns a gold answer as (before, answer, after): `<answer>7</answer>`, `\boxed{7}` and `#### 7` hold 7."""
    for pattern in _WRAPPED:
        if found := pattern.fullmatch(gold):
            return found["before"], found["core"], found["after"]
    return "", gold, ""


def letters_in(task: Task, gold: str) -> list[str]:
    """Returns the letters of a task's options as its prompt lists them; none where the gold answer is no letter."""
    found = _LETTER.fullmatch(peel(gold)[1].strip())
    if not found:
        return []
    listed = {match for item in task.input if isinstance(item, Message) for match in _OPTION.findall(item.text)}
    last = max((place for place, letter in enumerate(ascii_uppercase) if letter in listed), default=3)
    return list(ascii_uppercase[: max(last, ascii_uppercase.index(found[1])) + 1])


def wrong_answers(gold: str, other: str | None, options: Sequence[str], rng: Random) -> Iterator[tuple[str, str]]:
    """Yields (kind, text) of wrong answers for the gold answer. `other` is another task's gold answer."""
    before, core, after = peel(gold)
    made = list(_changes(core, options, rng))
    if other is not None and not same(theirs := peel(other)[1], core):
        made.append(("another task's answer", theirs))
    rivals = [text for _, text in made if not same(text, core)]
    pair = [core, rng.choice(rivals)] if rivals else []
    rng.shuffle(pair)
    if pair and _json(core) is not None:
        made.append(("both answers", "\n".join(pair)))
    elif pair and len(core) <= LONGEST:
        made += [
            ("denied", rng.choice(("not {}", "It is not {}.", "The answer is not {}.")).format(core)),
            ("both answers", rng.choice(("{} and {}", "{}, {}")).format(*pair)),
            ("either or", rng.choice(("either {} or {}", "{} or {}")).format(*pair)),
        ]
        if len(options) > 2 and core in options:
            shown = [f"({option})" for option in options] if rng.random() < 0.5 else options
            made.append(("all options", ", ".join(shown)))
    for kind, text in made:
        if not same(text, core):
            yield kind, f"{before}{text}{after}"


def _changes(core: str, options: Sequence[str], rng: Random) -> Iterator[tuple[str, str]]:
    """Yields (kind, text) of changed answers."""
    if core in options:
        yield "other letter", rng.choice([option for option in options if option != core])
        return
    if (value := _json(core)) is not None:
        leaves = sum(1 for _ in _leaves(value))
        yield "one value changed", json.dumps(_alter(value, {rng.randrange(leaves)}), ensure_ascii=False)
        yield "all values changed", json.dumps(_alter(value, set(range(leaves))), ensure_ascii=False)
        return
    wholes = list(_WHOLE.finditer(core)) if len(core) <= LONGEST else []
    if wholes:
        token = rng.choice(wholes)
        value = int(token[0].replace(",", ""))
        yield "neighbouring number", _put_number(core, token, value + rng.choice((-1, 1)) if value else 1)
    if number := _NUMBER.fullmatch(core.strip()):
        if re.search("[1-9]", number["rest"]):
            sign = "" if number["sign"] in ("-", "−") else "-"
            yield "other sign", f"{number['before']}{sign}{number['rest']}"
        if wholes:
            yield (
                "a digit more",
                _put_number(core, wholes[0], 10 * int(wholes[0][0].replace(",", "")) + rng.randint(1, 9)),
            )


def _put_number(core: str, token: re.Match[str], value: int) -> str:
    """Returns the text with one whole number replaced, in the same format."""
    text = f"{value:,}" if "," in token[0] else str(value).zfill(len(token[0]) if token[0].startswith("0") else 0)
    return core[: token.start()] + text + core[token.end() :]


def form_alone(gold: str, filler: str) -> list[str]:
    """Returns a gold answer's form with a filler in place of the answer; nothing where it has no form of its own."""
    before, _, after = peel(gold)
    return [f"{before}{filler}{after}"] if before.strip() or after.strip() else []


def holds(text: str, answer: str) -> bool:
    """Returns whether a text has an answer as separate words, so that the text may be right."""
    return bool(answer.strip()) and re.search(rf"(?<!\w){re.escape(answer.strip())}(?!\w)", text) is not None


def same(one: str, other: str) -> bool:
    """Returns whether two answers are the same, as texts, numbers or Python literals."""
    if normalise(one) == normalise(other):
        return True
    values = _value(one), _value(other)
    return values[0] is not None and type(values[0]) is type(values[1]) and values[0] == values[1]


def _value(text: str) -> Any:
    text = text.strip()
    try:
        return Fraction(text.strip("$€£%").replace(",", ""))
    except (ValueError, ZeroDivisionError):
        pass
    if not re.match(r"[\[({'\"]|True|False|None", text):
        return None
    try:
        with warnings.catch_warnings(action="ignore"):  # such as for the escape \d
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _json(core: str) -> Any:
    """Returns the object or list that an answer is; None where it is none, or holds nothing."""
    if not core.lstrip().startswith(("{", "[")):
        return None
    try:
        value = json.loads(core)
    except (ValueError, RecursionError):
        return None
    return value if any(True for _ in _leaves(value)) else None


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for part in cast(dict[str, Any], value).values() if isinstance(value, dict) else cast(list[Any], value):
            yield from _leaves(part)
    else:
        yield value


def _alter(value: Any, places: set[int]) -> Any:
    """Returns the value with another leaf at each of the places, counted in their order."""
    counter = iter(range(10**9))

    def walk(part: Any) -> Any:
        if isinstance(part, dict):
            return {name: walk(inner) for name, inner in cast(dict[str, Any], part).items()}
        if isinstance(part, list):
            return [walk(inner) for inner in cast(list[Any], part)]
        return _another(part) if next(counter) in places else part

    return walk(value)


def _another(leaf: Any) -> Any:
    if isinstance(leaf, bool):
        return not leaf
    if isinstance(leaf, int | float):
        return leaf + 1
    return f"not {leaf}" if leaf else "something"

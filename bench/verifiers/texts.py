"""Short texts by construction: an answer, how models write it, and what differs in a word, a sign or a digit."""

from collections.abc import Iterator
from random import Random

WORDS = [
    "Paris", "William Shakespeare", "the Golgi body", "photosynthesis", "New York", "red-green", "O'Neill", "no", "yes",
    "François", "São Paulo", "Straße", "U.S.", "C#", "C++", "5%", "rock & roll", "Москва", "東京", "서울", "café", "F#",
    "World War II", "well-known", "don't know", "Jean-Luc", "TCP/IP", "vitamin C", "an apple", "12 Angry Men", "naïve",
]  # fmt: skip
OPEN, CLOSE = "([{<«“", ")]}>»”"
DRESS = [
    "%", "%.", "%!", " % ", "**%**", '"%"', "“%”", "‘%’", "'%'", "`%`", "(%)", "%\n", "*%*", "[%]", "«%»", "\ufeff%",
    "\u200b%", "%,", "%;", "%:", "%?", "\u00a0%", "__%__", "_%_", "- %", "「%」", "%。", "% !", "…%",
]  # fmt: skip
MINUS = ["-", "\u2212", "\u2013", "\u2010", "\u2012", "\u2014", "\uff0d", "\ufe63"]
CODE = ["] ] >", "} >", "( )", "<a>", "[1]", "{ }", "f(x)", "a[0]", "x{y}", "( ( ]", "> <", "[ ( ) ]", "] }", "< ( >"]


def pairs(rng: Random) -> Iterator[tuple[list[str], str, bool]]:
    """Yields (accepted answers, message, whether it is right), without end."""
    while True:
        accepted, said, right = rng.choice((_word, _word, _number, _brackets))(rng)
        dress = "%" if "-" in said[:1] else rng.choice(DRESS)
        if set(said) & set(OPEN + CLOSE):
            dress = rng.choice(("%", " % ", "%\n"))
        yield accepted, dress.replace("%", said, 1), right


def _word(rng: Random) -> tuple[list[str], str, bool]:
    word, other = rng.sample(WORDS, 2)
    forms = [
        word,
        word.lower(),
        word.upper(),
        word.replace(" ", "  "),
        word.replace("'", "’"),
        word.replace("-", "\u2010"),
    ]
    forms += [
        word.replace("-", "\u2013"),
        f"the {word}",
        f"The {word}",
        word.replace(" ", "\u00a0"),
        word.replace(" ", "\n"),
    ]
    others = [
        other,
        f"not {word}",
        f"{word} or {other}",
        f"{word} {other}",
        f"{word}s",
        word[:-1],
        f"{other}, not {word}",
        "",
    ]
    right = rng.random() < 0.5
    accepted = [word, *rng.sample([one for one in WORDS if one not in (other, word)], rng.randint(0, 2))]
    others = [one for one in others if one.casefold() not in {accept.casefold() for accept in accepted}]
    if word in ("no", "C#", "C++", "5%", "F#", "U.S.", "an apple"):
        others = [other, f"not {word}", f"{word} or {other}"]
    return accepted, rng.choice(forms if right else others), right


def _number(rng: Random) -> tuple[list[str], str, bool]:
    value = rng.randint(2, 9999)
    text = rng.choice((f"{value}", f"{value / 100:.2f}", f"{value}.5", f"{value}%", f"${value}", f"{value}:30"))
    sign = rng.choice(("", "-"))
    if rng.random() < 0.5:
        return [sign + text], (rng.choice(MINUS) if sign else "") + text, True
    others = [
        f"{text}1",
        f"1{text}",
        text.replace(".", "").replace(":", "") + "0",
        text if sign else f"{rng.choice(MINUS)}{text}",
    ]
    others += [text.replace(".", "")] if "." in text else []
    others += [text.replace("%", "")] if "%" in text else []
    return (
        [sign + text],
        (sign if rng.random() < 0.5 and sign else "") + rng.choice(others[:3]) if sign else rng.choice(others),
        False,
    )


def _brackets(rng: Random) -> tuple[list[str], str, bool]:
    one, other = rng.sample(CODE, 2)
    right = rng.random() < 0.5
    return [one], one if right else other, right

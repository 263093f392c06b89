"""What a table of rollouts shows: filters, order and place, as the query of an address has them, and as SQL."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from msgspec import Struct, structs

from assay.errors import UsageError
from assay.view.index.tables import COLUMNS, Kind, with_spaces

SORTS = {
    "order": "r.id",
    "task": "r.task",
    "repeat": "r.repeat",
    "reward": "ifnull(r.reward, 1e999)",
    "answer": "ifnull(r.answer, '')",
    "tokens": "r.tokens",
    "time": "r.wall_s",
}
"""What a table can be sorted by. A rollout without a reward comes after all others."""
RANGES = {"repeat": "r.repeat", "reward": "r.reward", "tokens": "r.tokens", "time": "r.wall_s", "turns": "r.turns"}
"""Filters of numbers: `5`, `2..8`, `2..`, `..8`."""
TEXTS = {"task": "t.id", "answer": "r.answer", "gold": "t.gold"}
"""Filters of texts: what contains the words, or with `=` before it, is it."""
FACETS = ("outcome", "stop", "failure", "finding", "mark", "model")
"""Filters of which each value is offered with its count; `tag.NAME` is one more for each tag."""
TAG = "tag."
PLACES = ("everything", *COLUMNS, "prompt")
"""What a search can be limited to."""
MOST_WORDS = 64
"""Of all searches together: each is a search of its own in the index."""
_LIKE = re.compile(r"([!%_])")
_WORDS = re.compile(r'(-?)(?:"([^"]*)"?|(\S+))')


class Query(Struct, frozen=True, kw_only=True):
    """What a table shows. Values of one filter are alternatives; filters narrow each other."""

    search: tuple[str, ...] = ()
    """Each is a search within the results of those before it."""
    within: str = "everything"
    """What is searched."""
    lists: dict[str, tuple[str, ...]] = {}
    """The values of filters that are offered as lists."""
    ranges: dict[str, str] = {}
    texts: dict[str, str] = {}
    sort: str = "order"
    descending: bool = False

    @classmethod
    def parse(cls, pairs: Iterable[tuple[str, str]]) -> "Query":
        """Returns the query of an address. Raises UsageError for a filter that does not exist or a wrong value."""
        search, lists_of_values, ranges, texts = list[str](), dict[str, list[str]](), dict[str, str](), dict[str, str]()
        fields: dict[str, Any] = {}
        for name, value in pairs:
            if not value or name in ("after", "view", "format"):
                continue
            if name == "q":
                if sum(len(words(text)) for text in (*search, value)) > MOST_WORDS:
                    raise UsageError(f"a search of more than {MOST_WORDS} words; expected fewer")
                search.append(value)
            elif name == "in":
                fields["within"] = _one_of(name, value, PLACES)
            elif name == "sort":
                fields["sort"] = _one_of(name, value.removeprefix("-"), SORTS)
                fields["descending"] = value.startswith("-")
            elif name in FACETS or name.startswith(TAG):
                lists_of_values.setdefault(name, []).append(value)
            elif name in RANGES:
                bounds(name, value)
                ranges[name] = value
            elif name in TEXTS:
                texts[name] = value
            else:
                raise UsageError(f"there is no filter '{name}'; expected one of {', '.join(_parameter_names())}")
        lists = {name: tuple(dict.fromkeys(values)) for name, values in lists_of_values.items()}
        return cls(search=tuple(search), lists=lists, ranges=ranges, texts=texts, **fields)

    def pairs(self) -> list[tuple[str, str]]:
        """Returns the query of the address that shows this."""
        pairs = [("q", text) for text in self.search]
        pairs += [("in", self.within)] if self.within != "everything" else []
        pairs += [(name, value) for name, values in self.lists.items() for value in values]
        pairs += [*self.ranges.items(), *self.texts.items()]
        if self.sort != "order" or self.descending:
            pairs.append(("sort", f"{'-' if self.descending else ''}{self.sort}"))
        return pairs

    def toggle(self, facet: str, value: str) -> "Query":
        """Returns the query with a value of a list chosen, or not chosen any more."""
        values = self.lists.get(facet, ())
        rest = tuple(one for one in values if one != value) if value in values else (*values, value)
        lists = {name: some for name, some in (self.lists | {facet: rest}).items() if some}
        return structs.replace(self, lists=lists)

    def without(self, name: str, value: str) -> "Query":
        """Returns the query without one filter of those in `pairs`."""
        return Query.parse(pair for pair in self.pairs() if pair != (name, value))

    def sort_by(self, name: str) -> "Query":
        """Returns the query in the order of a column; in the reverse order if it is in that order already."""
        descending = not self.descending if self.sort == name else name in ("tokens", "time")
        return structs.replace(self, sort=name, descending=descending)

    def admits(self, kind: Kind, but: str = "") -> bool:
        """Returns whether rollouts of a kind are shown, as far as lists say. `but` is a list that is left aside.

        What was tried again is shown where that is chosen."""
        if kind.outcome == "tried again" and "outcome" not in self.lists and but != "outcome":
            return False
        return all(
            name in (but, "mark", "model") or any(value in wanted for value in values_of(kind, name))
            for name, wanted in self.lists.items()
        )


def values_of(kind: Kind, facet: str) -> Sequence[str]:
    """Returns a kind's values in one list. A kind without any has the value `none`."""
    match facet:
        case "outcome":
            return (kind.outcome,)
        case "stop":
            return (kind.stop,)
        case "failure":
            return (kind.failure or "none",)
        case "finding":
            return kind.findings or ("none",)
        case _:
            return (kind.tags.get(facet.removeprefix(TAG), "none"),)


def conditions(query: Query, tags: Iterable[str]) -> Iterator[tuple[str, Sequence[object]]]:
    """Yields SQL conditions with their parameters for all but the lists. `tags` are those that have lists."""
    for text in query.search:
        yield _search(text, query.within)
    for name, value in query.ranges.items():
        low, high = bounds(name, value)
        yield f"{RANGES[name]} between ? and ?", (low, high)
    for name, value in query.texts.items():
        yield _text(TEXTS[name], value)
    for name, values in query.lists.items():
        if name.startswith(TAG) and (tag := name.removeprefix(TAG)) not in tags:
            places = ", ".join("?" * len(values))
            exists = f"exists (select 1 from json_each(tags) where key = ? and value in ({places}))"
            yield f"+r.task in (select no from tasks where {exists})", (tag, *values)


def bounds(name: str, value: str) -> tuple[float, float]:
    """Returns the bounds of a filter of numbers. Raises UsageError where it is none."""
    low, to, high = (part.strip().replace(",", "") for part in value.partition(".."))
    try:
        if low or high:
            return float(low or -math.inf), float(high or math.inf) if to else float(low)
    except ValueError:
        pass
    raise UsageError(f"{name}={value}: expected a number, or two with .. between them, such as 0.5 or 100..2000")


def words(text: str) -> list[tuple[bool, str]]:
    """Returns the words and the phrases in quotation marks of a search, each with whether it is wanted."""
    words_and_phrases = [(not sign, phrase or word) for sign, phrase, word in _WORDS.findall(text)]
    return [(wanted, word) for wanted, word in words_and_phrases if any(c.isalnum() for c in word)]


def _search(text: str, within: str) -> tuple[str, Sequence[object]]:
    """Returns the condition of one search: a rollout or its prompt has all wanted words, and no unwanted one."""
    with_words = [_phrase(word) for is_wanted, word in words(text) if is_wanted]
    without_words = [_phrase(word) for is_wanted, word in words(text) if not is_wanted]
    conditions, parameters = list[str](), list[object]()
    for match, sign in ((" AND ".join(with_words), ""), (" OR ".join(without_words), "not ")):
        if match:
            condition, more = _matches(match, within)
            conditions.append(f"{sign}({condition})")
            parameters += more
    return " and ".join(conditions) or "0", parameters


def _matches(match: str, within: str) -> tuple[str, list[object]]:
    in_texts = "+r.id in (select rowid from texts where texts match ?)"
    in_prompts = "+r.task in (select rowid from prompts where prompts match ?)"
    if within == "everything":
        return f"{in_texts} or {in_prompts}", [match, match]
    return (in_prompts, [match]) if within == "prompt" else (in_texts, [f"{{{within}}} : ({match})"])


def _phrase(word: str) -> str:
    """Returns a word or phrase as FTS5 takes it. Its last word may be the beginning of one."""
    text = with_spaces(word).replace('"', " ").replace("\0", " ").strip()
    return f'"{text}"*'


def _text(column: str, value: str) -> tuple[str, Sequence[object]]:
    if value.startswith("="):
        condition, parameter = f"{column} = ?", value[1:]
    else:
        condition, parameter = f"{column} like ? escape '!'", "%" + _LIKE.sub(r"!\1", value) + "%"
    table, _, name = column.partition(".")
    if table == "r":
        return condition, (parameter,)
    return f"+r.task in (select no from tasks where {condition.replace(column, name)})", (parameter,)


def _parameter_names() -> list[str]:
    return ["q", "in", "sort", *FACETS, f"{TAG}NAME", *RANGES, *TEXTS]


def _one_of(name: str, value: str, choices: Iterable[str]) -> str:
    if value not in choices:
        raise UsageError(f"{name}={value}: expected one of {', '.join(choices)}")
    return value

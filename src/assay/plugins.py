"""Plugins: what installed packages offer by name, Assay's own package included.

A package offers one in its pyproject.toml, and `assay list` shows it with the first sentence of its docstring:

    [project.entry-points."assay.agents"]
    my-agent = "my_package.agent:MyAgent"
"""

import inspect
import re
import sys
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from assay.errors import UnknownName, UsageError

SENTENCE = re.compile(r"(.+?[.!?])(?=\s+[A-Z]|$)", re.DOTALL)


def plugins(group: str) -> dict[str, EntryPoint]:
    """Returns the entry points of a group, such as `assay.agents`, by name. None of them is imported.

    Raises UsageError if two packages offer different things under one name.
    """
    return dict(_entries(group, tuple(sys.path)))


def find(group: str, name: str, hint: str = "") -> Any:
    """Returns what the entry point `name` of a group refers to.

    Raises UsageError if there is no such name (with the nearest ones; `hint` says what else is possible), or if what
    it refers to can't be imported.
    """
    known = plugins(group)
    if name not in known:
        raise UnknownName(_noun(group), name, known, hint)
    return _load(known[name])


def describe(group: str) -> dict[str, str]:
    """Returns one sentence for each name of a group; for one that can't be imported, the error.

    It is the first sentence of the docstring of a class or function; of the module, for any other object.
    """
    sentences: dict[str, str] = {}
    for name, entry in sorted(plugins(group).items()):
        try:
            thing = _load(entry)
        except UsageError as error:
            sentences[name] = f"can't be used: {error}"
        else:
            has_own = inspect.isclass(thing) or inspect.isroutine(thing)
            sentences[name] = sentence(thing if has_own else sys.modules[entry.module])
    return sentences


def sentence(thing: object) -> str:
    """Returns the first sentence of a docstring, without a title in front as in `gsm8k: 1,319 word problems.`"""
    paragraph = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    return first_sentence(re.sub(r"^[\w/-]+: ", "", paragraph))


def first_sentence(text: str) -> str:
    """Returns the text up to the first full stop that a capital letter follows, with a capital letter in front."""
    found = SENTENCE.match(text)
    first = found[1] if found else text
    return first[:1].upper() + first[1:]


@cache
def _entries(group: str, _: tuple[str, ...]) -> dict[str, EntryPoint]:
    """Returns the entry points of a group. Reading them takes 10 ms or more, so the result is cached by sys.path."""
    entries: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        other = entries.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise UsageError(
                f"two packages offer the {_noun(group)} '{entry.name}': {other.value} and {entry.value}; "
                "uninstall one of them"
            )
    return entries


def _load(entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except Exception as error:
        raise UsageError(
            f"{_noun(entry.group)} {entry.name} ({entry.value}) can't be imported: {type(error).__name__}: {error}"
        ) from error


def _noun(group: str) -> str:
    plural = group.rpartition(".")[2]
    if plural.endswith("ies"):
        return f"{plural[:-3]}y"
    return plural[:-2] if plural.endswith("xes") else plural.removesuffix("s")

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
    """Returns one sentence for each name of a group; the error for one that can't be imported."""
    sentences: dict[str, str] = {}
    for name, entry in sorted(plugins(group).items()):
        try:
            sentences[name] = sentence(_load(entry))
        except UsageError as error:
            sentences[name] = f"can't be used: {error}"
    return sentences


def sentence(thing: object) -> str:
    """Returns the first sentence of the docstring of a module, class or function; of its class, for any other object.

    A title in front, as in `gsm8k: 1,319 word problems.`, is left out.
    """
    has_own = inspect.ismodule(thing) or inspect.isclass(thing) or inspect.isroutine(thing)
    text = inspect.getdoc(thing if has_own else type(thing)) or ""
    paragraph = " ".join(text.split("\n\n")[0].split())
    found = SENTENCE.match(paragraph)
    return re.sub(r"^[\w/-]+: ", "", found[1] if found else paragraph)


@cache
def _entries(group: str, _: tuple[str, ...]) -> dict[str, EntryPoint]:
    """Returns the entry points of a group. To read them takes 10 ms and more, so it is done once for each sys.path."""
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
    return plural[:-2] if plural.endswith("xes") else plural.removesuffix("s")

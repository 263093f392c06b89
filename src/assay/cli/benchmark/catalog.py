"""`assay list`."""

import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from assay.benchmark.catalog import BENCHMARKS, FAMILIES, FILES, names
from assay.config import assay_toml, load_suite, models, suites
from assay.errors import UnknownName, UsageError
from assay.exports import EXPORTS, takes
from assay.model import DIALECTS
from assay.plugins import describe, first_sentence, plugins
from assay.report.words import legible

What = Literal["benchmarks", "models", "suites", "agents", "dialects", "sandboxes", "detectors", "exports"]


def catalog(what: What, name: str | None = None, /) -> None:
    """List what can be named in a command, with a sentence each.

    Given the name of a suite, prints its file instead: a copy of it is yours to edit.

    Parameters
    ----------
    what
        Benchmarks, models (those that ship and those of assay.toml in this directory), suites, agents, dialects (how a
        model's server is spoken to), sandboxes (where code runs), detectors (what is looked for in rollouts) or exports
        (the formats of `assay export`).
    name
        The suite whose file is printed, as in `assay list suites gym-2026-02 > my-suite.toml`.
    """
    if name is not None:
        return _print_suite(what, name)
    table = Table(box=None, pad_edge=False)
    if what == "models":
        sentences = describe(DIALECTS)
        rows = [
            (name, server.dialect, " at ".join(filter(None, (server.id, server.base_url))), sentences[server.dialect])
            for name, server in models(assay_toml()).items()
        ]
        _fill(table, ("model", "dialect", "id", "how it answers"), rows)
    elif what == "suites":
        rows = [(name, ", ".join(load_suite(name).models), _comment(path)) for name, path in suites().items()]
        _fill(table, ("suite", "models", "what it is"), rows)
    elif what == "benchmarks":
        _fill(table, ("benchmark", "what it is"), _benchmarks())
    elif what == "exports":
        sentences = describe(EXPORTS)
        rows = [(name, ", ".join(kinds), sentences[name]) for name, kinds in takes().items()]
        _fill(table, ("format", "takes", "what it is"), rows)
    else:
        noun = "sandbox" if what == "sandboxes" else what.removesuffix("s")
        _fill(table, (noun, "what it is"), list(describe(f"assay.{what}").items()))
    Console().print(table)
    return None


def _benchmarks() -> list[tuple[str, str]]:
    """Returns each benchmark with its sentence; a family's members have the family's."""
    own, families = describe(BENCHMARKS), describe(FAMILIES) if plugins(FAMILIES) else {}
    one = [(name, own.get(name) or families.get(name.partition("/")[0], "")) for name in names()]
    return one + [(f"{name}:FILE", sentence) for name, sentence in describe(FILES).items()]


def _comment(path: Path) -> str:
    """Returns the first sentence of the comment that a TOML file begins with."""
    lines = takewhile(lambda line: line.startswith("# "), path.read_text(encoding="utf-8").splitlines())
    return first_sentence(" ".join(line.removeprefix("# ") for line in lines))


def _print_suite(what: str, name: str) -> None:
    if what != "suites":
        raise UsageError(f"assay list {what} takes no name; a name prints the file of a suite: assay list suites NAME")
    if name not in suites():
        raise UnknownName("suite", name, suites())
    sys.stdout.buffer.write(suites()[name].read_bytes())


def _fill(table: Table, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # A plugin's docstring is somebody else's text: it is no markup, and a terminal obeys control characters.
        table.add_row(*(Text(legible(cell)) for cell in row))

"""`assay list`."""

import sys
from typing import Literal

from rich.console import Console
from rich.table import Table

from assay.benchmark.catalog import names
from assay.config import SUITES, assay_toml, load_suite, models, suites
from assay.errors import UnknownName, UsageError


def catalog(what: Literal["benchmarks", "models", "suites"], name: str | None = None, /) -> None:
    """List what there is by name, or print one suite's file: a copy of it is yours to edit.

    Parameters
    ----------
    what
        benchmarks, models (the embedded ones, the gates' own and those of assay.toml here) or suites.
    name
        A suite whose file to print, as in `assay list suites gym-2026-02 > my-suite.toml`.
    """
    if name is not None:
        return _print(what, name)
    table = Table(box=None, pad_edge=False)
    if what == "benchmarks":
        _fill(table, ("benchmark", "from"), [(name, _place(place)) for name, place in names().items()])
    elif what == "models":
        rows = [
            (name, server.dialect, server.id, server.base_url or "") for name, server in models(assay_toml()).items()
        ]
        _fill(table, ("model", "dialect", "id", "base URL"), rows)
    else:
        rows = [(name, ", ".join(load_suite(name).models), _place(str(path))) for name, path in suites().items()]
        _fill(table, ("suite", "models", "from"), rows)
    Console().print(table)
    return None


def _place(path: str) -> str:
    return "Assay" if path.startswith(str(SUITES.parent)) else path


def _print(what: str, name: str) -> None:
    if what != "suites":
        raise UsageError(f"assay list {what} takes no name; a name prints the file of a suite: assay list suites NAME")
    if name not in suites():
        raise UnknownName("suite", name, suites())
    sys.stdout.buffer.write(suites()[name].read_bytes())


def _fill(table: Table, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)

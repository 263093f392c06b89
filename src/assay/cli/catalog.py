"""`assay list`."""

from typing import Literal

from rich.console import Console
from rich.table import Table

from assay.config import load_suite, models, suites
from assay.environment.catalog import names


def catalog(what: Literal["benchmarks", "models", "suites"]) -> None:
    """List what there is by name.

    Parameters
    ----------
    what
        benchmarks, models (the embedded ones, the gates' own and those of assay.toml here) or suites.
    """
    table = Table(box=None, pad_edge=False)
    if what == "benchmarks":
        _fill(table, ("benchmark", "from"), [(name, place) for name, place in names().items()])
    elif what == "models":
        rows = [(name, server.dialect, server.id, server.base_url or "") for name, server in models().items()]
        _fill(table, ("model", "dialect", "id", "base URL"), rows)
    else:
        rows = [(name, ", ".join(load_suite(name).models)) for name in suites()]
        _fill(table, ("suite", "models"), rows)
    # A path that is folded can't be copied: where the terminal is narrow, lines run on.
    Console(width=max(Console().width, 200)).print(table, soft_wrap=True)


def _fill(table: Table, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
